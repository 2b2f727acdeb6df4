//! How slowly a peer may send: silence breaks a connection, and so does a trickle that would never end.

use std::time::{Duration, Instant};

use super::failure;
use super::retry::Trouble;

/// Fewer bytes than this within one span of waiting are a trickle.
pub(super) const TRICKLE: u64 = 4 << 10;

/// Watches one body. Only the time spent waiting for the peer counts, not what the reader does in between.
#[derive(Debug)]
pub(crate) struct Pace {
    span: Duration,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Nothing waited for yet; `span` is the longest silence.
    pub(crate) fn new(span: Duration) -> Pace {
        Pace { span, waited: Duration::ZERO, bytes: 0 }
    }

    /// Waits for the next piece, whose length `length` tells.
    pub(super) async fn wait<T>(
        &mut self,
        piece: impl Future<Output = T>,
        length: impl Fn(&T) -> usize,
    ) -> Result<T, Trouble> {
        let since = Instant::now();
        match tokio::time::timeout(self.span, piece).await {
            Ok(piece) => self.count(since.elapsed(), length(&piece)).map(|()| piece),
            Err(_) => Err(Trouble::Broken(failure::silence(self.span.as_secs()))),
        }
    }

    fn count(&mut self, waited: Duration, length: usize) -> Result<(), Trouble> {
        self.waited += waited;
        self.bytes = self.bytes.saturating_add(length as u64);
        if self.bytes >= TRICKLE {
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
        if self.waited < self.span {
            return Ok(());
        }
        Err(Trouble::Broken(failure::trickle(self.bytes, self.waited.as_secs())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_trickle_is_broken_off_after_the_span_and_not_before() {
        let mut pace = Pace::new(10 * SECOND);
        for _ in 0..9 {
            pace.count(SECOND, 1).unwrap();
        }
        let broken = pace.count(SECOND, 1).unwrap_err().to_string();
        assert_eq!(broken, "the connection broke: only 10 bytes came in 10 s");
    }

    #[test]
    fn what_is_slow_but_comes_is_waited_for() {
        let mut pace = Pace::new(10 * SECOND);
        for _ in 0..100 {
            pace.count(5 * SECOND, usize::try_from(TRICKLE).unwrap() / 2 + 1).unwrap();
            pace.count(4 * SECOND, usize::try_from(TRICKLE).unwrap() / 2 + 1).unwrap();
        }
    }
}
