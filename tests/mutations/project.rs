//! A context with a Dockerfile, and the text of the latter.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::random::Random;
use crate::shell::Command;

/// Everything that a build is asked with.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// Which directory the context is in.
    pub(crate) place: usize,
    /// The files of the context, without the Dockerfile; parents are directories.
    pub(crate) context: BTreeMap<String, Item>,
    /// The lines of `.dockerignore`.
    pub(crate) ignore: Vec<String>,
    /// The stages; the last is the target.
    pub(crate) stages: Vec<Stage>,
    /// How the text is laid out: comments, blank lines, case.
    pub(crate) layout: u64,
    /// Build arguments.
    pub(crate) arguments: BTreeMap<String, String>,
    /// The value of the secret.
    pub(crate) secret: String,
}

/// A file of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// What it is.
    pub(crate) kind: ItemKind,
    /// Permissions.
    pub(crate) mode: u32,
    /// Seconds since 1970.
    pub(crate) time: i64,
}

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ItemKind {
    /// A file with this content.
    File(String),
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink(String),
    /// Another name of the file at this path.
    Link(String),
    /// A tar archive with a file of this content.
    Archive(String),
}

/// A stage; its name is `s` and its number.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// What it begins with.
    pub(crate) base: Base,
    /// Its instructions.
    pub(crate) steps: Vec<Step>,
}

/// What a stage begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    /// A base image.
    Image(&'static str),
    /// An earlier stage.
    Stage(usize),
    /// Nothing.
    Scratch,
}

/// An instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// RUN
    Run(Run),
    /// COPY or ADD
    Copy(Copy),
    /// COPY of a heredoc
    Text { content: String, to: String },
    /// ENV; the value may name variables as `${NAME}`.
    Env(String, String),
    /// ARG
    Arg(String, Option<String>),
    /// WORKDIR; may name variables.
    Workdir(String),
    /// USER
    User(&'static str),
    /// LABEL
    Label(String, String),
}

/// A RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// What is mounted meanwhile.
    pub(crate) mounts: Vec<Mount>,
    /// The commands, in order.
    pub(crate) commands: Vec<Command>,
    /// Whether it is written as a heredoc.
    pub(crate) heredoc: bool,
}

/// A mount of a RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mount {
    /// A path of the context, or of a stage, at `/m0`, `/m1`, …
    Bind { from: Option<usize>, source: String },
    /// A cache with this id at `/cache`.
    Cache(String),
    /// Memory at `/scratch`.
    Tmpfs,
    /// The secret at `/run/secrets/s`.
    Secret,
}

/// A COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Whether archives are unpacked: ADD.
    pub(crate) add: bool,
    /// A stage; the context otherwise.
    pub(crate) from: Option<usize>,
    /// Paths in it, maybe with `*`.
    pub(crate) sources: Vec<String>,
    /// The destination as written; may name variables.
    pub(crate) to: String,
    /// `--link`
    pub(crate) link: bool,
    /// `--chown`, by numbers.
    pub(crate) chown: Option<(u32, u32)>,
    /// `--chmod`
    pub(crate) chmod: Option<u32>,
    /// `--exclude`
    pub(crate) exclude: Vec<String>,
}

impl Project {
    /// The files of the context with the ignore file.
    pub(crate) fn files(&self) -> BTreeMap<String, Item> {
        let mut files = self.context.clone();
        if !self.ignore.is_empty() {
            let kind = ItemKind::File(self.ignore.join("\n") + "\n");
            files.insert(".dockerignore".into(), Item { kind, mode: 0o644, time: 1_500_000_000 });
        }
        files
    }

    /// The stages that the last one is made of.
    pub(crate) fn needed_stages(&self) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        let mut open = vec![self.stages.len() - 1];
        while let Some(number) = open.pop() {
            if needed.insert(number) {
                open.extend(self.stages[number].uses());
            }
        }
        needed
    }

    /// The text of the Dockerfile, which is not in the context.
    pub(crate) fn dockerfile(&self) -> String {
        let mut layout = Random::new(self.layout);
        let mut text = String::new();
        for (number, stage) in self.stages.iter().enumerate() {
            let base = match &stage.base {
                Base::Image(name) => (*name).to_owned(),
                Base::Stage(other) => format!("s{other}"),
                Base::Scratch => "scratch".into(),
            };
            instruction(&mut text, &mut layout, "FROM", &format!("{base} AS s{number}"));
            for step in &stage.steps {
                let (name, rest) = step.text();
                instruction(&mut text, &mut layout, name, &rest);
            }
        }
        text
    }
}

