//! What FROM lines show: ARGs that are not declared, defaults that make no name, platforms.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::{Platform, Reference};

use crate::dockerfile::{Dockerfile, Stage};
use crate::environment::Environment;
use crate::error::{Error, LowerProblem, Problem};
use crate::options::PlanOptions;
use crate::shell::{Expansion, Options, Shell, Variables};
use crate::stages::{Stages, add_global_arguments, platform_variables};

use super::collector::Collector;
use super::rule::Rule;
use super::suggest::closest;

const TARGET_PLATFORM: &str = "TARGETPLATFORM";

/// Understands the FROM lines as a build does and reports what shows up to the first that is wrong.
pub(super) fn check(
    dockerfile: &Dockerfile,
    options: &PlanOptions,
    collector: &mut Collector<'_>,
) -> Result<Stages, Error> {
    defaults(dockerfile, options, collector);
    let stages = Stages::new(dockerfile, options);
    let Some(mut globals) = platform_globals(dockerfile, options) else { return stages };
    add_global_arguments(dockerfile, &options.build_args, &mut globals)?;
    let lines = FromLines { shell: shell(dockerfile), declared: declared(dockerfile), globals };
    let wrong = stages.as_ref().err().filter(|error| is_about_from(error)).and_then(|error| error.span.as_ref());
    for stage in &dockerfile.stages {
        lines.stage(stage, collector);
        if wrong == Some(&stage.span) {
            break;
        }
    }
    stages
}

/// Circles are found when all FROM lines are understood.
fn is_about_from(error: &Error) -> bool {
    !matches!(error.problem, Problem::Lower(LowerProblem::Circular(_)))
}

fn shell(dockerfile: &Dockerfile) -> Shell {
    Shell::new(dockerfile.directives.escape, Options::default())
}

fn platform_globals(dockerfile: &Dockerfile, options: &PlanOptions) -> Option<Environment> {
    let last = dockerfile.stages.len().checked_sub(1)?;
    Some(platform_variables(dockerfile, options, last))
}

/// The names that the ARGs before the first FROM declare.
fn declared(dockerfile: &Dockerfile) -> BTreeSet<&str> {
    let arguments = dockerfile.global_arguments.iter().flat_map(|instruction| &instruction.arguments);
    arguments.map(|argument| argument.name.as_str()).collect()
}

/// Base names that are wrong unless a build argument is given.
fn defaults(dockerfile: &Dockerfile, options: &PlanOptions, collector: &mut Collector<'_>) {
    let Some(mut globals) = platform_globals(dockerfile, options) else { return };
    if add_global_arguments(dockerfile, &BTreeMap::new(), &mut globals).is_err() {
        return;
    }
    for stage in &dockerfile.stages {
        let Ok(expansion) = shell(dockerfile).expand(&stage.base, &globals) else { return };
        if expansion.word.parse::<Reference>().is_err() {
            let detail = format!("Default value for ARG {} results in empty or invalid base image name", stage.base);
            collector.report_word(Rule::InvalidDefaultArgInFrom, &stage.span, &stage.base, detail);
        }
    }
}

struct FromLines<'a> {
    shell: Shell,
    declared: BTreeSet<&'a str>,
    globals: Environment,
}

impl FromLines<'_> {
    fn stage(&self, stage: &Stage, collector: &mut Collector<'_>) {
        let Ok(base) = self.shell.expand(&stage.base, &self.globals) else { return };
        self.undeclared(&base, stage, collector);
        if base.word.is_empty() {
            return;
        }
        let Some(written) = &stage.platform else { return };
        let Ok(platform) = self.shell.expand(written, &self.globals) else { return };
        self.undeclared(&platform, stage, collector);
        self.redundant_platform(&platform, written, stage, collector);
        constant_platform(&platform, stage, collector);
    }

    fn undeclared(&self, expansion: &Expansion, stage: &Stage, collector: &mut Collector<'_>) {
        for name in expansion.unmatched.iter().filter(|name| !self.declared.contains(name.as_str())) {
            let known = self.globals.entries();
            let known = known.iter().filter_map(|entry| entry.split_once('=')).map(|(name, _)| name);
            let meant = closest(name, known.chain(self.declared.iter().copied()));
            let meant = meant.map_or(String::new(), |meant| format!(" (did you mean {meant}?)"));
            let detail = format!("FROM argument '{name}' is not declared{meant}");
            collector.report_word(Rule::UndefinedArgInFrom, &stage.span, name, detail);
        }
    }

    fn redundant_platform(&self, platform: &Expansion, written: &str, stage: &Stage, collector: &mut Collector<'_>) {
        let only_target =
            platform.matched.len() == 1 && platform.matched.contains(TARGET_PLATFORM) && platform.unmatched.is_empty();
        if only_target && self.globals.value(TARGET_PLATFORM) == Some(&platform.word) {
            let detail = format!(
                "Setting platform to predefined {written} in FROM is redundant as this is the default behavior"
            );
            collector.report_word(Rule::RedundantTargetPlatform, &stage.span, written, detail);
        }
    }
}

/// A platform without variables; a stage whose name says for which platform it is may have one.
fn constant_platform(platform: &Expansion, stage: &Stage, collector: &mut Collector<'_>) {
    if !platform.matched.is_empty() || !platform.unmatched.is_empty() {
        return;
    }
    let Ok(parsed) = platform.word.parse::<Platform>() else { return };
    let name = stage.name.as_deref().unwrap_or_default();
    if name.contains(&parsed.os) || name.contains(&parsed.architecture) {
        return;
    }
    let detail = format!("FROM --platform flag should not use constant value {:?}", platform.word);
    collector.report_word(Rule::FromPlatformFlagConstDisallowed, &stage.span, &platform.word, detail);
}
