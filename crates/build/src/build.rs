//! A build from request to outcome.

use std::sync::{Arc, Mutex, PoisonError};

use kiln_cache::Inline;
use kiln_dockerfile::{Bases, Dockerfile, Lowered, Plan, PlanOptions, check_frontend};
use kiln_graph::{Definition, VertexId};
use kiln_images::export::{Exported, ImageContent};
use kiln_oci::{Digest, ImageConfig, Platform};
use kiln_progress::{Outcome as TaskOutcome, Sink, Warning};
use kiln_sandbox::{Sandbox, Tier};
use kiln_store::Store;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::bases::{BaseResolver, blocking};
use crate::cache::{self, Elsewhere, ResultLayers};
use crate::client::Client;
use crate::error::{BuildError, StepError, StepProblem};
use crate::executor::{self, How};
use crate::explain::{About, BuildOutcome, ExplainedBuild, Texts, Trace, report};
use crate::history::dated;
use crate::mending::Mending;
use crate::output::{self, Built, Written};
use crate::platforms;
use crate::push::{self, Push};
use crate::request::{Destination, NamedContext, Output, Request};
use crate::sources::Sources;
use crate::squash::squash;
use crate::step::{Distant, Made, Steps};

/// Runs builds on one store.
#[derive(Clone)]
pub struct Builder {
    store: Store,
    tier: Tier,
    registry: kiln_registry::Client,
    explained: Arc<Mutex<Option<ExplainedBuild>>>,
}

/// What a build made.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The images, one a platform.
    pub images: Vec<BuiltImage>,
    /// What names the images in the store together, if that was made.
    pub kept: Option<Exported>,
    /// What was written for each output of the request, in order; `None` for file systems.
    pub exported: Vec<Option<Exported>>,
    /// The base images, as they were found.
    pub bases: Bases,
}

/// An image that was made.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// For which platform.
    pub platform: Platform,
    /// The digest of its config, if it was kept in the store.
    pub id: Option<Digest>,
    /// The config, without diff ids.
    pub config: ImageConfig,
}

/// Whom a build serves: who is asked, who watches, who may cancel.
struct Watched {
    client: Arc<dyn Client>,
    progress: Sink,
    cancellation: CancellationToken,
}

/// What the steps made.
struct Solved {
    /// An image for each platform.
    contents: Vec<ImageContent>,
    /// How many history entries each of them has from its base.
    inherited: Vec<usize>,
    epoch: Option<i64>,
    steps: Arc<Steps>,
    /// What was wanted of them, and what it is.
    targets: Vec<VertexId>,
    results: Vec<Made>,
}

impl Solved {
    /// Makes one layer of those that each image adds to its base.
    fn squash(&mut self, store: &Store, progress: &Sink) -> Result<(), BuildError> {
        let task = progress.task("squashing layers");
        task.start();
        let mut images = self.contents.iter_mut().zip(&self.inherited);
        let squashed = images.try_for_each(|(image, &inherited)| squash(store, image, inherited));
        task.finish(match &squashed {
            Ok(()) => TaskOutcome::Done,
            Err(error) => TaskOutcome::Failed(error.to_string()),
        });
        squashed
    }

    /// Puts the records whose layers an image has into its config.
    fn write_inline_cache(&mut self) -> Result<(), BuildError> {
        let only = ResultLayers::of(&self.results);
        let records = self.steps.gather(&self.targets, Some(&only));
        let records = records.map_err(|problem| BuildError::Export(problem.to_string()))?;
        self.contents.iter_mut().for_each(|image| cache::write_inline(image, &records));
        Ok(())
    }
}

impl Builder {
    /// A builder for a store, with what this process may do and how it talks to registries.
    pub fn new(store: Store, tier: Tier, registry: kiln_registry::Client) -> Self {
        Builder { store, tier, registry, explained: Arc::default() }
    }

    /// Builds. Where that meets damage in the store, what is damaged is dropped and made again.
    ///
    /// # Errors
    /// See [`BuildError`]. Steps that completed before the failure stay in the cache.
    pub async fn build(
        &self,
        request: &Request,
        client: Arc<dyn Client>,
        progress: Sink,
        cancellation: CancellationToken,
    ) -> Result<Outcome, BuildError> {
        let mut mending = Mending::new(&self.store, request, &progress);
        loop {
            let built = self.build_once(request, Arc::clone(&client), progress.clone(), cancellation.clone()).await;
            if let Some(result) = mending.settled(built).await {
                return result;
            }
        }
    }

