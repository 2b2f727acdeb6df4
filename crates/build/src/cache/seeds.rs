//! What a cache mount that does not exist yet starts with: the files that it had where the cache was written.

use std::fs::File;
use std::sync::PoisonError;

use kiln_cache::{FetchError, RemoteMount, mounts};
use kiln_graph::{MountKind, Op, VertexId};
use kiln_progress::{Outcome, Task, Warning};
use kiln_store::{Layer, Metadata};

use crate::bases::blocking;
use crate::error::{StepProblem, chain};
use crate::step::Steps;

impl Steps {
    /// Fetches the files of the mounts that a step is about to make. What cannot be had is a warning: the mount then
    /// starts as without a cache.
    pub(crate) async fn fetch_seeds(&self, id: VertexId, task: &Task) {
        let Op::Exec(exec) = &self.vertex(id).op else { return };
        if !self.elsewhere.gives_mounts {
            return;
        }
        for mount in &exec.mounts {
            let MountKind::Cache(cache) = &mount.kind else { continue };
            let Some(remote) = self.elsewhere.shelf.mount(&cache.id) else { continue };
            if self.store.cache_mounts().existing(&cache.id).is_some() || self.seed(&cache.id).is_some() {
                continue;
            }
            let part = task.part(format!("cache mount {} from {}", cache.id, remote.depot));
            part.start();
            match self.fetch_seed(remote, &part).await {
                Ok(files) => {
                    let mut seeds = self.elsewhere.seeds.lock().unwrap_or_else(PoisonError::into_inner);
                    seeds.insert(cache.id.clone(), files);
                    part.finish(Outcome::Done);
                }
                Err(reason) => {
                    let short = format!("the cache mount {:?} starts empty: {reason}", cache.id);
                    part.finish(Outcome::Failed(reason));
                    self.progress.warn(Warning { short, detail: Vec::new() });
                }
            }
        }
    }

    async fn fetch_seed(&self, remote: &RemoteMount, task: &Task) -> Result<Layer, String> {
        let fetched: Result<(), FetchError> =
            kiln_cache::blob(&self.store, &remote.depot, &remote.mount.blob, task).await;
        fetched.map_err(|error| chain(&error))?;
        let (store, blob) = (self.store.clone(), remote.mount.blob.clone());
        let unpacked = blocking(move || mounts::unpack(&store, &blob)).await.map_err(|error| chain(&error))?;
        unpacked.map_err(|error| chain(&error))
    }

    fn seed(&self, id: &str) -> Option<Layer> {
        self.elsewhere.seeds.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Fills a mount's new directory with what was fetched for it, if anything was.
    pub(crate) fn fill_from_seed(&self, directory: &File, id: &str) -> Result<Option<Metadata>, StepProblem> {
        let Some(files) = self.seed(id) else { return Ok(None) };
        let filled = mounts::fill(directory, &files);
        filled.map(Some).map_err(|error| StepProblem::from(&error as &(dyn std::error::Error + 'static)))
    }
}
