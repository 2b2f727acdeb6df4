//! Waiting for what other builds, or other steps of this one, have: without a thread and without a slot.
//!
//! Whoever waits for a step that another process runs sees its output, and shares its failure.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kiln_graph::VertexId;
use kiln_store::{Key, LockGuard, LockKey, Sharing};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Executor;
use crate::error::StepProblem;
use crate::step::{Handover, HeldCache, Made};

/// How long a waiter sleeps between two tries, at first and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// The locks of a step: by its key, and by the states of what it takes from contexts.
pub(crate) struct StepLocks(Vec<LockGuard>);

impl StepLocks {
    pub(super) fn guards(&self) -> &[LockGuard] {
        &self.0
    }
}

/// What a step has for itself while it runs.
pub(crate) struct Claim {
    caches: Vec<HeldCache>,
    /// Told when it is given back.
    returned: Arc<Notify>,
}

impl Claim {
    /// The cache directories, in the order of their ids.
    pub(crate) fn caches(&self) -> &[HeldCache] {
        &self.caches
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.caches.clear();
        self.returned.notify_waiters();
    }
}

impl Executor {
    /// Waits for the locks of a step, always in this order.
    pub(super) async fn locked(
        &self,
        id: VertexId,
        key: Key,
        cancel: CancellationToken,
    ) -> Result<StepLocks, StepProblem> {
        let mut locks = vec![self.lock_named(id, key, &cancel).await?];
        if self.steps.reads_context(id) {
            let states = self.blocking(cancel.clone(), move |steps, _| steps.lock_by_states(id)).await?;
            if let Some(states) = states.filter(|states| *states != key) {
                locks.push(self.lock_named(id, states, &cancel).await?);
            }
        }
        Ok(StepLocks(locks))
    }

    /// Waits for a lock of a step. While another process runs the step, its output is this one's; and if it fails there
    /// meanwhile, it has failed here.
    async fn lock_named(&self, id: VertexId, key: Key, cancel: &CancellationToken) -> Result<LockGuard, StepProblem> {
        let lock_key = LockKey::new("step", &key.0);
        let take = move |locks: &kiln_store::Locks| locks.try_acquire(lock_key, Sharing::Exclusive);
        if let Some(lock) = self.blocking(cancel.clone(), move |steps, _| Ok(take(steps.store.locks())?)).await? {
            return Ok(lock);
        }
        self.steps.trace.waited(id);
        self.steps.task(id).wait("another build runs this step");
        let mut handover = Handover::new(id, key);
        let mut pause = PATIENCE.0;
        loop {
            let attempt = self.blocking(cancel.clone(), move |steps, _| {
                let lock = take(steps.store.locks())?;
                handover.listen(steps)?;
                Ok((lock, handover))
            });
            let (lock, listened) = attempt.await?;
            if let Some(lock) = lock {
                return Ok(lock);
            }
            handover = listened;
            pause_for(&mut pause, std::future::pending(), cancel).await?;
        }
    }

    /// Waits for the cache directories of a step, in the order of their ids, so that no two steps wait for each other.
    pub(super) async fn claimed(
        &self,
        id: VertexId,
        caches: Vec<String>,
        inputs: Vec<Made>,
        cancel: CancellationToken,
    ) -> Result<Claim, StepProblem> {
        let mut claim = Claim { caches: Vec::new(), returned: Arc::clone(&self.returned) };
        let inputs = Arc::new(inputs);
        for cache in caches {
            claim.caches.push(self.cache(id, cache, &inputs, &cancel).await?);
        }
        Ok(claim)
    }

    async fn cache(
        &self,
        id: VertexId,
        cache: String,
        inputs: &Arc<Vec<Made>>,
        cancel: &CancellationToken,
    ) -> Result<HeldCache, StepProblem> {
        let mut pause = PATIENCE.0;
        let mut told = false;
        loop {
            let returned = self.returned.notified();
            let (name, inputs) = (cache.clone(), Arc::clone(inputs));
            let attempt = self.blocking(cancel.clone(), move |steps, cancellation| {
                steps.try_cache(id, &name, &inputs, &|| cancellation.is_cancelled())
            });
            if let Some(held) = attempt.await? {
                return Ok(held);
            }
            if !std::mem::replace(&mut told, true) {
                self.steps.task(id).wait(format!("another step uses the cache mount {cache}"));
            }
            pause_for(&mut pause, returned, cancel).await?;
        }
    }
}

/// Sleeps for a while, each time longer, or until `event`.
async fn pause_for(
    pause: &mut Duration,
    event: impl Future<Output = ()>,
    cancel: &CancellationToken,
) -> Result<(), StepProblem> {
    tokio::select! {
        () = tokio::time::sleep(*pause) => {}
        () = event => {}
        () = cancel.cancelled() => return Err(StepProblem::Cancelled),
    }
    *pause = (*pause * 2).min(PATIENCE.1);
    Ok(())
}
