//! Which stages and base images a build would look at, and what is wrong with them before any instruction is.

use std::collections::BTreeSet;

use crate::error::{Error, LowerProblem};
use crate::names::Origin;
use crate::options::{Base, Bases};
use crate::plan::Plan;
use crate::shell::{Options, Shell};
use crate::span::Span;
use crate::stages::origins_named;

use super::LintOptions;
use super::collector::Collector;
use super::rule::Rule;

/// What a build looks at.
pub(super) struct Resolved {
    /// The stages.
    pub(super) wanted: Vec<bool>,
    images: Vec<Image>,
    /// Those of them that nothing is known about.
    pub(super) missing: Vec<Base>,
    /// The first that is wrong.
    pub(super) error: Option<Error>,
}

/// A base image and where it is named.
struct Image {
    base: Base,
    /// As written, variables expanded.
    name: String,
    span: Span,
}

/// A name in FROM or `--from`, variables expanded, and what it means.
struct Named {
    name: String,
    origin: Origin,
    span: Span,
}

/// Finds the base images of all stages that count. A build asks for all at once, so one that is wrong keeps
/// nothing from being found out about the others.
pub(super) fn resolve(plan: &Plan, options: &LintOptions<'_>) -> Result<Resolved, Error> {
    let wanted = wanted(plan, options)?;
    let mut resolved = Resolved { wanted, images: Vec::new(), missing: Vec::new(), error: None };
    let indexes: Vec<usize> = (0..resolved.wanted.len()).filter(|index| resolved.wanted[*index]).collect();
    for index in indexes {
        match origins(plan, options.bases, index) {
            Ok(origins) => origins.into_iter().for_each(|named| resolved.add(plan, index, named)),
            Err(error) => resolved.fail(error),
        }
    }
    resolved.look_up(options);
    Ok(resolved)
}

fn wanted(plan: &Plan, options: &LintOptions<'_>) -> Result<Vec<bool>, Error> {
    let all = options.plan.target.is_none() && !options.needed_only;
    if all {
        return Ok(vec![true; plan.dockerfile.stages.len()]);
    }
    Ok(plan.stages.needs(&plan.dockerfile, options.bases)?.stages)
}

/// What a stage is built on and copies from.
fn origins(plan: &Plan, bases: &Bases, index: usize) -> Result<Vec<Named>, Error> {
    let stage = &plan.dockerfile.stages[index];
    let shell = Shell::new(plan.dockerfile.directives.escape, Options::default());
    let name = shell.expand(&stage.base, &plan.stages.globals).map_or(stage.base.clone(), |expansion| expansion.word);
    let mut origins = vec![Named { name, origin: plan.stages.planned[index].origin.clone(), span: stage.span.clone() }];
    let triggers = plan.stages.triggers(&plan.dockerfile, bases, index)?;
    for located in triggers.iter().chain(plan.stages.planned[index].instructions(stage)) {
        for name in origins_named(&located.instruction) {
            match plan.stages.names.copied_from(index, name, &located.span) {
                Ok(origin) => origins.push(Named { name: name.to_owned(), origin, span: located.span.clone() }),
                // A build finds out when it comes to the instruction.
                Err(error) if matches!(error.problem, crate::Problem::Lower(LowerProblem::LaterStage(..))) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(origins)
}

impl Resolved {
    fn add(&mut self, plan: &Plan, index: usize, named: Named) {
        let Named { name, origin, span } = named;
        match origin {
            Origin::Image(image) => {
                let base = Base { name: image, platform: plan.stages.planned[index].platform.to_string() };
                self.images.push(Image { base, name, span });
            }
            Origin::Invalid { name, reason } => {
                self.fail(Error::new(LowerProblem::BaseName { name, reason }, Some(span)));
            }
            Origin::Scratch | Origin::Stage(_) | Origin::Context(_) => {}
        }
    }

    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    fn look_up(&mut self, options: &LintOptions<'_>) {
        let mut seen = BTreeSet::new();
        for Image { base, name, span } in &self.images {
            if options.bases.contains_key(base) || !seen.insert(base) {
                continue;
            }
            match options.unavailable.and_then(|unavailable| unavailable.get(base)) {
                Some(reason) => {
                    let problem = LowerProblem::Unavailable { name: name.clone(), reason: reason.clone() };
                    self.error.get_or_insert_with(|| Error::new(problem, Some(span.clone())));
                }
                None => self.missing.push(base.clone()),
            }
        }
    }
}

/// Base images for another platform than was asked for.
pub(super) fn platforms(bases: &Bases, resolved: &Resolved, collector: &mut Collector<'_>) {
    for Image { base, name, span } in &resolved.images {
        let Some(image) = bases.get(base) else { continue };
        let Ok(expected) = base.platform.parse::<kiln_oci::Platform>() else { continue };
        let actual = image.config.platform();
        let differs = expected.os != actual.os || expected.architecture != actual.architecture;
        if differs && !image.config.rootfs.diff_ids.is_empty() {
            let detail = format!(
                "Base image {name} was pulled with platform \"{actual}\", expected \"{expected}\" for current build"
            );
            collector.report_word(Rule::InvalidBaseImagePlatform, span, name, detail);
        }
    }
}