fn instruction(text: &mut String, layout: &mut Random, name: &str, rest: &str) {
    if layout.once_in(4) {
        let _ = writeln!(text, "# {}", layout.word());
    }
    if layout.once_in(5) {
        text.push('\n');
    }
    let name = if layout.once_in(4) { name.to_ascii_lowercase() } else { name.to_owned() };
    let blanks = " ".repeat(1 + usize::from(layout.once_in(4)));
    let _ = writeln!(text, "{name}{blanks}{rest}");
}

impl Stage {
    /// The stages that it is made of.
    pub(crate) fn uses(&self) -> Vec<usize> {
        let base = if let Base::Stage(number) = self.base { Some(number) } else { None };
        let named = self.steps.iter().flat_map(|step| match step {
            Step::Copy(copy) => copy.from.into_iter().collect(),
            Step::Run(run) => run.mounts.iter().filter_map(Mount::stage).collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        base.into_iter().chain(named).collect()
    }
}

impl Step {
    /// The instruction's name and the rest of it.
    fn text(&self) -> (&'static str, String) {
        match self {
            Step::Run(run) => ("RUN", run.text()),
            Step::Copy(copy) => (if copy.add { "ADD" } else { "COPY" }, copy.text()),
            Step::Text { content, to } => ("COPY", format!("<<note {to}\n{content}\nnote")),
            Step::Env(name, value) => ("ENV", format!("{name}=\"{value}\"")),
            Step::Arg(name, Some(value)) => ("ARG", format!("{name}={value}")),
            Step::Arg(name, None) => ("ARG", name.clone()),
            Step::Workdir(path) => ("WORKDIR", path.clone()),
            Step::User(user) => ("USER", (*user).to_owned()),
            Step::Label(name, value) => ("LABEL", format!("{name}={value}")),
        }
    }

    /// Whether it makes a layer.
    pub(crate) fn makes_a_layer(&self) -> bool {
        matches!(self, Step::Run(_) | Step::Copy(_) | Step::Text { .. } | Step::Workdir(_))
    }
}

impl Run {
    /// What the shell is given.
    pub(crate) fn script(&self) -> String {
        let commands: Vec<String> = self.commands.iter().map(Command::text).collect();
        match self.heredoc {
            true => format!("{}\ntrue\n", commands.join("\n")),
            false => format!("{}; true", commands.join("; ")),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (place, mount) in self.mounts.iter().enumerate() {
            let _ = write!(text, "--mount={} ", mount.text(place));
        }
        match self.heredoc {
            true => format!("{text}<<END\n{}END", self.script()),
            false => text + &self.script(),
        }
    }
}

impl Mount {
    /// The stage that is mounted.
    fn stage(&self) -> Option<usize> {
        match self {
            Mount::Bind { from, .. } => *from,
            Mount::Cache(_) | Mount::Tmpfs | Mount::Secret => None,
        }
    }

    /// The options, for the mount at this place in the list.
    pub(crate) fn text(&self, place: usize) -> String {
        match self {
            Mount::Bind { from: None, source } => format!("type=bind,source={source},target=/m{place}"),
            Mount::Bind { from: Some(stage), source } => {
                format!("type=bind,from=s{stage},source=/{source},target=/m{place}")
            }
            Mount::Cache(id) => format!("type=cache,id={id},target=/cache"),
            Mount::Tmpfs => "type=tmpfs,target=/scratch".into(),
            Mount::Secret => "type=secret,id=s".into(),
        }
    }
}

impl Copy {
    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(stage) = self.from {
            let _ = write!(text, "--from=s{stage} ");
        }
        if self.link {
            text.push_str("--link ");
        }
        if let Some((user, group)) = self.chown {
            let _ = write!(text, "--chown={user}:{group} ");
        }
        if let Some(mode) = self.chmod {
            let _ = write!(text, "--chmod={mode:o} ");
        }
        for pattern in &self.exclude {
            let _ = write!(text, "--exclude={pattern} ");
        }
        let slash = if self.from.is_some() { "/" } else { "" };
        for source in &self.sources {
            let _ = write!(text, "{slash}{source} ");
        }
        text + &self.to
    }
}