    async fn build_once(
        &self,
        request: &Request,
        client: Arc<dyn Client>,
        progress: Sink,
        cancellation: CancellationToken,
    ) -> Result<Outcome, BuildError> {
        let text = &request.dockerfile.text;
        let asked = request.build_args.get("BUILDKIT_SYNTAX").map(String::as_str);
        check_frontend(text, asked).map_err(|error| BuildError::Dockerfile(vec![error]))?;
        let dockerfile = Dockerfile::parse_all(text).map_err(BuildError::Dockerfile)?;
        let platforms = platforms::distinct(&request.platforms);
        output::check(&request.outputs, platforms.len())?;
        let reading = cache::read_all(&request.cache_from, &platforms, &self.store, &self.registry, &progress);
        let (planned, elsewhere) = tokio::join!(self.planned(request, &dockerfile, &platforms, &progress), reading);
        let (lowered, known) = planned?;
        let watched = Watched { client, progress, cancellation };
        let solved = self.solve(request, lowered, platforms, Arc::new(elsewhere), &watched).await?;
        let outcome = self.export(request, solved, &watched).await?;
        Ok(Outcome { bases: known, ..outcome })
    }

    /// The graphs of all platforms, those that make the result first, and the base images that they took.
    async fn planned(
        &self,
        request: &Request,
        dockerfile: &Dockerfile,
        platforms: &[Platform],
        progress: &Sink,
    ) -> Result<(Vec<Lowered>, Bases), BuildError> {
        let (mut lowered, mut others, mut known) = (Vec::new(), Vec::new(), Bases::new());
        for platform in platforms {
            let plan = Plan::new(dockerfile.clone(), plan_options(request, platform, platforms.len() > 1))?;
            let (wanted, bases) = self.lowered(request, &plan, progress).await?;
            lowered.push(wanted);
            for other in if request.all_stages { plan.unneeded(&bases)? } else { Vec::new() } {
                others.push(self.lowered(request, &other, progress).await?.0);
            }
            known.extend(bases);
        }
        lowered.append(&mut others);
        Ok((lowered, known))
    }

    /// The graph of a plan, and the base images that it took.
    async fn lowered(&self, request: &Request, plan: &Plan, progress: &Sink) -> Result<(Lowered, Bases), BuildError> {
        let resolver = self.resolver(request, progress);
        let mut bases = Bases::new();
        loop {
            let missing = plan.missing_bases(&bases)?;
            if missing.is_empty() {
                return Ok((plan.lower(&bases)?, bases));
            }
            resolver.resolve_all(missing, &mut bases).await?;
        }
    }

    /// How base images are found for a request.
    pub(crate) fn resolver(&self, request: &Request, progress: &Sink) -> BaseResolver {
        BaseResolver {
            store: self.store.clone(),
            registry: self.registry.clone(),
            named: request.named_contexts.clone(),
            pull: request.pull,
            progress: progress.clone(),
        }
    }

    /// Runs all that `lowered` is, and tells what the first of them, one a platform, became.
    async fn solve(
        &self,
        request: &Request,
        lowered: Vec<Lowered>,
        platforms: Vec<Platform>,
        elsewhere: Arc<Elsewhere>,
        watched: &Watched,
    ) -> Result<Solved, BuildError> {
        let started = OffsetDateTime::now_utc();
        let joined = platforms::joined(&lowered).map_err(|error| BuildError::Internal(error.to_string()))?;
        let (definition, targets) = joined;
        let wanted: Vec<VertexId> = targets.iter().copied().flatten().collect();
        let (steps, made) = loop {
            let steps = Arc::new(self.steps(request, definition.clone(), &elsewhere, watched));
            match self.solve_once(request, &steps, &wanted, watched).await {
                Err(error) if lost_layer(&error) => watched.progress.warn(Warning {
                    short: format!("{error}: the steps that made it are executed"),
                    detail: Vec::new(),
                }),
                made => break (steps, made),
            }
        };
        let explained = platform_of_each(&steps, &targets, &platforms);
        let stages = lowered.first().map(|each| each.stages.clone()).unwrap_or_default();
        let images = request.names.iter().map(|name| name.with_default_tag().familiar()).collect();
        let outcome = outcome_of(made.as_ref().err());
        let target = request.target.clone();
        self.explain(&steps, About { started, outcome, images, target, stages, targets: explained }).await;
        let made = made?;
        let epoch = lowered.iter().find_map(|each| each.source_date_epoch);
        let mut results = made.iter();
        let inherited = lowered.iter().map(|each| each.inherited_history).collect();
        let contents = lowered
            .into_iter()
            .zip(platforms)
            .zip(targets)
            .map(|((lowered, platform), target)| content(lowered, platform, target.and_then(|_| results.next())));
        let contents = contents.collect();
        Ok(Solved { contents, inherited, epoch, steps, targets: wanted, results: made })
    }

