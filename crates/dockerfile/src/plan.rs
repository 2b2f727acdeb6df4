//! From a parsed Dockerfile to a graph: which stages count, which bases they need, and the lowering.
//! Never waits: it says which base configs it misses and is asked again with them.

use kiln_graph::{Definition, VertexId};
use kiln_oci::ImageConfig;

use crate::dockerfile::Dockerfile;
use crate::error::{Error, ParseProblem};
use crate::lint::Checks;
use crate::lower;
use crate::options::{Base, Bases, PlanOptions};
use crate::stages::Stages;

/// What a plan becomes.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The graph.
    pub definition: Definition,
    /// The vertex whose output is the image's root file system; `None` for an image without layers.
    pub target: Option<VertexId>,
    /// The image's config with its history. `created` is left out of what this build adds, and `rootfs`
    /// lists no layer: both are the exporter's to fill in.
    pub config: ImageConfig,
    /// How many history entries come from the base image.
    pub inherited_history: usize,
    /// Seconds since 1970, where SOURCE_DATE_EPOCH was given.
    pub source_date_epoch: Option<i64>,
    /// What displays call the stages of the Dockerfile, those that are not needed too.
    pub stages: Vec<String>,
}

/// A Dockerfile with options, ready to be lowered.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) dockerfile: Dockerfile,
    pub(crate) options: PlanOptions,
    pub(crate) stages: Stages,
}

impl Plan {
    /// Expands what stands before and in FROM, and finds the target.
    ///
    /// # Errors
    /// No stage at all, an unknown target, a blank base name, a malformed platform, a `# check=` that cannot be read.
    pub fn new(dockerfile: Dockerfile, options: PlanOptions) -> Result<Plan, Error> {
        let checks = Checks::given(&options.build_args, dockerfile.directives.check.as_deref());
        checks.map_err(|error| Error::new(ParseProblem::Checks(error), None))?;
        let stages = Stages::new(&dockerfile, &options)?;
        Ok(Plan { dockerfile, options, stages })
    }

    /// The base images that the target needs and that are not among `known`. Ask again with them: ONBUILD
    /// triggers of a base may need more.
    ///
    /// # Errors
    /// A base name that is no image reference, a stage used before it is defined, a malformed trigger.
    pub fn missing_bases(&self, known: &Bases) -> Result<Vec<Base>, Error> {
        let needs = self.stages.needs(&self.dockerfile, known)?;
        Ok(needs.bases.into_iter().filter(|base| !known.contains_key(base)).collect())
    }

    /// Plans for the stages that the target does not need: one for each that no other of them needs.
    ///
    /// # Errors
    /// As [`Plan::missing_bases`].
    pub fn unneeded(&self, known: &Bases) -> Result<Vec<Plan>, Error> {
        let mut covered = self.stages.needs(&self.dockerfile, known)?.stages;
        let mut plans = Vec::new();
        // What a stage needs stands before it.
        for target in (0..covered.len()).rev() {
            if covered.get(target) == Some(&false) {
                let plan = Plan { stages: Stages { target, ..self.stages.clone() }, ..self.clone() };
                let needs = plan.stages.needs(&plan.dockerfile, known)?.stages;
                covered.iter_mut().zip(needs).for_each(|(covered, needed)| *covered |= needed);
                plans.push(plan);
            }
        }
        Ok(plans)
    }

    /// The graph and the image config. `bases` must hold all that [`Plan::missing_bases`] asked for.
    ///
    /// # Errors
    /// A missing base; a word that cannot be expanded; a malformed mount, port, signal, mode or checksum.
    pub fn lower(&self, bases: &Bases) -> Result<Lowered, Error> {
        lower::lower(self, bases)
    }
}
