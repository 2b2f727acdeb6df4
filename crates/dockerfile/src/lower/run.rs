//! RUN.

use kiln_graph::{Content, ExecOp, NetworkMode, Op};

use crate::error::{Error, LowerProblem};
use crate::heredoc::{self, Heredoc};
use crate::instruction::{Located, Run};
use crate::shell::Variables;

use super::inputs::Inputs;
use super::state::State;
use super::{Lowering, Place, history};

/// Where the script of a heredoc with a `#!` line is found while it runs.
const SCRIPT_DIRECTORY: &str = "/dev/pipes/";

const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// The build argument that names the host that a RUN believes to be on.
const SANDBOX_HOSTNAME: &str = "BUILDKIT_SANDBOX_HOSTNAME";

/// What a RUN amounts to once its heredocs are read.
struct Command {
    args: Vec<String>,
    /// Path and content.
    script: Option<(String, Content)>,
    /// What displays add to the instruction's line.
    remark: String,
}

impl Lowering<'_> {
    pub(super) fn run(
        &mut self,
        state: &mut State,
        place: &Place<'_>,
        run: &Run,
        located: &Located,
    ) -> Result<(), Error> {
        let command = command(state, run);
        if command.args.is_empty() {
            return Err(Error::new(LowerProblem::NoArguments, Some(place.span.clone())));
        }
        let mut inputs = Inputs::default();
        let root = state.root.map(|root| inputs.add(root));
        let mounts = self.mounts(state, place, run, &mut inputs)?;
        let options = &self.plan.options;
        let env = state.environment.entries();
        self.count_text(place, env.iter().map(String::len).sum())?;
        let op = ExecOp {
            root,
            args: command.args.clone(),
            env,
            cwd: state.directory.clone(),
            user: state.container().user.clone(),
            mounts,
            network: run.network.filter(|mode| *mode != NetworkMode::Default).unwrap_or(options.network),
            security: run.security.unwrap_or_default(),
            extra_hosts: options.extra_hosts.clone(),
            hostname: options.build_args.get(SANDBOX_HOSTNAME).filter(|name| !name.is_empty()).cloned(),
            shm_size: options.shm_size,
            ulimits: options.ulimits.clone(),
            cgroup_parent: options.cgroup_parent.clone(),
            devices: run.devices.clone(),
            proxy_env: self.proxies(state),
            scripts: command.script.into_iter().collect(),
        };
        let text = history::run(&command.args, &state.arguments, &state.environment);
        let display = self.display(state, located, &command.remark);
        let meta = self.meta(state, place, display, text.clone());
        state.root = Some(self.add(Op::Exec(op), inputs.into_vertices(), &state.platform, meta)?);
        state.note_layer(text);
        Ok(())
    }

    /// Proxy arguments in both spellings, where the stage does not set them itself.
    fn proxies(&self, state: &State) -> Vec<String> {
        let mut entries = Vec::new();
        for name in PROXIES {
            let given = self.plan.options.build_args.iter().rfind(|(given, _)| given.eq_ignore_ascii_case(name));
            let Some((_, value)) = given else { continue };
            for spelt in [name.to_owned(), name.to_lowercase()] {
                if state.environment.value(&spelt).is_none() {
                    entries.push(format!("{spelt}={value}"));
                }
            }
        }
        entries
    }
}

fn command(state: &State, run: &Run) -> Command {
    if !run.command.shell {
        return Command { args: run.command.words.clone(), script: None, remark: String::new() };
    }
    let line = run.command.words.join(" ");
    let Some(first) = run.heredocs.first() else {
        return Command { args: state.with_shell(&line), script: None, remark: String::new() };
    };
    if heredoc::parse(&line).is_none() {
        return Command {
            args: state.with_shell(&whole_text(&line, &run.heredocs)),
            script: None,
            remark: String::new(),
        };
    }
    let content = first.content();
    let remark = format!(" ({})", summary(&first.text));
    if content.starts_with("#!") {
        let path = format!("{SCRIPT_DIRECTORY}{}", first.name);
        return Command { args: state.with_shell(&path), script: Some((path, Content(first.bytes()))), remark };
    }
    Command { args: state.with_shell(&content), script: None, remark }
}

/// The line with its heredocs as the shell itself would read them.
fn whole_text(line: &str, heredocs: &[Heredoc]) -> String {
    let mut text = line.to_owned();
    for heredoc in heredocs {
        text.push('\n');
        text.push_str(&heredoc.text);
        text.push_str(&heredoc.name);
    }
    text
}

/// The first line of a script that is not blank, for displays.
fn summary(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    if lines.next().is_some() { format!("{first}...") } else { first.to_owned() }
}
