//! What FROM lines mean: global ARGs expanded, each stage's base found, and which stages a target needs.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::Platform;

use crate::circles;
use crate::dockerfile::{Dockerfile, Stage, parse_trigger};
use crate::environment::Environment;
use crate::error::{Error, LowerProblem, suggestion};
use crate::instruction::{Instruction, Located};
use crate::names::{Names, Origin};
use crate::options::{Base, Bases, PlanOptions};
use crate::shell::{Expansion, Options, Shell, ShellError};
use crate::span::Span;

/// A stage whose FROM is understood.
#[derive(Clone, Debug)]
pub(crate) struct PlannedStage {
    pub(crate) origin: Origin,
    /// Of the `--platform` flag or the build's target; a stage on a stage has that one's.
    pub(crate) platform: Platform,
    /// Which of its instructions are ONBUILD.
    onbuild: Vec<usize>,
    /// Whether a build context of its name is taken instead.
    replaced: bool,
}

impl PlannedStage {
    /// The instructions that are carried out.
    pub(crate) fn instructions<'a>(&self, stage: &'a Stage) -> &'a [Located] {
        if self.replaced { &[] } else { &stage.instructions }
    }
}

/// All stages, and the target's index.
#[derive(Clone, Debug)]
pub(crate) struct Stages {
    pub(crate) planned: Vec<PlannedStage>,
    pub(crate) names: Names,
    pub(crate) globals: Environment,
    pub(crate) target: usize,
}

/// The stages and bases that a target needs.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    pub(crate) stages: Vec<bool>,
    pub(crate) bases: Vec<Base>,
}

impl Stages {
    pub(crate) fn new(dockerfile: &Dockerfile, options: &PlanOptions) -> Result<Stages, Error> {
        let last = dockerfile.stages.len().checked_sub(1).ok_or(Error::new(LowerProblem::NoStages, None))?;
        let names = Names::new(dockerfile, &options.named_contexts);
        let target = match options.target.as_deref() {
            None | Some("") => last,
            Some(name) => names.last_stage(name).ok_or_else(|| unknown_target(dockerfile, name))?,
        };
        let mut globals = platform_variables(dockerfile, options, target);
        add_global_arguments(dockerfile, &options.build_args, &mut globals)?;
        let mut stages = Stages { planned: Vec::new(), names, globals, target };
        for (index, stage) in dockerfile.stages.iter().enumerate() {
            let planned = stages.plan(dockerfile, options, index, stage)?;
            stages.planned.push(planned);
        }
        circles::check(dockerfile, &stages.names)?;
        Ok(stages)
    }

    fn plan(
        &self,
        dockerfile: &Dockerfile,
        options: &PlanOptions,
        index: usize,
        stage: &Stage,
    ) -> Result<PlannedStage, Error> {
        let shell = Shell::new(dockerfile.directives.escape, Options::default());
        let expand = |text: &str| {
            shell.expand(text, &self.globals).map_err(|problem| Error::new(problem, Some(stage.span.clone())))
        };
        let fail = |problem: LowerProblem| Error::new(problem, Some(stage.span.clone()));
        let Expansion { word: name, unmatched, .. } = expand(&stage.base)?;
        if name.is_empty() {
            let meant = self.similar_variable(&unmatched);
            return Err(fail(LowerProblem::BlankBase(stage.base.clone())).suggest(meant));
        }
        let platform = match &stage.platform {
            Some(written) => self.platform(written, expand(written)?).map_err(|error| error.at(&stage.span))?,
            None => options.target_platform.clone(),
        };
        let replacement = stage.name.as_deref().and_then(|name| self.names.replacement(name));
        let replaced = replacement.is_some();
        let origin = replacement.unwrap_or_else(|| self.names.based_on(index, &name));
        let platform = match origin {
            Origin::Stage(base) => self.planned[base].platform.clone(),
            // Nothing has no platform of its own.
            Origin::Scratch => options.target_platform.clone(),
            _ => platform,
        };
        let instructions = stage.instructions.iter().enumerate();
        let onbuild = instructions.filter(|(_, located)| matches!(located.instruction, Instruction::Onbuild(_)));
        Ok(PlannedStage { origin, platform, onbuild: onbuild.map(|(place, _)| place).collect(), replaced })
    }

    /// The platform that a flag names, as it is written and expanded.
    fn platform(&self, written: &str, expansion: Expansion) -> Result<Platform, Error> {
        if expansion.word.is_empty() {
            let meant = self.similar_variable(&expansion.unmatched);
            return Err(Error::new(LowerProblem::EmptyPlatform(written.to_owned()), None).suggest(meant));
        }
        expansion.word.parse().map_err(|error: kiln_oci::PlatformError| {
            let problem = LowerProblem::Platform { written: written.to_owned(), reason: error.to_string() };
            Error::new(problem, None)
        })
    }

    /// The global variable that was perhaps meant by one of these names.
    fn similar_variable(&self, names: &BTreeSet<String>) -> Option<String> {
        let known = self.globals.settings().pairs();
        let long = names.iter().filter(|name| name.len() > 2);
        long.into_iter().find_map(|name| suggestion(name, known.iter().map(|(known, _)| known.as_str())))
    }

