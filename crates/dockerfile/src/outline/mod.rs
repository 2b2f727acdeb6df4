//! What can be given to a build of a Dockerfile: the arguments, secrets, agents and caches that a target uses, and
//! which targets there are. Of base images nothing is known here but what the caller tells.

mod stage;
mod targets;

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::{Dockerfile, GlobalArguments};
use crate::error::Error;
use crate::instruction::Argument;
use crate::names::Origin;
use crate::options::{Bases, PlanOptions};
use crate::plan::Plan;
use crate::reader;
use crate::shell::{Options, Shell, Variables};
use crate::span::Span;
use crate::stages::{Stages, origins_named};

pub use targets::{Target, targets};

use stage::Used;

/// What a target uses, each list in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The name of the target's stage.
    pub name: Option<String>,
    /// The comment above its FROM that starts with its name.
    pub description: Option<String>,
    /// `--build-arg`.
    pub arguments: Vec<OutlineArgument>,
    /// `--secret`.
    pub secrets: Vec<OutlineMount>,
    /// `--ssh`.
    pub ssh: Vec<OutlineMount>,
    /// Directories that live from build to build.
    pub caches: Vec<OutlineMount>,
}

/// A build argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineArgument {
    /// Its name.
    pub name: String,
    /// The comment above its ARG that starts with its name.
    pub description: Option<String>,
    /// The value that it has now.
    pub value: Option<String>,
    /// Where it is declared.
    pub span: Span,
}

/// Something that a RUN mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub id: String,
    /// Whether the build fails without it.
    pub required: bool,
    /// Where it is mounted first.
    pub span: Span,
}

/// What the target of `options` uses. `bases` are the base images that are known: their variables and triggers.
///
/// # Errors
/// Everything that the parser objects to, or the first thing that makes it impossible to go on.
pub fn outline(text: &str, options: PlanOptions, bases: &Bases) -> Result<Outline, Vec<Error>> {
    let comments = Comments::of(text).map_err(|error| vec![error])?;
    let plan = Plan::new(Dockerfile::parse_all(text)?, options).map_err(|error| vec![error])?;
    let mut gathering = Gathering { plan: &plan, bases, comments, used: BTreeMap::new(), outline: Outline::default() };
    gathering.gather(plan.stages.target).map_err(|error| vec![error])?;
    let mut outline = gathering.outline;
    let target = plan.dockerfile.stages.get(plan.stages.target);
    outline.name = target.and_then(|stage| stage.name.clone());
    outline.description = target.and_then(|stage| stage.documentation.clone());
    outline.arguments.sort_by_key(|argument| argument.span.first_line);
    for mounts in [&mut outline.secrets, &mut outline.ssh, &mut outline.caches] {
        mounts.sort_by_key(|mount| mount.span.first_line);
    }
    Ok(outline)
}

/// The comments right above each instruction, by its first line.
struct Comments(BTreeMap<u32, Vec<String>>);

impl Comments {
    fn of(text: &str) -> Result<Comments, Error> {
        let nodes = reader::read(text)?.nodes;
        Ok(Comments(nodes.into_iter().map(|node| (node.span.first_line, node.comments)).collect()))
    }

    /// What the comments at a place say about `name`.
    fn about(&self, span: &Span, name: &str) -> Option<String> {
        let text = |comment: &String| comment.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        self.0.get(&span.first_line)?.iter().find_map(text)
    }
}

/// The outline while stages are looked at, the target first, then what it needs.
struct Gathering<'a> {
    plan: &'a Plan,
    bases: &'a Bases,
    comments: Comments,
    /// What each stage uses, by index.
    used: BTreeMap<usize, Used>,
    outline: Outline,
}

