//! Instructions that change only the image's config and the variables.

use kiln_graph::{FileAction, FileOp, InputIndex, MakeDirectory, Op};

use crate::error::{Error, LowerProblem};
use crate::instruction::{Argument, CommandLine, Instruction, Located, Pair};
use crate::path;
use crate::shell::Variables;

use super::state::State;
use super::{Lowering, Place, history, port, signal};

impl Lowering<'_> {
    pub(super) fn metadata(
        &mut self,
        state: &mut State,
        place: &Place<'_>,
        instruction: &Instruction,
    ) -> Result<(), Error> {
        match instruction {
            Instruction::Arg(arguments) => self.arg(state, place, arguments)?,
            Instruction::Env(pairs) => self.env(state, place, pairs)?,
            Instruction::Label(pairs) => self.label(state, place, pairs)?,
            Instruction::Expose(ports) => self.expose(state, place, ports)?,
            Instruction::Volume(paths) => self.volume(state, place, paths)?,
            Instruction::User(user) => {
                let user = self.word(state, place, user)?;
                state.note(format!("USER {user}"));
                state.container_mut().user = user;
            }
            Instruction::StopSignal(name) => {
                let name = self.word(state, place, name)?;
                if !signal::exists(&name) {
                    return Err(Error::new(LowerProblem::Signal(name), Some(place.span.clone())));
                }
                state.note(format!("STOPSIGNAL {name}"));
                state.container_mut().stop_signal = name;
            }
            Instruction::Cmd(line) => cmd(state, line),
            Instruction::Entrypoint(line) => entrypoint(state, line),
            Instruction::Shell(words) => {
                state.container_mut().shell = words.clone();
                state.note(format!("SHELL {}", history::plain(words)));
            }
            Instruction::Healthcheck(check) => {
                state.container_mut().healthcheck = Some(check.clone());
                state.note(history::health(check));
            }
            Instruction::Maintainer(name) => {
                state.set_author(name);
                state.note(format!("MAINTAINER {name}"));
            }
            Instruction::Onbuild(expression) => state.container_mut().on_build.push(expression.clone()),
            Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) | Instruction::Workdir(_) => {}
        }
        Ok(())
    }

    fn arg(&self, state: &mut State, place: &Place<'_>, arguments: &[Argument]) -> Result<(), Error> {
        let mut text = "ARG".to_owned();
        for argument in arguments {
            let given = self.plan.options.build_args.get(&argument.name);
            let value = match (given, &argument.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.word(state, place, default)?),
                (None, None) => self.plan.stages.globals.value(&argument.name).map(str::to_owned),
            };
            text.push(' ');
            text.push_str(&argument.name);
            if let Some(value) = &value {
                text.push('=');
                text.push_str(value);
            }
            state.declare(&argument.name, value);
        }
        state.note(text);
        Ok(())
    }

    /// Names and values of a line, expanded with the variables before it.
    fn pairs(&self, state: &State, place: &Place<'_>, pairs: &[Pair]) -> Result<Vec<(String, String)>, Error> {
        let expand = |pair: &Pair| Ok((self.word(state, place, &pair.name)?, self.word(state, place, &pair.value)?));
        pairs.iter().map(expand).collect()
    }

    fn env(&self, state: &mut State, place: &Place<'_>, pairs: &[Pair]) -> Result<(), Error> {
        let mut text = "ENV".to_owned();
        for (name, value) in self.pairs(state, place, pairs)? {
            text.push_str(&format!(" {name}={value}"));
            state.set_variable(&name, &value);
        }
        state.note(text);
        Ok(())
    }

    fn label(&self, state: &mut State, place: &Place<'_>, pairs: &[Pair]) -> Result<(), Error> {
        let mut text = "LABEL".to_owned();
        for (name, value) in self.pairs(state, place, pairs)? {
            text.push_str(&format!(" {name}={value}"));
            state.container_mut().labels.insert(name, value);
        }
        state.note(text);
        Ok(())
    }

    fn expose(&self, state: &mut State, place: &Place<'_>, ports: &[String]) -> Result<(), Error> {
        let mut exposed = Vec::new();
        for text in ports {
            for word in self.expand(state, place, text)?.words {
                let ports = port::parse(&word)
                    .ok_or_else(|| Error::new(LowerProblem::Port(word.clone()), Some(place.span.clone())))?;
                exposed.extend(ports);
            }
        }
        exposed.sort();
        state.note(format!("EXPOSE {}", history::plain(&exposed)));
        state.container_mut().exposed_ports.extend(exposed.into_iter().map(|port| (port, Default::default())));
        Ok(())
    }

    fn volume(&self, state: &mut State, place: &Place<'_>, paths: &[String]) -> Result<(), Error> {
        let paths = paths.iter().map(|path| self.word(state, place, path)).collect::<Result<Vec<_>, _>>()?;
        if paths.iter().any(String::is_empty) {
            let problem = LowerProblem::Flag("VOLUME specified can not be an empty string");
            return Err(Error::new(problem, Some(place.span.clone())));
        }
        state.note(format!("VOLUME {}", history::plain(&paths)));
        state.container_mut().volumes.extend(paths.into_iter().map(|path| (path, Default::default())));
        Ok(())
    }

    pub(super) fn workdir(
        &mut self,
        state: &mut State,
        place: &Place<'_>,
        written: &str,
        located: &Located,
    ) -> Result<(), Error> {
        let written = self.word(state, place, written)?;
        let configured =
            if written.starts_with('/') { written } else { path::resolve(&state.container().working_dir, &written) };
        state.directory = path::clean_absolute(&configured);
        let text = format!("WORKDIR {configured}");
        state.container_mut().working_dir = configured;
        let display = self.display(state, located, "");
        if state.directory == "/" {
            state.note(text);
            return Ok(());
        }
        let owner = Some(state.container().user.clone()).filter(|user| !user.is_empty());
        let directory = MakeDirectory { path: state.directory.clone(), mode: 0o755, owner };
        let op = Op::File(FileOp {
            base: state.root.map(|_| InputIndex(0)),
            actions: vec![FileAction::MakeDirectory(directory)],
        });
        let meta = self.meta(state, place, display, text.clone());
        state.root = Some(self.add(op, state.root.into_iter().collect(), &state.platform, meta)?);
        state.note_layer(text);
        Ok(())
    }
}

/// The words of CMD or ENTRYPOINT with the shell in front where it is the shell form.
fn words(state: &State, line: &CommandLine) -> Vec<String> {
    if line.shell { state.with_shell(&line.words.join(" ")) } else { line.words.clone() }
}

fn cmd(state: &mut State, line: &CommandLine) {
    let words = words(state, line);
    state.note(format!("CMD {}", history::quoted(&words)));
    let container = state.container_mut();
    container.cmd = (!words.is_empty()).then_some(words);
    container.args_escaped = true;
    state.command_given = true;
}

fn entrypoint(state: &mut State, line: &CommandLine) {
    let words = words(state, line);
    state.note(format!("ENTRYPOINT {}", history::quoted(&words)));
    let keeps_command = state.command_given;
    let container = state.container_mut();
    container.entrypoint = (!words.is_empty()).then_some(words);
    if !keeps_command {
        container.cmd = None;
    }
}