    /// What the target needs, as far as the known bases tell: their ONBUILD triggers may need more.
    pub(crate) fn needs(&self, dockerfile: &Dockerfile, known: &Bases) -> Result<Needs, Error> {
        let mut needs = Needs { stages: vec![false; self.planned.len()], bases: Vec::new() };
        needs.stages[self.target] = true;
        // What a stage needs stands before it.
        for index in (0..=self.target).rev() {
            if !needs.stages[index] {
                continue;
            }
            let planned = &self.planned[index];
            let span = &dockerfile.stages[index].span;
            needs.add(&planned.origin, &planned.platform, span)?;
            let triggers = self.triggers(dockerfile, known, index)?;
            let own = planned.instructions(&dockerfile.stages[index]);
            for located in triggers.iter().chain(own) {
                for name in origins_named(&located.instruction) {
                    let from = self.names.copied_from(index, name, &located.span)?;
                    needs.add(&from, &planned.platform, &located.span)?;
                }
            }
        }
        needs.bases.sort();
        needs.bases.dedup();
        Ok(needs)
    }

    /// The ONBUILD triggers that run at the start of a stage, as far as its base is known.
    pub(crate) fn triggers(&self, dockerfile: &Dockerfile, known: &Bases, index: usize) -> Result<Vec<Located>, Error> {
        let planned = &self.planned[index];
        if planned.replaced {
            return Ok(Vec::new());
        }
        let expressions: Vec<&str> = match &planned.origin {
            Origin::Stage(base) => {
                let instructions = &dockerfile.stages[*base].instructions;
                let onbuild = self.planned[*base].onbuild.iter().filter_map(|place| instructions.get(*place));
                let triggers = onbuild.filter_map(|located| match &located.instruction {
                    Instruction::Onbuild(expression) => Some(expression.as_str()),
                    _ => None,
                });
                triggers.collect()
            }
            Origin::Image(name) => {
                let base = Base { name: name.clone(), platform: planned.platform.to_string() };
                let config = known.get(&base).and_then(|resolved| resolved.config.config.as_ref());
                config.into_iter().flat_map(|config| config.on_build.iter().map(String::as_str)).collect()
            }
            Origin::Scratch | Origin::Context(_) | Origin::Invalid { .. } => Vec::new(),
        };
        let span = &dockerfile.stages[index].span;
        let parse = |expression: &&str| match parse_trigger(expression) {
            Ok(located) => Ok(Located { span: span.clone(), ..located }),
            Err(error) => Err(Error { span: Some(span.clone()), ..error }),
        };
        expressions.iter().map(parse).collect()
    }
}

impl Needs {
    fn add(&mut self, origin: &Origin, platform: &Platform, span: &Span) -> Result<(), Error> {
        match origin {
            Origin::Stage(index) => self.stages[*index] = true,
            Origin::Image(name) => self.bases.push(Base { name: name.clone(), platform: platform.to_string() }),
            Origin::Invalid { name, reason } => {
                let problem = LowerProblem::BaseName { name: name.clone(), reason: reason.clone() };
                return Err(Error::new(problem, Some(span.clone())));
            }
            Origin::Scratch | Origin::Context(_) => {}
        }
        Ok(())
    }
}

fn unknown_target(dockerfile: &Dockerfile, name: &str) -> Error {
    let names = dockerfile.stages.iter().filter_map(|stage| stage.name.as_deref());
    Error::new(LowerProblem::UnknownTarget(name.to_owned()), None).suggest(suggestion(name, names))
}

/// `TARGETPLATFORM` and its kin; build arguments of these names win.
pub(crate) fn platform_variables(dockerfile: &Dockerfile, options: &PlanOptions, target: usize) -> Environment {
    let stage = match &options.target {
        Some(_) => dockerfile.stages[target].name.clone(),
        None => None,
    };
    let mut variables = Environment::default();
    let mut set = |name: &str, value: &str| {
        variables.set(name, options.build_args.get(name).map_or(value, String::as_str));
    };
    for (prefix, platform) in [("BUILD", &options.build_platform), ("TARGET", &options.target_platform)] {
        set(&format!("{prefix}PLATFORM"), &platform.to_string());
        set(&format!("{prefix}OS"), &platform.os);
        set(&format!("{prefix}OSVERSION"), platform.os_version.as_deref().unwrap_or_default());
        set(&format!("{prefix}ARCH"), &platform.architecture);
        set(&format!("{prefix}VARIANT"), platform.variant.as_deref().unwrap_or_default());
    }
    set("TARGETSTAGE", stage.as_deref().unwrap_or("default"));
    variables
}

/// What the ARGs before the first FROM add, with these build arguments.
pub(crate) fn add_global_arguments(
    dockerfile: &Dockerfile,
    build_args: &BTreeMap<String, String>,
    globals: &mut Environment,
) -> Result<(), Error> {
    let shell = Shell::new(dockerfile.directives.escape, Options::default());
    for instruction in &dockerfile.global_arguments {
        for argument in &instruction.arguments {
            let value = match (build_args.get(&argument.name), &argument.default) {
                (Some(given), _) => given.clone(),
                (None, Some(default)) => {
                    let located = |problem: ShellError| Error::new(problem, Some(instruction.span.clone()));
                    shell.expand(default, globals).map_err(located)?.word
                }
                (None, None) => continue,
            };
            globals.set(&argument.name, &value);
        }
    }
    Ok(())
}

/// The `from` names of an instruction.
pub(crate) fn origins_named(instruction: &Instruction) -> Vec<&str> {
    match instruction {
        Instruction::Copy(copy) => copy.from.as_deref().into_iter().collect(),
        Instruction::Run(run) => {
            let names = run.mounts.iter().filter_map(|mount| mount.from());
            names.filter(|name| !name.is_empty()).collect()
        }
        _ => Vec::new(),
    }
}
