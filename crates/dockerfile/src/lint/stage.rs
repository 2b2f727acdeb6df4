//! Walks through stages as a build does, with the variables that each instruction sees, up to the first error.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use kiln_oci::ContainerConfig;

use crate::environment::Environment;
use crate::error::Error;
use crate::ignore::IgnoreMatcher;
use crate::instruction::{Argument, CommandLine, Copy, Instruction, Located, Pair, Run};
use crate::names::Origin;
use crate::options::{Base, Bases};
use crate::plan::Plan;
use crate::shell::{Expansion, Options, Shell, ShellError, Variables};
use crate::source_kind::{self, SourceKind};
use crate::span::Span;

use super::collector::Collector;
use super::ignored;
use super::lines::written_name;
use super::ports;
use super::rule::Rule;
use super::secret_name::sounds_secret;
use super::suggest::closest;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Arguments that BuildKit keeps to itself.
const INTERNAL_ARGUMENTS: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// What the walk is about.
pub(super) struct Walk<'a> {
    pub(super) plan: &'a Plan,
    pub(super) bases: &'a Bases,
    pub(super) ignored: Option<&'a IgnoreMatcher>,
    /// Which stages to look at.
    pub(super) wanted: &'a [bool],
    /// What keeps the build from going on, if anything does.
    pub(super) error: Option<&'a Error>,
}

/// What an instruction of a stage finds.
#[derive(Clone, Default)]
struct State {
    environment: Environment,
    /// The ARGs of this stage and of those below; a copy shares them.
    declared: Arc<HashSet<String>>,
    /// Whether the variables are all known: a base image that was not looked at may have more.
    known: bool,
    directory_set: bool,
    shell_set: bool,
}

/// Instructions of which the last counts.
#[derive(Default)]
struct Once {
    command: Option<Span>,
    entrypoint: Option<Span>,
    health_check: Option<Span>,
}

/// The walk goes no further.
struct Stop;

impl Walk<'_> {
    pub(super) fn run(&self, collector: &mut Collector<'_>) {
        let count = self.plan.dockerfile.stages.len();
        let mut finished = Finished::new(self.plan, self.wanted);
        for index in (0..count).filter(|index| self.wanted[*index]) {
            let state = self.begin(index, &mut finished);
            let mut stage = StageWalk { walk: self, collector, state, once: Once::default() };
            let stopped = stage.instructions(index).is_err();
            finished.insert(index, stage.state);
            if stopped {
                return;
            }
        }
    }

    fn begin(&self, index: usize, finished: &mut Finished) -> State {
        let planned = &self.plan.stages.planned[index];
        let mut state = match &planned.origin {
            Origin::Stage(base) => finished.take(*base),
            Origin::Image(name) => {
                let base = Base { name: name.clone(), platform: planned.platform.to_string() };
                self.bases.get(&base).map_or_else(State::default, |resolved| on_image(&resolved.config.container()))
            }
            Origin::Scratch | Origin::Context(_) | Origin::Invalid { .. } => State { known: true, ..State::default() },
        };
        if state.environment.value("PATH").is_none() {
            state.environment.set("PATH", DEFAULT_PATH);
        }
        state
    }
}

fn on_image(config: &ContainerConfig) -> State {
    let mut environment = Environment::default();
    for entry in &config.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        environment.set(name, value);
    }
    State { environment, known: true, shell_set: !config.shell.is_empty(), ..State::default() }
}

/// The states of stages after their last instruction. One is handed over, not copied, to the last stage on it.
struct Finished {
    states: Vec<State>,
    /// How many more stages will take each.
    takers: Vec<usize>,
}

impl Finished {
    fn new(plan: &Plan, wanted: &[bool]) -> Finished {
        let mut takers = vec![0; wanted.len()];
        for (planned, wanted) in plan.stages.planned.iter().zip(wanted) {
            if let (Origin::Stage(base), true) = (&planned.origin, wanted) {
                takers[*base] += 1;
            }
        }
        Finished { states: vec![State::default(); takers.len()], takers }
    }

    fn insert(&mut self, index: usize, state: State) {
        if self.takers[index] > 0 {
            self.states[index] = state;
        }
    }

    fn take(&mut self, index: usize) -> State {
        self.takers[index] = self.takers[index].saturating_sub(1);
        if self.takers[index] == 0 { std::mem::take(&mut self.states[index]) } else { self.states[index].clone() }
    }
}

struct StageWalk<'w, 'c, 't> {
    walk: &'w Walk<'w>,
    collector: &'c mut Collector<'t>,
    state: State,
    once: Once,
}

