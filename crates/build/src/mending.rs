//! A build that meets damage in the store: what is damaged is dropped, and the build begins anew, so that the steps
//! and bases in question are misses. Nothing damaged was written out by then: it is compared before.

use kiln_progress::{Sink, Warning};
use kiln_store::Store;

use crate::bases::blocking;
use crate::error::BuildError;
use crate::request::{Destination, Request};

/// How often one build begins anew. Each time something was dropped, so that it ends by itself; this is for a disk
/// that damages what is written to it.
const ATTEMPTS: usize = 8;

/// What one build did about damage.
pub(crate) struct Mending {
    store: Store,
    progress: Sink,
    /// Whether a part of the result may be written already where it cannot be taken back.
    is_streamed: bool,
    mended: usize,
}

impl Mending {
    pub(crate) fn new(store: &Store, request: &Request, progress: &Sink) -> Mending {
        let is_streamed = request.outputs.iter().any(|output| matches!(output.destination, Destination::Stdout));
        Mending { store: store.clone(), progress: progress.clone(), is_streamed, mended: 0 }
    }

    /// The result, or `None` if the build shall begin anew.
    pub(crate) async fn settled<T>(&mut self, built: Result<T, BuildError>) -> Option<Result<T, BuildError>> {
        match built {
            Ok(outcome) if self.mended > 0 => {
                // Images that had the damaged layers, and that this build has not made whole.
                let store = self.store.clone();
                let forgotten = blocking(move || store.forget_lost_images()).await;
                Some(forgotten.and_then(|done| Ok(done?)).map(|()| outcome))
            }
            Ok(outcome) => Some(Ok(outcome)),
            Err(error @ (BuildError::Cancelled | BuildError::Dockerfile(_))) => Some(Err(error)),
            Err(error) => match self.drop_damage().await {
                Ok(true) if !self.is_streamed => None,
                // The error itself says more than one about mending.
                _ => Some(Err(error)),
            },
        }
    }

    /// Drops what proved damaged; false if nothing did, or too often.
    async fn drop_damage(&mut self) -> Result<bool, BuildError> {
        let store = self.store.clone();
        let dropped = blocking(move || store.drop_damage()).await??;
        if dropped.is_empty() || self.mended == ATTEMPTS {
            return Ok(false);
        }
        self.mended += 1;
        let short = format!("damaged in the store, dropped and made again: {}", dropped.join(", "));
        self.progress.warn(Warning { short, detail: Vec::new() });
        Ok(true)
    }
}
