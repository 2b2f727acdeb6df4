//! Trying again what the network did not let come true: which failures pass, how long to wait, and saying so.

use std::sync::Arc;
use std::time::Duration;

use kiln_progress::Task;
use kiln_registry::retries::{self, Listener};

use super::net::wait;
use super::{SourceError, Watch};

/// How often something is tried at most.
const ATTEMPTS: u32 = 5;
/// The pause after the first failure; it doubles with each one. The real pause is between half of it and all of it.
const PAUSE: Duration = Duration::from_millis(400);

/// What git says of failures that may be over a moment later.
const PASSING: [&str; 24] = [
    "could not resolve host",
    "failed to connect",
    "couldn't connect to server",
    "connection refused",
    "connection reset",
    "connection timed out",
    "connection closed",
    "network is unreachable",
    "operation timed out",
    "operation too slow",
    "recv failure",
    "send failure",
    "empty reply from server",
    "early eof",
    "unexpected disconnect",
    "hung up unexpectedly",
    "transfer closed",
    "returned error: 408",
    "returned error: 429",
    "returned error: 500",
    "returned error: 502",
    "returned error: 503",
    "returned error: 504",
    // Its own words for a connection that was closed while it wrote.
    "(sigpipe)",
];
/// And of those that stay, whatever else it says.
const LASTING: [&str; 8] = [
    "authentication failed",
    "could not read username",
    "permission denied",
    "access denied",
    "not found",
    "does not exist",
    "host key verification failed",
    "certificate",
];

/// Counts the attempts at one thing.
pub(super) struct Attempts<'a> {
    watch: &'a Watch<'a>,
    failures: u32,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(watch: &'a Watch<'a>) -> Self {
        Attempts { watch, failures: 0 }
    }

    /// Does `work` until it comes true, fails for good, or has failed too often.
    pub(super) fn run<T>(&mut self, mut work: impl FnMut() -> Result<T, SourceError>) -> Result<T, SourceError> {
        loop {
            match work() {
                Err(error) if passes(&error) => self.again(error)?,
                other => return other,
            }
        }
    }

    /// Waits before the next attempt; the failure itself if there is none.
    pub(super) fn again(&mut self, failure: SourceError) -> Result<(), SourceError> {
        self.failures += 1;
        if self.failures >= ATTEMPTS {
            return Err(failure);
        }
        // Without randomness the pause is just not spread.
        let share = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
        let pause = PAUSE.saturating_mul(1 << (self.failures - 1)).mul_f64(0.5 + share / 2.0);
        let (attempt, seconds) = (self.failures + 1, pause.as_secs_f64());
        self.watch.task.wait(format!("{failure}: attempt {attempt} of {ATTEMPTS} in {seconds:.1} s"));
        wait(self.watch, tokio::time::sleep(pause))
    }
}

/// Shows on a task what is sent again.
pub(crate) fn shown(task: &Task) -> Listener {
    let task = task.clone();
    Arc::new(move |retry: &retries::Retry| task.wait(retry.to_string()))
}

/// Whether another attempt may come true.
pub(super) fn passes(error: &SourceError) -> bool {
    let SourceError::Git { output, .. } = error else { return false };
    let said = output.to_lowercase();
    let says = |what: &&str| said.contains(*what);
    PASSING.iter().any(says) && !LASTING.iter().any(says)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_network_did_passes_and_what_a_server_says_stays() {
        let passes = |output: &str| passes(&SourceError::Git { action: "fetch", output: output.into() });
        for passing in [
            "unable to access 'http://h/r/': Failed to connect to h port 80 after 0 ms: Couldn't connect to server",
            "unable to access 'http://h/r/': The requested URL returned error: 503",
            "RPC failed; curl 18 transfer closed with outstanding read data remaining; early EOF",
            "unable to connect to h: h[0: 127.0.0.1]: errno=Connection refused",
            "the remote end hung up unexpectedly",
            "signal: 13 (SIGPIPE)",
        ] {
            assert!(passes(passing), "{passing}");
        }
        for lasting in [
            "repository 'http://h/r/' not found",
            "unable to access 'http://h/r/': The requested URL returned error: 403",
            "Authentication failed for 'http://h/r/'",
            "git@h: Permission denied (publickey).; Could not read from remote repository.; the remote end hung up unexpectedly",
            "couldn't find remote ref refs/heads/x",
            "unable to access 'https://h/': SSL certificate problem: self-signed certificate",
        ] {
            assert!(!passes(lasting), "{lasting}");
        }
    }
}