impl StageWalk<'_, '_, '_> {
    fn instructions(&mut self, index: usize) -> Result<(), Stop> {
        let plan = self.walk.plan;
        let stage = &plan.dockerfile.stages[index];
        let triggers = plan.stages.triggers(&plan.dockerfile, self.walk.bases, index).map_err(|_| Stop)?;
        for located in triggers.iter().chain(plan.stages.planned[index].instructions(stage)) {
            self.instruction(located)?;
        }
        // An error that is about FROM, or has no place.
        let here = |error: &&Error| error.span.as_ref().is_some_and(|span| span.first_line == stage.span.first_line);
        self.walk.error.filter(here).map_or(Ok(()), |_| Err(Stop))
    }

    fn instruction(&mut self, located: &Located) -> Result<(), Stop> {
        self.look_at(located)?;
        let failed = self.walk.error.and_then(|error| error.span.as_ref());
        let is_this = failed.is_some_and(|span| span.first_line == located.span.first_line);
        if is_this { Err(Stop) } else { Ok(()) }
    }

    fn look_at(&mut self, located: &Located) -> Result<(), Stop> {
        let span = &located.span;
        match &located.instruction {
            Instruction::Add(copy) => self.copy(copy, span, true),
            Instruction::Copy(copy) => self.copy(copy, span, false),
            Instruction::Arg(arguments) => self.arg(arguments, span),
            Instruction::Cmd(line) => {
                self.last_counts(located, |once| &mut once.command);
                self.command(line, located);
                Ok(())
            }
            Instruction::Entrypoint(line) => {
                self.last_counts(located, |once| &mut once.entrypoint);
                self.command(line, located);
                Ok(())
            }
            Instruction::Env(pairs) => self.env(pairs, located),
            Instruction::Expose(words) => self.expose(words, span),
            Instruction::Healthcheck(_) => {
                self.last_counts(located, |once| &mut once.health_check);
                Ok(())
            }
            Instruction::Label(pairs) => {
                self.pairs(pairs, span)?;
                self.old_form(pairs, located);
                Ok(())
            }
            Instruction::Run(run) => self.run(run, span),
            Instruction::Shell(words) => {
                self.state.shell_set = !words.is_empty();
                Ok(())
            }
            Instruction::StopSignal(word) | Instruction::User(word) => self.word(word, span).map(drop),
            Instruction::Volume(words) => words.iter().try_for_each(|word| self.word(word, span).map(drop)),
            Instruction::Workdir(path) => self.workdir(path, span),
            Instruction::Maintainer(_) | Instruction::Onbuild(_) => Ok(()),
        }
    }

    /// Expands a word and reports the variables that nobody set.
    fn word(&mut self, text: &str, span: &Span) -> Result<String, Stop> {
        let shell = Shell::new(self.walk.plan.dockerfile.directives.escape, Options::default());
        self.expand(&shell, text, span).map(|expansion| expansion.word)
    }

    fn expand(&mut self, shell: &Shell, text: &str, span: &Span) -> Result<Expansion, Stop> {
        let expansion = shell.expand(text, &self.state.environment).map_err(|_| Stop)?;
        self.undefined(&expansion.unmatched, span);
        Ok(expansion)
    }

    fn undefined(&mut self, names: &BTreeSet<String>, span: &Span) {
        for name in names {
            if self.state.declared.contains(name) || INTERNAL_ARGUMENTS.contains(&name.as_str()) {
                continue;
            }
            if !self.state.known {
                self.collector.unsure = true;
                return;
            }
            let set = self.state.environment.entries();
            let set = set.iter().filter_map(|entry| entry.split_once('=')).map(|(name, _)| name);
            let meant = closest(name, set).map_or(String::new(), |meant| format!(" (did you mean ${meant}?)"));
            let detail = format!("Usage of undefined variable '${name}'{meant}");
            self.collector.report_word(Rule::UndefinedVar, span, name, detail);
        }
    }

    fn copy(&mut self, copy: &Copy, span: &Span, add: bool) -> Result<(), Stop> {
        for word in [&copy.chown, &copy.chmod, &copy.checksum].into_iter().flatten() {
            self.word(word, span)?;
        }
        let sources = copy.sources.iter().map(|source| self.word(source, span)).collect::<Result<Vec<_>, _>>()?;
        self.word(&copy.destination, span)?;
        let raw = Shell::new('\\', Options { skip_quotes: true, ..Options::default() });
        for heredoc in copy.heredocs.iter().filter(|heredoc| heredoc.expand) {
            self.expand(&raw, &heredoc.content(), span)?;
        }
        if let (Some(matcher), None) = (self.walk.ignored, &copy.from) {
            let paths = sources.iter().filter(|source| source_kind::of(source) == SourceKind::Path);
            for path in paths.filter_map(|path| ignored::by(matcher, path)) {
                let verb = if add { "Add" } else { "Copy" };
                let detail = format!("Attempting to {verb} file {path:?} that is excluded by .dockerignore");
                self.collector.report_word(Rule::CopyIgnoredFile, span, &path, detail);
            }
        }
        Ok(())
    }

    fn arg(&mut self, arguments: &[Argument], span: &Span) -> Result<(), Stop> {
        for argument in arguments {
            self.secret("ARG", &argument.name, span);
            let given = self.walk.plan.options.build_args.get(&argument.name).cloned();
            let value = match (given, &argument.default) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => Some(self.word(default, span)?),
                (None, None) => self.walk.plan.stages.globals.value(&argument.name).map(str::to_owned),
            };
            let internal = INTERNAL_ARGUMENTS.contains(&argument.name.as_str());
            if let Some(value) = value.filter(|_| !internal) {
                self.state.environment.set(&argument.name, &value);
            }
            Arc::make_mut(&mut self.state.declared).insert(argument.name.clone());
        }
        Ok(())
    }

    fn secret(&mut self, instruction: &str, name: &str, span: &Span) {
        if sounds_secret(name) {
            let detail = format!("Do not use ARG or ENV instructions for sensitive data ({instruction} {name:?})");
            self.collector.report_word(Rule::SecretsUsedInArgOrEnv, span, name, detail);
        }
    }

    fn last_counts(&mut self, located: &Located, place: impl FnOnce(&mut Once) -> &mut Option<Span>) {
        let name = written_name(&located.text);
        if let Some(before) = place(&mut self.once).replace(located.span.clone()) {
            let detail = format!(
                "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
            );
            if self.collector.wants(Rule::MultipleInstructionsDisallowed, &located.span) {
                self.collector.report(Rule::MultipleInstructionsDisallowed, &before, detail);
            }
        }
    }

    fn command(&mut self, line: &CommandLine, located: &Located) {
        if line.shell && !self.state.shell_set {
            let name = written_name(&located.text);
            let detail =
                format!("JSON arguments recommended for {name} to prevent unintended behavior related to OS signals");
            self.collector.report(Rule::JSONArgsRecommended, &located.span, detail);
        }
    }

    fn pairs(&mut self, pairs: &[Pair], span: &Span) -> Result<Vec<(String, String)>, Stop> {
        pairs.iter().map(|pair| Ok((self.word(&pair.name, span)?, self.word(&pair.value, span)?))).collect()
    }

    fn old_form(&mut self, pairs: &[Pair], located: &Located) {
        let name = written_name(&located.text);
        for _ in pairs.iter().filter(|pair| pair.old_form) {
            let detail = format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
            self.collector.report(Rule::LegacyKeyValueFormat, &located.span, detail);
        }
    }

    fn env(&mut self, pairs: &[Pair], located: &Located) -> Result<(), Stop> {
        let expanded = self.pairs(pairs, &located.span)?;
        self.old_form(pairs, located);
        for (name, value) in expanded {
            self.secret("ENV", &name, &located.span);
            self.state.environment.set(&name, &value);
        }
        Ok(())
    }

    fn expose(&mut self, words: &[String], span: &Span) -> Result<(), Stop> {
        let shell = Shell::new(self.walk.plan.dockerfile.directives.escape, Options::default());
        let mut ports = Vec::new();
        for word in words {
            // BuildKit does not say when a port's variable is undefined.
            ports.extend(shell.expand(word, &self.state.environment).map_err(|_| Stop)?.words);
        }
        for port in ports {
            if !ports::check(&port, span, self.collector) {
                break;
            }
        }
        Ok(())
    }

    fn run(&mut self, run: &Run, span: &Span) -> Result<(), Stop> {
        let shell = Shell::new(self.walk.plan.dockerfile.directives.escape, Options::default());
        let unmatched = RefCell::new(Vec::new());
        let expand = |word: &str| -> Result<String, ShellError> {
            let expansion = shell.expand(word, &self.state.environment)?;
            unmatched.borrow_mut().push(expansion.unmatched);
            Ok(expansion.word)
        };
        let understood = run.mounts.iter().try_for_each(|mount| mount.understand(&expand).map(drop));
        for names in unmatched.into_inner() {
            self.undefined(&names, span);
        }
        understood.map_err(|_| Stop)
    }

    fn workdir(&mut self, path: &str, span: &Span) -> Result<(), Stop> {
        let path = self.word(path, span)?;
        if !self.state.directory_set && !path.starts_with('/') {
            let detail = format!("Relative workdir {path:?} can have unexpected results if the base image changes");
            self.collector.report_word(Rule::WorkdirRelativePath, span, &path, detail);
        }
        self.state.directory_set = true;
        Ok(())
    }
}
