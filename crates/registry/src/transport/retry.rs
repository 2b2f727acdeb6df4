//! When a failed request is sent again: which failures pass, and how long to wait.

use std::fmt;
use std::future::Future;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use time::OffsetDateTime;
use time::macros::format_description;

use super::failure::{ConnectFailure, Hint};
use crate::retries::{self, Retry};
use crate::{Error, Failure, RetryPolicy};

/// So many bytes since the last failure count as getting further.
pub(crate) const PROGRESS: u64 = 4 << 10;

/// Why one attempt did not succeed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// No connection.
    Connect(ConnectFailure),
    /// The connection broke, or was silent for too long.
    Broken(Failure),
    /// The server has no time.
    Busy {
        /// Its status.
        status: StatusCode,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
        /// What it said.
        detail: String,
    },
    /// It would fail again.
    Final(Error),
}

impl Trouble {
    /// A body that is shorter than it should be though its end is well formed.
    pub(crate) fn ended_early() -> Self {
        Trouble::Broken(Failure("the body ended early".into()))
    }

    /// An upload of which the registry has another part than was thought.
    pub(crate) fn out_of_step() -> Self {
        Trouble::Broken(Failure("the registry lost track of the upload".into()))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Connect(failure) => write!(f, "no connection: {}", failure.cause),
            Trouble::Broken(cause) => write!(f, "the connection broke: {cause}"),
            Trouble::Busy { status, .. } => write!(f, "{status}"),
            Trouble::Final(error) => error.fmt(f),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Final(error)
    }
}

/// Whether a status says "later, perhaps".
pub(crate) fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// The pause that an answer asks for: seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let date = time::PrimitiveDateTime::parse(text, format).ok()?.assume_utc();
    let pause = date - OffsetDateTime::from(SystemTime::now());
    Some(pause.try_into().unwrap_or_default())
}

/// Counts failures and says how long to wait after each.
#[derive(Debug)]
pub(crate) struct Pauses {
    policy: RetryPolicy,
    failures: u32,
    /// Whether something was achieved since the last failure.
    further: bool,
}

impl Pauses {
    /// No failure yet.
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Pauses { policy, failures: 0, further: false }
    }

    /// Something was achieved: failures are counted anew, and a connection that breaks next is made again at once.
    pub(crate) fn further(&mut self) {
        (self.failures, self.further) = (0, true);
    }

    /// The pause before the next attempt, or the error that ends it.
    pub(crate) fn after(&mut self, trouble: Trouble, host: &str, what: &str) -> Result<Duration, Error> {
        self.failures += 1;
        let at_once = std::mem::take(&mut self.further) && matches!(trouble, Trouble::Broken(_));
        let attempts = match &trouble {
            Trouble::Final(_) => 0,
            Trouble::Connect(failure) if failure.hint.is_lasting() => 0,
            Trouble::Connect(_) => self.policy.connect_attempts,
            Trouble::Broken(_) | Trouble::Busy { .. } => self.policy.attempts,
        };
        let asked = match &trouble {
            Trouble::Busy { retry_after, .. } => *retry_after,
            _ => None,
        };
        if self.failures >= attempts || asked.is_some_and(|pause| pause > self.policy.longest_retry_after) {
            return Err(self.error(trouble, host, what));
        }
        let own = if at_once { Duration::ZERO } else { self.own_pause() };
        let pause = asked.unwrap_or_default().max(own);
        let (host, why, attempt) = (host.to_owned(), trouble.to_string(), self.failures + 1);
        retries::tell(&Retry { host, why, attempt, attempts, pause });
        Ok(pause)
    }

    fn own_pause(&self) -> Duration {
        let doubled = self.policy.base.saturating_mul(1u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX));
        let full = doubled.min(self.policy.longest);
        // Without randomness the pause is just not spread.
        let share = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
        full.mul_f64(0.5 + share / 2.0)
    }

    fn error(&self, trouble: Trouble, host: &str, what: &str) -> Error {
        let host = host.to_owned();
        match trouble {
            Trouble::Final(error) => error,
            Trouble::Connect(failure) => {
                Error::Unreachable { host, cause: failure.cause, hint: Hint::text(failure.hint) }
            }
            Trouble::Broken(cause) => {
                Error::Interrupted { host, what: what.to_owned(), attempts: self.failures, cause }
            }
            Trouble::Busy { status: StatusCode::TOO_MANY_REQUESTS, retry_after, .. } => {
                Error::RateLimited { host, retry_after }
            }
            Trouble::Busy { status, detail, .. } => {
                Error::Status { host, status: status.as_u16(), what: what.to_owned(), detail }
            }
        }
    }
}

/// Makes attempts until one succeeds or the policy ends it.
pub(crate) async fn repeated<T, F, A>(policy: RetryPolicy, host: &str, what: &str, attempt: A) -> Result<T, Error>
where
    A: Fn() -> F,
    F: Future<Output = Result<T, Trouble>>,
{
    let mut pauses = Pauses::new(policy);
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(trouble) => tokio::time::sleep(pauses.after(trouble, host, what)?).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(retry_after: Option<u64>) -> Trouble {
        let retry_after = retry_after.map(Duration::from_secs);
        Trouble::Busy { status: StatusCode::TOO_MANY_REQUESTS, retry_after, detail: String::new() }
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_then_end() {
        let policy = RetryPolicy { attempts: 5, longest: Duration::from_secs(1), ..RetryPolicy::default() };
        let mut pauses = Pauses::new(policy);
        for longest in [250, 500, 1000, 1000] {
            let pause = pauses.after(busy(None), "h", "w").unwrap().as_millis();
            assert!((longest / 2..=longest).contains(&pause), "{pause} of {longest}");
        }
        assert!(matches!(pauses.after(busy(None), "h", "w"), Err(Error::RateLimited { .. })));
    }

    #[test]
    fn what_gets_further_is_counted_anew_and_goes_on_at_once() {
        let mut pauses = Pauses::new(RetryPolicy { attempts: 2, ..RetryPolicy::default() });
        let broken = || Trouble::Broken(Failure("cut".into()));
        for _ in 0..9 {
            pauses.further();
            assert_eq!(pauses.after(broken(), "h", "w").unwrap(), Duration::ZERO);
        }
        pauses.further();
        assert!(pauses.after(busy(None), "h", "w").unwrap() > Duration::ZERO);
        assert!(pauses.after(broken(), "h", "w").is_err());
    }

    #[test]
    fn what_the_server_asks_for_counts_unless_it_is_too_much() {
        let policy = RetryPolicy::default();
        assert_eq!(Pauses::new(policy).after(busy(Some(30)), "h", "w").unwrap(), Duration::from_secs(30));
        let error = Pauses::new(policy).after(busy(Some(3600)), "h", "w").unwrap_err();
        assert!(error.to_string().contains("again in 3600 s"), "{error}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(of("Fri, 01 Jan 2100 00:00:00 GMT").unwrap() > Duration::from_secs(1 << 30));
        assert_eq!(of("soon"), None);
    }
}
