//! Waiting for the network from a thread that may block, until nobody waits any more.

use std::future::Future;
use std::time::Duration;

use super::{SourceError, Watch};

/// How often a waiter looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// Waits for `work`; gives up when nobody waits any more.
pub(super) fn wait<T>(watch: &Watch<'_>, work: impl Future<Output = T>) -> Result<T, SourceError> {
    let unwanted = async {
        while !(watch.cancelled)() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::runtime::Handle::current().block_on(async {
        tokio::select! {
            done = work => Ok(done),
            () = unwanted => Err(SourceError::Cancelled),
        }
    })
}