    /// Runs the steps, and makes the result be here if anybody reads it.
    async fn solve_once(
        &self,
        request: &Request,
        steps: &Arc<Steps>,
        wanted: &[VertexId],
        watched: &Watched,
    ) -> Result<Vec<Made>, BuildError> {
        let how = How { jobs: request.jobs, keep_going: request.keep_going };
        let made = executor::solve(Arc::clone(steps), wanted, how, watched.cancellation.clone()).await?;
        let saved = Arc::clone(steps);
        blocking(move || saved.save_digests()).await??;
        let is_read = request.kept.is_some() || !request.outputs.is_empty();
        if !is_read || made.iter().all(Made::is_here) || self.needs_only_documents(request, &made).await? {
            return Ok(made);
        }
        let task = watched.progress.task("fetching the layers of the result");
        task.start();
        let here = tokio::select! {
            here = steps.all_here(&made, &task) => here.map_err(of_result),
            () = watched.cancellation.cancelled() => Err(BuildError::Cancelled),
        };
        task.finish(match &here {
            Ok(_) => TaskOutcome::Done,
            Err(BuildError::Cancelled) => TaskOutcome::Cancelled,
            Err(error) => TaskOutcome::Failed(error.to_string()),
        });
        here
    }

    /// Whether all that becomes of the result names its layers and does not contain them.
    async fn needs_only_documents(&self, request: &Request, made: &[Made]) -> Result<bool, BuildError> {
        let is_kept_otherwise = request.kept.as_ref().is_some_and(|kept| kept.form.force_compression);
        if request.squash || is_kept_otherwise || !request.outputs.iter().all(names_layers) {
            return Ok(false);
        }
        let made = made.to_vec();
        let enough = blocking(move || {
            let mut all = made.iter().map(|made| Distant::of(made).is_enough_for_an_image());
            all.try_fold(true, |so_far, each| Ok(so_far && each?))
        });
        enough.await?.map_err(of_result)
    }

