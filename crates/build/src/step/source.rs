//! Downloads and repositories as steps: their keys are those of what they hold, so they are asked for before anything
//! runs.

use std::sync::Arc;

use kiln_graph::VertexId;
use kiln_sandbox::Cancellation;
use kiln_solver::{Identity, Product};
use kiln_store::Key;

use super::{Cancelled, Made, Phase, Rootfs, Steps};
use crate::error::StepProblem;
use crate::sources::{Source, SourceError, Watch};

impl Steps {
    /// Whether the network has to be asked for the vertex's key.
    pub(crate) fn is_remote(&self, id: VertexId) -> bool {
        Source::of(&self.vertex(id).op).is_some()
    }

    /// The identity of a download or a repository.
    pub(crate) fn identify_source(
        &self,
        id: VertexId,
        cancellation: &Cancellation,
    ) -> Result<Identity<Key>, StepProblem> {
        let source = self.source(id)?;
        let task = self.task(id);
        task.start();
        let found = self.sources.key(source, &Watch { task: &task, cancelled: &|| cancellation.is_cancelled() })?;
        if found.fetched {
            self.mark(id, Phase::Fetched);
        }
        self.trace.identified(id, Some(&found.key));
        Ok(Identity::Known(found.key))
    }

    /// Fetches what a source holds, if the store does not have it.
    pub(super) fn execute_source(
        &self,
        id: VertexId,
        identity: &Identity<Key>,
        cancelled: Cancelled<'_>,
    ) -> Result<Product<Key, Made>, StepProblem> {
        let task = self.task(id);
        let layer = self.sources.layer(self.source(id)?, &Watch { task: &task, cancelled })?;
        let rootfs = Rootfs::of_image(vec![layer]);
        Ok(Product { recipe: *identity.lock_key(), output: Made::Rootfs(Arc::new(rootfs)), anew: false })
    }

    fn source(&self, id: VertexId) -> Result<Source<'_>, StepProblem> {
        let no_source = || StepProblem::Other(format!("{} is not fetched", self.vertex(id).meta.name));
        Source::of(&self.vertex(id).op).ok_or_else(no_source)
    }
}

impl From<SourceError> for StepProblem {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Cancelled => StepProblem::Cancelled,
            other => StepProblem::from(&other as &(dyn std::error::Error + 'static)),
        }
    }
}
