//! Asking a running process tree to end, from anywhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_runtime::Signaller;

/// A request to end that may come before the start, while running, or never. Cheap to clone;
/// one may serve several executions.
#[derive(Clone, Default)]
pub struct Cancellation {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    next: u64,
    running: BTreeMap<u64, Signaller>,
}

/// While this lives, a cancellation kills the process tree.
pub(crate) struct Registration {
    cancellation: Cancellation,
    number: u64,
}

impl Cancellation {
    /// Nothing asked for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Kills what runs under this cancellation, and lets nothing start any more.
    pub fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        for signaller in state.running.values() {
            // It may have ended by itself already.
            let _ = signaller.kill();
        }
    }

    /// Whether [`cancel`](Cancellation::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// From now on a cancellation kills `signaller`'s process tree, at once if it came before.
    pub(crate) fn register(&self, signaller: Signaller) -> Registration {
        let mut state = self.lock();
        if state.cancelled {
            let _ = signaller.kill();
        }
        let number = state.next;
        state.next += 1;
        state.running.insert(number, signaller);
        Registration { cancellation: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.cancellation.lock().running.remove(&self.number);
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancellation({})", if self.is_cancelled() { "cancelled" } else { "not asked for" })
    }
}