    /// What is told of the steps of the last build that came so far as to have any.
    pub fn explained(&self) -> Option<ExplainedBuild> {
        self.explained.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps why the steps of a build ran. That this cannot be done is no reason to fail.
    async fn explain(&self, steps: &Arc<Steps>, about: About) {
        let explaining = Arc::clone(steps);
        let explained = blocking(move || report(&explaining, about)).await;
        match explained {
            Ok(Ok(build)) => *self.explained.lock().unwrap_or_else(PoisonError::into_inner) = Some(build),
            Ok(Err(error)) => {
                let short = format!("why steps ran could not be kept: {}", crate::error::chain(&error));
                steps.progress.warn(Warning { short, detail: Vec::new() });
            }
            Err(_) => {}
        }
    }

    fn steps(&self, request: &Request, definition: Definition, elsewhere: &Arc<Elsewhere>, watched: &Watched) -> Steps {
        let Watched { client, progress, .. } = watched;
        Steps {
            store: self.store.clone(),
            sandbox: Sandbox::new(self.store.clone(), self.tier.clone()),
            tier: self.tier.clone(),
            client: Arc::clone(client),
            registry: self.registry.clone(),
            sources: Sources::new(self.store.clone(), self.registry.clone(), Arc::clone(client)),
            texts: Texts::new(&request.dockerfile.text, &definition),
            definition,
            allow: request.allow.clone(),
            bounds: request.step_bounds,
            build_id: build_id(),
            lineage: request.dockerfile.name.clone(),
            progress: progress.clone(),
            elsewhere: Arc::clone(elsewhere),
            recipes: Mutex::default(),
            contexts: Mutex::default(),
            input_recipes: Mutex::default(),
            context_selections: Mutex::default(),
            tasks: Mutex::default(),
            phases: Mutex::default(),
            trace: Trace::default(),
            logs: Mutex::default(),
            noted: Mutex::default(),
        }
    }

    async fn export(&self, request: &Request, solved: Solved, watched: &Watched) -> Result<Outcome, BuildError> {
        let Watched { progress, cancellation, .. } = watched;
        let (store, inside, sink) = (self.store.clone(), request.clone(), progress.clone());
        let (steps, targets, results) = (Arc::clone(&solved.steps), solved.targets.clone(), solved.results.clone());
        let (outcome, pushes) = blocking(move || export(&store, &inside, solved, &sink)).await??;
        tokio::select! {
            pushed = push::all(&self.store, &self.registry, &pushes, progress) => pushed?,
            () = cancellation.cancelled() => return Err(BuildError::Cancelled),
        }
        let pushed_to = pushes.first().and_then(|push| push.names.first()).cloned();
        let registry = &self.registry;
        let exports = cache::Exports { steps, targets, results, registry, pushed_to, progress, cancellation };
        cache::send_all(&exports, &request.cache_to).await?;
        Ok(outcome)
    }
}

/// Keeps and writes the result; what goes to registries comes back.
fn export(
    store: &Store,
    request: &Request,
    mut solved: Solved,
    progress: &Sink,
) -> Result<(Outcome, Vec<Push>), BuildError> {
    if request.squash {
        solved.squash(store, progress)?;
    }
    if request.cache_to.iter().any(|to| to.place.is_none()) {
        solved.write_inline_cache()?;
    }
    let Solved { contents, epoch, .. } = solved;
    let built = Built { store, images: &contents, names: &request.names, epoch };
    let task = progress.task("exporting the result");
    task.start();
    let written = (|| {
        let kept = request.kept.as_ref().map(|kept| built.keep(kept, &task)).transpose()?.unwrap_or_default();
        let exported = request.outputs.iter().map(|output| built.write(output, &task));
        Ok::<_, BuildError>((kept, exported.collect::<Result<Vec<_>, _>>()?))
    })();
    task.finish(match &written {
        Ok(_) => TaskOutcome::Done,
        Err(error) => TaskOutcome::Failed(error.to_string()),
    });
    let ((ids, kept), written) = written?;
    let (exported, pushes) = sorted(written);
    let images = contents.into_iter().enumerate().map(|(place, content)| BuiltImage {
        platform: content.platform,
        id: ids.get(place).cloned(),
        config: content.config,
    });
    let outcome = Outcome { images: images.collect(), kept, exported, bases: Bases::new() };
    Ok((outcome, pushes))
}

/// What each output is, in order, and what of them is to be pushed.
fn sorted(written: Vec<Written>) -> (Vec<Option<Exported>>, Vec<Push>) {
    let mut pushes = Vec::new();
    let exported = written.into_iter().map(|written| match written {
        Written::Done(exported) => exported,
        Written::Packed(push) => {
            let exported = push.parcel.exported();
            pushes.push(push);
            Some(exported)
        }
    });
    (exported.collect(), pushes)
}

/// The image of one platform.
fn content(lowered: Lowered, platform: Platform, made: Option<&Made>) -> ImageContent {
    let epoch = lowered.source_date_epoch;
    let made = made.map(Distant::of).unwrap_or_default();
    let mut config = dated(lowered.config, lowered.inherited_history, &made.made_at, epoch);
    Inline::remove(&mut config);
    ImageContent { config, layers: made.content(), platform }
}

/// Whether a build failed because a cache elsewhere does not have what it promised.
fn lost_layer(error: &BuildError) -> bool {
    let is_lost = |step: &StepError| matches!(step.problem, StepProblem::LostLayer { .. });
    match error {
        BuildError::Step(step) => is_lost(step),
        BuildError::Steps(steps) => steps.iter().any(is_lost),
        _ => false,
    }
}

/// Whether an output consists of documents, and of blobs only where the other side has them not.
fn names_layers(output: &Output) -> bool {
    matches!(output.destination, Destination::Registry(_)) && !output.form.force_compression
}

/// A layer of the result that cannot be had.
fn of_result(problem: StepProblem) -> BuildError {
    let name = "the layers of the result".to_owned();
    BuildError::Step(Box::new(StepError { name, span: None, problem, log: None }))
}

pub(crate) fn plan_options(request: &Request, platform: &Platform, multi_platform: bool) -> PlanOptions {
    let named = request.named_contexts.iter().map(|(name, context)| {
        let kind = match context {
            NamedContext::Files => kiln_dockerfile::NamedContext::Files,
            NamedContext::Image(_) | NamedContext::Layout { .. } => kiln_dockerfile::NamedContext::Image,
        };
        (name.clone(), kind)
    });
    PlanOptions {
        build_args: request.build_args.clone(),
        labels: request.labels.clone(),
        target: request.target.clone(),
        build_platform: Platform::host(),
        multi_platform,
        named_contexts: named.collect(),
        no_cache: request.no_cache.clone(),
        network: request.network,
        extra_hosts: request.extra_hosts.clone(),
        shm_size: request.shm_size,
        ulimits: request.ulimits.clone(),
        cgroup_parent: request.cgroup_parent.clone(),
        ..PlanOptions::new(platform.clone())
    }
}

/// Names this build among its like: the time, and the process.
fn build_id() -> String {
    format!("{}-{}", OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000, std::process::id())
}

fn outcome_of(error: Option<&BuildError>) -> BuildOutcome {
    match error {
        None => BuildOutcome::Done,
        Some(BuildError::Cancelled) => BuildOutcome::Cancelled,
        Some(_) => BuildOutcome::Failed,
    }
}

/// The targets, each with the platform of what it becomes; those beyond the platforms are only cached.
fn platform_of_each(steps: &Steps, targets: &[Option<VertexId>], platforms: &[Platform]) -> Vec<(VertexId, Platform)> {
    let of = |(place, target): (usize, &Option<VertexId>)| {
        let platform = |id| platforms.get(place).unwrap_or(&steps.vertex(id).platform).clone();
        target.map(|id| (id, platform(id)))
    };
    targets.iter().enumerate().filter_map(of).collect()
}
