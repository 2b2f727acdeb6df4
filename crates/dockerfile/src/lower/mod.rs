//! Stages to vertices: what each instruction does to the root file system and to the image's config.

mod copy;
mod finished;
mod history;
mod image_env;
mod inputs;
mod metadata;
mod mounts;
pub(crate) mod port;
mod run;
mod signal;
mod state;

use std::cell::Cell;
use std::collections::HashMap;

use kiln_graph::{Definition, Edge, FileOp, ImageSource, Meta, Op, SourceOp, SourceSpan, Vertex, VertexId};
use kiln_oci::Platform;

use crate::error::{Error, LowerProblem, Problem};
use crate::instruction::{Instruction, Located};
use crate::names::Origin;
use crate::options::{Base, BaseName, Bases, NoCache, ResolvedBase};
use crate::plan::{Lowered, Plan};
use crate::shell::{Expansion, Options, Shell};
use crate::span::Span;
use crate::stages::Needs;

use finished::Finished;
use state::State;

/// The name under which the caller knows the main build context.
pub const MAIN_CONTEXT: &str = "context";

/// Lowers the target of a plan.
pub(crate) fn lower(plan: &Plan, bases: &Bases) -> Result<Lowered, Error> {
    let needs = plan.stages.needs(&plan.dockerfile, bases)?;
    let mut lowering = Lowering::new(plan, bases, &needs);
    let target = plan.stages.target;
    for index in (0..=target).filter(|index| needs.stages[*index]) {
        let state = lowering.stage(index)?;
        lowering.finished.insert(index, state);
    }
    let state = lowering.finished.take(target).ok_or(Error::new(LowerProblem::NoStages, None))?;
    Ok(Lowered {
        definition: lowering.definition,
        target: state.root,
        inherited_history: state.inherited_history,
        source_date_epoch: epoch(plan)?,
        stages: plan.stages.names.labels().to_vec(),
        config: state.into_config(&plan.options.labels),
    })
}

/// The first thing that keeps one of the wanted stages from being lowered, in their order. A stage on a base image
/// that is not known is not looked at.
pub(crate) fn first_error(plan: &Plan, bases: &Bases, wanted: &[bool]) -> Option<Error> {
    let needs = Needs { stages: wanted.to_vec(), bases: Vec::new() };
    let mut lowering = Lowering::new(plan, bases, &needs);
    for index in (0..wanted.len()).filter(|index| wanted[*index]) {
        match lowering.stage(index) {
            Ok(state) => lowering.finished.insert(index, state),
            Err(Error {
                problem: Problem::Lower(LowerProblem::MissingBase(_) | LowerProblem::Circular(_)), ..
            }) => {}
            Err(error) => return Some(error),
        }
    }
    None
}

fn epoch(plan: &Plan) -> Result<Option<i64>, Error> {
    use crate::shell::Variables;
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let given = plan.options.build_args.get(NAME).map(String::as_str).or_else(|| plan.stages.globals.value(NAME));
    let parse = |text: &str| text.parse().map_err(|_| Error::new(LowerProblem::Epoch(text.to_owned()), None));
    given.filter(|text| !text.is_empty()).map(parse).transpose()
}

/// A lowering in progress.
struct Lowering<'a> {
    plan: &'a Plan,
    bases: &'a Bases,
    definition: Definition,
    finished: Finished,
    /// The vertices of contexts, by name and platform.
    contexts: HashMap<(String, Platform), VertexId>,
    /// The config of each base image as a stage starts with it.
    images: HashMap<Base, State>,
    /// How many bytes of text were made so far.
    text: Cell<usize>,
}

/// The most text that a graph may hold, in bytes: variables that double each other and are used again and
/// again must not exhaust the memory.
const MOST_TEXT: usize = 512 << 20;

/// The stage that an instruction is lowered for.
struct Place<'a> {
    /// Its index.
    stage: usize,
    /// The instruction's lines.
    span: &'a Span,
}

impl<'a> Lowering<'a> {
    fn new(plan: &'a Plan, bases: &'a Bases, needs: &Needs) -> Lowering<'a> {
        Lowering {
            plan,
            bases,
            definition: Definition::new(),
            finished: Finished::new(&plan.stages, needs),
            contexts: HashMap::new(),
            images: HashMap::new(),
            text: Cell::new(0),
        }
    }
}

