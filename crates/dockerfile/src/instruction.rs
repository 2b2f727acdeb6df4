//! The typed instructions, values as written: nothing is expanded yet.

use kiln_graph::{Device, NetworkMode, SecurityMode};
use kiln_oci::HealthCheck;

use crate::heredoc::Heredoc;
use crate::mount::MountFields;
use crate::span::Span;

/// An instruction and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// What it is.
    pub instruction: Instruction,
    /// Where it stands, heredocs included.
    pub span: Span,
    /// The logical line as written, continuations joined, without heredoc bodies.
    pub text: String,
    /// The heredocs that its line opens, in order, whatever becomes of them.
    pub heredocs: Vec<Heredoc>,
    /// Whether it is an ONBUILD trigger of the base.
    pub trigger: bool,
}

/// What a Dockerfile can say between two FROMs.
#[derive(Clone, Debug, PartialEq)]
pub enum Instruction {
    /// Copies files, archives, downloads and repositories.
    Add(Copy),
    /// Declares build arguments.
    Arg(Vec<Argument>),
    /// The default command.
    Cmd(CommandLine),
    /// Copies files.
    Copy(Copy),
    /// The default program.
    Entrypoint(CommandLine),
    /// Sets variables.
    Env(Vec<Pair>),
    /// Ports, sorted.
    Expose(Vec<String>),
    /// How to find out whether a container is well.
    Healthcheck(HealthCheck),
    /// Labels.
    Label(Vec<Pair>),
    /// The author (deprecated).
    Maintainer(String),
    /// An instruction for builds on top of the image.
    Onbuild(String),
    /// Runs a command.
    Run(Run),
    /// The shell for shell forms.
    Shell(Vec<String>),
    /// The signal that stops a container.
    StopSignal(String),
    /// The user of what follows.
    User(String),
    /// Paths that become volumes.
    Volume(Vec<String>),
    /// The working directory of what follows.
    Workdir(String),
}

impl Instruction {
    /// The name in upper case.
    pub fn name(&self) -> &'static str {
        match self {
            Instruction::Add(_) => "ADD",
            Instruction::Arg(_) => "ARG",
            Instruction::Cmd(_) => "CMD",
            Instruction::Copy(_) => "COPY",
            Instruction::Entrypoint(_) => "ENTRYPOINT",
            Instruction::Env(_) => "ENV",
            Instruction::Expose(_) => "EXPOSE",
            Instruction::Healthcheck(_) => "HEALTHCHECK",
            Instruction::Label(_) => "LABEL",
            Instruction::Maintainer(_) => "MAINTAINER",
            Instruction::Onbuild(_) => "ONBUILD",
            Instruction::Run(_) => "RUN",
            Instruction::Shell(_) => "SHELL",
            Instruction::StopSignal(_) => "STOPSIGNAL",
            Instruction::User(_) => "USER",
            Instruction::Volume(_) => "VOLUME",
            Instruction::Workdir(_) => "WORKDIR",
        }
    }
}

/// A name and a value of ENV or LABEL, quotes kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
    /// `ENV name value`: the rest of the line is the value.
    pub old_form: bool,
}

/// A name of ARG with its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The name.
    pub name: String,
    /// The default, quotes kept; `None` without `=`.
    pub default: Option<String>,
}

/// The arguments of RUN, CMD and ENTRYPOINT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The words of the JSON form, or the line of the shell form; empty when there is none.
    pub words: Vec<String>,
    /// Whether it is the shell form.
    pub shell: bool,
}

/// RUN.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// What to run.
    pub command: CommandLine,
    /// The heredocs of its line.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, in order.
    pub mounts: Vec<MountFields>,
    /// `--network`
    pub network: Option<NetworkMode>,
    /// `--security`
    pub security: Option<SecurityMode>,
    /// `--device`, in order.
    pub devices: Vec<Device>,
    /// The flags that were given, sorted.
    pub flags: Vec<String>,
}

/// COPY and ADD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// The sources that are no heredocs.
    pub sources: Vec<String>,
    /// The sources that are.
    pub heredocs: Vec<Heredoc>,
    /// The destination.
    pub destination: String,
    /// `--from`
    pub from: Option<String>,
    /// `--chown`
    pub chown: Option<String>,
    /// `--chmod`
    pub chmod: Option<String>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`, in order.
    pub exclude: Vec<String>,
    /// `--keep-git-dir`, when given.
    pub keep_git_directory: Option<bool>,
    /// `--checksum`
    pub checksum: Option<String>,
    /// `--unpack`, when given.
    pub unpack: Option<bool>,
}
