//! One request at a time goes on with an upload: the one that came last. A client whose connection broke comes again
//! before the server has heard of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, watch};

/// How long who only looks waits for who writes.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who goes on with which upload.
#[derive(Debug, Default)]
pub(super) struct Turns {
    seats: Mutex<HashMap<String, Weak<Seat>>>,
}

#[derive(Debug)]
struct Seat {
    taken: Arc<tokio::sync::Mutex<()>>,
    arrivals: watch::Sender<u64>,
}

/// The right to go on with an upload.
#[derive(Debug)]
pub(super) struct Turn {
    _guard: OwnedMutexGuard<()>,
    arrivals: watch::Receiver<u64>,
    /// What keeps the seat while somebody sits or waits there.
    _seat: Arc<Seat>,
}

impl Turns {
    /// Makes whoever goes on with the upload stop, and waits for it.
    pub(super) async fn take(&self, id: &str) -> Turn {
        let seat = self.seat(id);
        let mut arrivals = seat.arrivals.subscribe();
        seat.arrivals.send_modify(|count| *count += 1);
        arrivals.mark_unchanged();
        let guard = Arc::clone(&seat.taken).lock_owned().await;
        Turn { _guard: guard, arrivals, _seat: seat }
    }

    /// Waits a little for whoever goes on with the upload.
    pub(super) async fn settle(&self, id: &str) {
        let seat = self.lock().get(id).and_then(Weak::upgrade);
        if let Some(seat) = seat {
            // Who is still at it after that is told of as it is.
            let _ = tokio::time::timeout(PATIENCE, seat.taken.lock()).await;
        }
    }

    fn seat(&self, id: &str) -> Arc<Seat> {
        let mut seats = self.lock();
        if let Some(seat) = seats.get(id).and_then(Weak::upgrade) {
            return seat;
        }
        seats.retain(|_, seat| seat.strong_count() > 0);
        let seat = Arc::new(Seat { taken: Arc::default(), arrivals: watch::Sender::new(0) });
        seats.insert(id.to_owned(), Arc::downgrade(&seat));
        seat
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Weak<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Returns when somebody else came to go on with the upload.
    pub(super) async fn ended(&mut self) {
        // The sender is in the seat, which is kept here.
        let _ = self.arrivals.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_comes_last_goes_on() {
        let turns = Arc::new(Turns::default());
        let mut first = turns.take("a").await;
        let others = Arc::clone(&turns);
        let second = tokio::spawn(async move { others.take("a").await });
        first.ended().await;
        drop(first);
        let mut second = second.await.unwrap();
        let mut other = turns.take("b").await;
        tokio::select! {
            biased;
            () = second.ended() => panic!("nobody came"),
            () = other.ended() => panic!("nobody came"),
            () = std::future::ready(()) => {}
        }
        drop((second, other));
        turns.settle("a").await;
        drop(turns.take("c").await);
        assert_eq!(turns.lock().len(), 1);
    }
}