impl Lowering<'_> {
    fn stage(&mut self, index: usize) -> Result<State, Error> {
        let planned = &self.plan.stages.planned[index];
        let stage = &self.plan.dockerfile.stages[index];
        let triggers = self.plan.stages.triggers(&self.plan.dockerfile, self.bases, index)?;
        let instructions = planned.instructions(stage);
        let steps = triggers.iter().chain(instructions).filter(|located| makes_layer(&located.instruction));
        let steps = steps.count() + usize::from(matches!(planned.origin, Origin::Image(_)));
        let mut state = match &planned.origin {
            Origin::Stage(base) => self
                .finished
                .take(*base)
                .ok_or_else(|| Error::new(LowerProblem::Circular(stage.base.clone()), Some(stage.span.clone())))?,
            Origin::Image(name) => self.image_state(name, &planned.platform, &stage.span)?,
            _ => State::empty(&planned.platform),
        };
        state = state.begin(self.plan.stages.names.label(index), steps);
        if let Origin::Image(name) = &planned.origin {
            let display = format!("{}FROM {}", state.prefix(&self.plan.options), describe(name));
            state.root = self.image(name, &planned.platform, &stage.span, display)?;
        } else if let Origin::Context(name) = &planned.origin {
            state.root = Some(self.context(name, &planned.platform)?);
        }
        state.start(matches!(planned.origin, Origin::Scratch | Origin::Context(_)));
        for located in triggers.iter().chain(instructions) {
            self.instruction(&mut state, index, located)?;
        }
        Ok(state)
    }

    /// What a stage on an image starts with, but for the root file system.
    fn image_state(&mut self, name: &BaseName, platform: &Platform, span: &Span) -> Result<State, Error> {
        let base = Base { name: name.clone(), platform: platform.to_string() };
        if let Some(known) = self.images.get(&base) {
            return Ok(known.clone());
        }
        let mut state = State::empty(platform);
        state.take_config(&self.resolved(&base, span)?.config);
        self.images.insert(base, state.clone());
        Ok(state)
    }

    fn resolved(&self, base: &Base, span: &Span) -> Result<&ResolvedBase, Error> {
        let missing = || Error::new(LowerProblem::MissingBase(describe(&base.name)), Some(span.clone()));
        self.bases.get(base).ok_or_else(missing)
    }

    /// The vertex of an image; `None` when it has no layers.
    fn image(
        &mut self,
        name: &BaseName,
        platform: &Platform,
        span: &Span,
        display: String,
    ) -> Result<Option<VertexId>, Error> {
        let base = Base { name: name.clone(), platform: platform.to_string() };
        let resolved = self.resolved(&base, span)?;
        let source = ImageSource {
            reference: resolved.reference.clone(),
            manifest: resolved.manifest.clone(),
            diff_ids: resolved.config.rootfs.diff_ids.clone(),
        };
        if source.diff_ids.is_empty() {
            return Ok(None);
        }
        let meta = Meta { name: display, span: Some(source_span(span)), ..Meta::default() };
        self.add(Op::Source(SourceOp::Image(source)), Vec::new(), platform, meta).map(Some)
    }

    /// The vertex of a build context.
    fn context(&mut self, name: &str, platform: &Platform) -> Result<VertexId, Error> {
        let key = (name.to_owned(), platform.clone());
        if let Some(known) = self.contexts.get(&key) {
            return Ok(*known);
        }
        let display = match name {
            MAIN_CONTEXT => "[internal] load build context".to_owned(),
            name => format!("[context {name}] load from client"),
        };
        let source = kiln_graph::ContextSource { name: name.to_owned() };
        let meta = Meta { name: display, ..Meta::default() };
        let vertex = self.add(Op::Source(SourceOp::Context(source)), Vec::new(), platform, meta)?;
        self.contexts.insert(key, vertex);
        Ok(vertex)
    }

    /// The vertex of an empty root file system, where something must be named.
    fn empty(&mut self, platform: &Platform) -> Result<VertexId, Error> {
        let op = Op::File(FileOp { base: None, actions: Vec::new() });
        let meta = Meta { name: "[internal] empty root".to_owned(), ..Meta::default() };
        self.add(op, Vec::new(), platform, meta)
    }

    fn add(&mut self, op: Op, inputs: Vec<VertexId>, platform: &Platform, meta: Meta) -> Result<VertexId, Error> {
        let inputs = inputs.into_iter().map(Edge::root).collect();
        let vertex = Vertex { op, inputs, platform: platform.clone(), meta };
        self.definition.add(vertex).map_err(|error| Error::new(LowerProblem::Graph(error.to_string()), None))
    }

    fn instruction(&mut self, state: &mut State, stage: usize, located: &Located) -> Result<(), Error> {
        let place = Place { stage, span: &located.span };
        match &located.instruction {
            Instruction::Run(run) => self.run(state, &place, run, located),
            Instruction::Copy(copy) => self.copy(state, &place, copy, located, false),
            Instruction::Add(copy) => self.copy(state, &place, copy, located, true),
            Instruction::Workdir(path) => self.workdir(state, &place, path, located),
            instruction => self.metadata(state, &place, instruction),
        }
    }

    fn shell(&self, options: Options) -> Shell {
        Shell::new(self.plan.dockerfile.directives.escape, options)
    }

    /// Expands a word with the variables of the stage, and splits it.
    fn expand(&self, state: &State, place: &Place<'_>, text: &str) -> Result<Expansion, Error> {
        let expanded = self.shell(Options::default()).expand(text, &state.environment);
        let expanded = expanded.map_err(|problem| Error::new(problem, Some(place.span.clone())))?;
        self.count_text(place, expanded.word.len())?;
        Ok(expanded)
    }

    /// Expands a word with the variables of the stage.
    fn word(&self, state: &State, place: &Place<'_>, text: &str) -> Result<String, Error> {
        let expanded = self.shell(Options::default()).expand_word(text, &state.environment);
        let expanded = expanded.map_err(|problem| Error::new(problem, Some(place.span.clone())))?;
        self.count_text(place, expanded.len())?;
        Ok(expanded)
    }

    /// Counts bytes of text that go into the graph.
    fn count_text(&self, place: &Place<'_>, bytes: usize) -> Result<(), Error> {
        self.text.set(self.text.get().saturating_add(bytes));
        if self.text.get() > MOST_TEXT {
            return Err(Error::new(LowerProblem::TooMuchText, Some(place.span.clone())));
        }
        Ok(())
    }

    /// What displays show for an instruction: its text with the variables that are set.
    fn display(&self, state: &mut State, located: &Located, remark: &str) -> String {
        let options = Options { raw_quotes: true, skip_unset: true, ..Options::default() };
        let text = self.shell(options).expand_word(&located.text, &state.environment);
        let text = text.as_deref().unwrap_or(&located.text);
        let rest = text.trim().get(located.instruction.name().len()..).unwrap_or_default();
        let trigger = if located.trigger { "ONBUILD " } else { "" };
        format!("{}{trigger}{}{rest}{remark}", state.prefix(&self.plan.options), located.instruction.name())
    }

    fn meta(&self, state: &State, place: &Place<'_>, name: String, instruction: String) -> Meta {
        Meta {
            name,
            instruction,
            stage: state.label.clone(),
            span: Some(source_span(place.span)),
            ignore_cache: self.ignores_cache(place.stage),
            variables: state.environment.settings().clone(),
        }
    }

    fn ignores_cache(&self, stage: usize) -> bool {
        match &self.plan.options.no_cache {
            NoCache::Nothing => false,
            NoCache::Everything => true,
            NoCache::Stages(names) => {
                let label = self.plan.stages.names.label(stage);
                let number = stage.to_string();
                names.iter().any(|name| name.eq_ignore_ascii_case(label) || *name == number)
            }
        }
    }
}

fn makes_layer(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) | Instruction::Workdir(_))
}

fn describe(name: &BaseName) -> String {
    match name {
        BaseName::Image(reference) => reference.to_string(),
        BaseName::NamedContext(context) => context.clone(),
    }
}

fn source_span(span: &Span) -> SourceSpan {
    SourceSpan { first_line: span.first_line, last_line: span.last_line }
}
