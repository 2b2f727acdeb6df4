//! What a name in FROM or `--from` means: a stage, a build context, an image.
//! Does not know which stages are needed.

use std::collections::{BTreeMap, HashMap};

use kiln_oci::Reference;

use crate::dockerfile::{Dockerfile, Stage};
use crate::error::{Error, LowerProblem};
use crate::options::{BaseName, NamedContext};
use crate::span::Span;

/// What a stage is built on, or where files are copied from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nothing.
    Scratch,
    /// An earlier stage, by index.
    Stage(usize),
    /// A build context of that name.
    Context(String),
    /// An image.
    Image(BaseName),
    /// Something that is no image reference: an error once it is needed.
    Invalid { name: String, reason: String },
}

/// The names of stages and contexts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// The stages of each name, first one first.
    stages: HashMap<String, Vec<usize>>,
    /// How displays call each stage.
    labels: Vec<String>,
    contexts: BTreeMap<String, NamedContext>,
    /// The contexts whose names are image references, by these.
    references: HashMap<Reference, String>,
}

impl Names {
    pub(crate) fn new(dockerfile: &Dockerfile, contexts: &BTreeMap<String, NamedContext>) -> Names {
        let mut names = Names { contexts: contexts.clone(), ..Names::default() };
        for (index, stage) in dockerfile.stages.iter().enumerate() {
            if let Some(name) = &stage.name {
                names.stages.entry(name.clone()).or_default().push(index);
            }
            names.labels.push(label(stage, index, dockerfile.stages.len()));
        }
        for context in contexts.keys() {
            if let Some(reference) = familiar(context) {
                names.references.entry(reference).or_insert_with(|| context.clone());
            }
        }
        names
    }

    /// How displays call the stages, in order.
    pub(crate) fn labels(&self) -> &[String] {
        &self.labels
    }

    /// How displays call a stage; empty when it is the only one and has no name.
    pub(crate) fn label(&self, index: usize) -> &str {
        self.labels.get(index).map_or("", String::as_str)
    }

    /// The last stage of this name, in any case.
    pub(crate) fn last_stage(&self, name: &str) -> Option<usize> {
        self.stages.get(&name.to_lowercase())?.last().copied()
    }

    /// The build context that takes the place of a stage of this name.
    pub(crate) fn replacement(&self, name: &str) -> Option<Origin> {
        let (context, kind) = self.context(name)?;
        Some(origin_of_context(context, *kind))
    }

    /// What FROM means in the stage with this index. Upper-case letters are those of an image reference,
    /// which may have none.
    pub(crate) fn based_on(&self, index: usize, name: &str) -> Origin {
        self.origin(index, name, name)
    }

    /// What `COPY --from` or `RUN --mount=from` means in the stage with this index.
    pub(crate) fn copied_from(&self, index: usize, name: &str, span: &Span) -> Result<Origin, Error> {
        let fail = |problem: LowerProblem| Error::new(problem, Some(span.clone()));
        let later = || fail(LowerProblem::LaterStage(name.to_owned(), self.label(index).to_owned()));
        if let Some(number) = self.stage_number(name) {
            return match number.map_err(fail)? {
                number if number >= index => Err(later()),
                number => Ok(Origin::Stage(number)),
            };
        }
        let lower = name.to_lowercase();
        let origin = self.origin(index, name, &lower);
        if matches!(origin, Origin::Stage(_) | Origin::Context(_) | Origin::Image(BaseName::NamedContext(_))) {
            return Ok(origin);
        }
        if self.stages.contains_key(&lower) { Err(later()) } else { Ok(origin) }
    }

    /// The stage that a number names, if the name is a number.
    fn stage_number(&self, name: &str) -> Option<Result<usize, LowerProblem>> {
        let number: i64 = name.parse().ok()?;
        let stage = usize::try_from(number).ok().filter(|stage| *stage < self.labels.len());
        Some(stage.ok_or(LowerProblem::StageIndex(number)))
    }

    /// The stage that `COPY --from` would mean if it did not matter which is first.
    pub(crate) fn stage_anywhere(&self, name: &str) -> Result<Option<usize>, LowerProblem> {
        match self.stage_number(name) {
            Some(number) => number.map(Some),
            None => Ok(self.last_stage(name)),
        }
    }

    fn origin(&self, index: usize, name: &str, stage_name: &str) -> Origin {
        if let Some((context, kind)) = self.context(name) {
            return origin_of_context(context, *kind);
        }
        if let Some(stage) = self.stage_before(index, stage_name) {
            return Origin::Stage(stage);
        }
        if name == "scratch" {
            return Origin::Scratch;
        }
        match name.parse::<Reference>() {
            Ok(reference) => Origin::Image(BaseName::Image(reference.with_default_tag())),
            Err(error) => Origin::Invalid { name: name.to_owned(), reason: error.to_string() },
        }
    }

    fn stage_before(&self, index: usize, name: &str) -> Option<usize> {
        let places = self.stages.get(name)?;
        let before = places.partition_point(|place| *place < index);
        places.get(before.checked_sub(1)?).copied()
    }

    fn context(&self, name: &str) -> Option<(&String, &NamedContext)> {
        if self.contexts.is_empty() || ["scratch", "context"].iter().any(|own| name.eq_ignore_ascii_case(own)) {
            return None;
        }
        self.contexts
            .get_key_value(name)
            .or_else(|| self.contexts.get_key_value(self.references.get(&familiar(name)?)?))
    }
}

fn origin_of_context(context: &str, kind: NamedContext) -> Origin {
    match kind {
        NamedContext::Files => Origin::Context(context.to_owned()),
        NamedContext::Image => Origin::Image(BaseName::NamedContext(context.to_owned())),
    }
}

fn familiar(name: &str) -> Option<Reference> {
    name.parse::<Reference>().ok().map(|reference| reference.with_default_tag())
}

fn label(stage: &Stage, index: usize, count: usize) -> String {
    match &stage.name {
        Some(name) => name.clone(),
        None if count == 1 => String::new(),
        None => format!("stage-{index}"),
    }
}