impl Gathering<'_> {
    fn gather(&mut self, target: usize) -> Result<(), Error> {
        let needs = self.plan.stages.needs(&self.plan.dockerfile, self.bases)?;
        for index in (0..=target).filter(|index| needs.stages.get(*index) == Some(&true)) {
            let used = stage::used(self.plan, self.bases, &self.used, index)?;
            self.used.insert(index, used);
        }
        let mut seen = Seen::default();
        let mut waiting = vec![target];
        while let Some(index) = waiting.pop() {
            if !seen.stages.insert(index) {
                continue;
            }
            if let Some(used) = self.used.remove(&index) {
                self.add(index, &used, &mut seen)?;
            }
            // The base is next, before what files come from.
            waiting.extend(self.copied_from(index)?);
            if let Origin::Stage(base) = self.plan.stages.planned[index].origin {
                waiting.push(base);
            }
        }
        Ok(())
    }

    /// Adds what a stage uses and no stage before it did.
    fn add(&mut self, index: usize, used: &Used, seen: &mut Seen) -> Result<(), Error> {
        for argument in &used.arguments {
            if seen.arguments.insert(argument.name.clone()) {
                let description = self.comments.about(&argument.span, &argument.name);
                self.outline.arguments.push(OutlineArgument { description, ..argument.clone() });
            }
        }
        for name in globals_used(&self.plan.dockerfile, &self.plan.stages, index)? {
            let declared = global(&self.plan.dockerfile, &name).filter(|_| seen.arguments.insert(name.clone()));
            if let Some((instruction, argument)) = declared {
                self.outline.arguments.push(OutlineArgument {
                    name: argument.name.clone(),
                    description: self.comments.about(&instruction.span, &name),
                    value: self.plan.stages.globals.value(&name).map(str::to_owned),
                    span: instruction.span.clone(),
                });
            }
        }
        let lists = [
            (&used.secrets, &mut self.outline.secrets, &mut seen.secrets),
            (&used.ssh, &mut self.outline.ssh, &mut seen.ssh),
            (&used.caches, &mut self.outline.caches, &mut seen.caches),
        ];
        for (from, to, known) in lists {
            to.extend(from.iter().filter(|mount| known.insert(mount.id.clone())).cloned());
        }
        Ok(())
    }

    /// The stages that instructions of a stage take files from.
    fn copied_from(&self, index: usize) -> Result<Vec<usize>, Error> {
        let mut stages = Vec::new();
        for located in &self.plan.dockerfile.stages[index].instructions {
            for name in origins_named(&located.instruction) {
                if let Origin::Stage(stage) = self.plan.stages.names.copied_from(index, name, &located.span)? {
                    stages.push(stage);
                }
            }
        }
        Ok(stages)
    }
}

/// What is in the outline already.
#[derive(Default)]
struct Seen {
    stages: BTreeSet<usize>,
    arguments: BTreeSet<String>,
    secrets: BTreeSet<String>,
    ssh: BTreeSet<String>,
    caches: BTreeSet<String>,
}

/// The last declaration of a global argument.
fn global<'a>(dockerfile: &'a Dockerfile, name: &str) -> Option<(&'a GlobalArguments, &'a Argument)> {
    dockerfile.global_arguments.iter().rev().find_map(|instruction| {
        let argument = instruction.arguments.iter().rev().find(|argument| argument.name == name)?;
        Some((instruction, argument))
    })
}

/// The global arguments that a stage's FROM is made of, and those that these are made of.
fn globals_used(dockerfile: &Dockerfile, stages: &Stages, index: usize) -> Result<BTreeSet<String>, Error> {
    let shell = Shell::new(dockerfile.directives.escape, Options::default());
    let stage = &dockerfile.stages[index];
    let matched = |text: &str, span: &Span| {
        let expansion = shell.expand(text, &stages.globals).map_err(|error| Error::new(error, Some(span.clone())));
        expansion.map(|expansion| expansion.matched)
    };
    let mut waiting: Vec<String> = matched(&stage.base, &stage.span)?.into_iter().collect();
    if let Some(platform) = &stage.platform {
        waiting.extend(matched(platform, &stage.span)?);
    }
    let mut used = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if !used.insert(name.clone()) {
            continue;
        }
        if let Some((instruction, Argument { default: Some(default), .. })) = global(dockerfile, &name) {
            waiting.extend(matched(default, &instruction.span)?);
        }
    }
    Ok(used)
}

#[cfg(test)]
mod tests;
