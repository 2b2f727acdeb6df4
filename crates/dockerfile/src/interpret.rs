//! From cut lines to typed instructions: each instruction's own rules about flags and arguments.

use kiln_graph::{Device, NetworkMode, SecurityMode};
use kiln_oci::HealthCheck;

use crate::device;
use crate::duration;
use crate::error::{Error, InstructionProblem, suggestion};
use crate::flags::{FlagKind, Flags};
use crate::heredoc;
use crate::instruction::{Argument, CommandLine, Copy, Instruction, Pair, Run};
use crate::mount::MountFields;
use crate::reader::{Arguments, Node};
use crate::span::Span;

/// The names of all instructions.
pub const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

const HEALTH_FLAGS: [(&str, FlagKind); 5] = [
    ("interval", FlagKind::Text),
    ("timeout", FlagKind::Text),
    ("start-period", FlagKind::Text),
    ("start-interval", FlagKind::Text),
    ("retries", FlagKind::Text),
];

const RUN_FLAGS: [(&str, FlagKind); 4] =
    [("mount", FlagKind::List), ("network", FlagKind::Text), ("security", FlagKind::Text), ("device", FlagKind::List)];

const COPY_FLAGS: [(&str, FlagKind); 6] = [
    ("chown", FlagKind::Text),
    ("chmod", FlagKind::Text),
    ("link", FlagKind::Boolean),
    ("parents", FlagKind::Boolean),
    ("exclude", FlagKind::List),
    ("from", FlagKind::Text),
];

const ADD_FLAGS: [(&str, FlagKind); 7] = [
    ("chown", FlagKind::Text),
    ("chmod", FlagKind::Text),
    ("link", FlagKind::Boolean),
    ("exclude", FlagKind::List),
    ("keep-git-dir", FlagKind::Boolean),
    ("checksum", FlagKind::Text),
    ("unpack", FlagKind::Boolean),
];

/// FROM, values as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct From {
    pub(crate) base: String,
    /// In lower case.
    pub(crate) name: Option<String>,
    pub(crate) platform: Option<String>,
}

/// Gives an error of this node its place.
fn fail(node: &Node, problem: InstructionProblem) -> Error {
    Error::new(problem, Some(node.span.clone()))
}

/// The arguments of instructions that take words.
fn words(node: &Node) -> &[String] {
    match &node.arguments {
        Arguments::Words(words) | Arguments::Json(words) => words,
        Arguments::Pairs { .. } | Arguments::Health { .. } | Arguments::Trigger(_) => &[],
    }
}

fn at_least_one<'a>(node: &'a Node, name: &'static str) -> Result<&'a [String], Error> {
    let words = words(node);
    if words.is_empty() { Err(fail(node, InstructionProblem::AtLeastOne(name))) } else { Ok(words) }
}

/// The only argument of an instruction without flags.
fn exactly_one(node: &Node, name: &'static str) -> Result<String, Error> {
    match words(node) {
        [word] => {
            no_flags(node)?;
            Ok(word.clone())
        }
        _ => Err(fail(node, InstructionProblem::ExactlyOne(name))),
    }
}

fn no_flags(node: &Node) -> Result<(), Error> {
    Flags::read(node, &[]).map(drop)
}

/// Understands any instruction but FROM.
pub(crate) fn instruction(node: &Node) -> Result<Instruction, Error> {
    let name = node.name.to_ascii_uppercase();
    match name.as_str() {
        "ADD" => Ok(Instruction::Add(copy(node, "ADD", &ADD_FLAGS)?)),
        "ARG" => argument(node),
        "CMD" => Ok(Instruction::Cmd(plain_command(node)?)),
        "COPY" => Ok(Instruction::Copy(copy(node, "COPY", &COPY_FLAGS)?)),
        "ENTRYPOINT" => Ok(Instruction::Entrypoint(plain_command(node)?)),
        "ENV" => Ok(Instruction::Env(pairs(node, "ENV")?)),
        "EXPOSE" => expose(node),
        "HEALTHCHECK" => health_check(node),
        "LABEL" => Ok(Instruction::Label(pairs(node, "LABEL")?)),
        "MAINTAINER" => Ok(Instruction::Maintainer(exactly_one(node, "MAINTAINER")?)),
        "ONBUILD" => onbuild(node),
        "RUN" => run(node),
        "SHELL" => shell(node),
        "STOPSIGNAL" => Ok(Instruction::StopSignal(exactly_one(node, "STOPSIGNAL")?)),
        "USER" => Ok(Instruction::User(exactly_one(node, "USER")?)),
        "VOLUME" => volume(node),
        "WORKDIR" => Ok(Instruction::Workdir(exactly_one(node, "WORKDIR")?)),
        _ => Err(unknown(node)),
    }
}

fn unknown(node: &Node) -> Error {
    let span = Span { focus: node.name_focus.clone(), ..node.span.clone() };
    let meant = suggestion(&node.name, INSTRUCTIONS);
    let shouted = !node.name.contains(char::is_lowercase);
    let meant = meant.map(|name| if shouted { name } else { name.to_lowercase() });
    Error::new(InstructionProblem::UnknownInstruction(node.name.clone()), Some(span)).suggest(meant)
}

/// Understands FROM.
pub(crate) fn from(node: &Node) -> Result<From, Error> {
    let (base, name) = match words(node) {
        [base] => (base, None),
        [base, keyword, name] if keyword.eq_ignore_ascii_case("as") => (base, Some(name.to_lowercase())),
        _ => return Err(fail(node, InstructionProblem::FromArguments)),
    };
    if let Some(name) = &name
        && !is_stage_name(name)
    {
        return Err(fail(node, InstructionProblem::StageName(name.clone())));
    }
    let flags = Flags::read(node, &[("platform", FlagKind::Text)])?;
    Ok(From { base: base.clone(), name, platform: flags.text("platform").filter(|text| !text.is_empty()) })
}

fn is_stage_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain)
}

fn argument(node: &Node) -> Result<Instruction, Error> {
    let words = at_least_one(node, "ARG")?;
    no_flags(node)?;
    let arguments = words.iter().map(|word| match word.split_once('=') {
        Some(("", _)) => Err(fail(node, InstructionProblem::BlankName("ARG"))),
        Some((name, default)) => Ok(Argument { name: name.to_owned(), default: Some(default.to_owned()) }),
        None => Ok(Argument { name: word.clone(), default: None }),
    });
    arguments.collect::<Result<_, _>>().map(Instruction::Arg)
}

fn pairs(node: &Node, name: &'static str) -> Result<Vec<Pair>, Error> {
    let Arguments::Pairs { pairs, old_form } = &node.arguments else {
        return Err(fail(node, InstructionProblem::AtLeastOne(name)));
    };
    if pairs.is_empty() {
        return Err(fail(node, InstructionProblem::AtLeastOne(name)));
    }
    no_flags(node)?;
    if pairs.iter().any(|(key, _)| key.is_empty()) {
        return Err(fail(node, InstructionProblem::BlankName(name)));
    }
    let typed =
        pairs.iter().map(|(name, value)| Pair { name: name.clone(), value: value.clone(), old_form: *old_form });
    Ok(typed.collect())
}

fn command_line(arguments: &Arguments) -> CommandLine {
    match arguments {
        Arguments::Json(words) => CommandLine { words: words.clone(), shell: false },
        Arguments::Words(words) => CommandLine { words: words.clone(), shell: true },
        Arguments::Pairs { .. } | Arguments::Health { .. } | Arguments::Trigger(_) => CommandLine::default(),
    }
}

fn plain_command(node: &Node) -> Result<CommandLine, Error> {
    no_flags(node)?;
    Ok(command_line(&node.arguments))
}

fn run(node: &Node) -> Result<Instruction, Error> {
    let flags = Flags::read(node, &RUN_FLAGS)?;
    let mounts = flags.list("mount").iter().map(|text| MountFields::cut(text)).collect::<Result<_, _>>();
    let network = flags.text("network").filter(|text| !text.is_empty()).map(|text| match text.as_str() {
        "default" => Ok(NetworkMode::Default),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        _ => {
            let meant = suggestion(&text, ["default", "none", "host"]);
            Err(fail(node, InstructionProblem::NetworkMode(text)).suggest(meant))
        }
    });
    let security = flags.text("security").filter(|text| !text.is_empty()).map(|text| match text.as_str() {
        "sandbox" => Ok(SecurityMode::Sandbox),
        "insecure" => Ok(SecurityMode::Insecure),
        _ => {
            let meant = suggestion(&text, ["sandbox", "insecure"]);
            Err(fail(node, InstructionProblem::SecurityMode(text)).suggest(meant))
        }
    });
    let devices = flags.list("device").iter().map(|text| device(node, text)).collect::<Result<_, _>>()?;
    Ok(Instruction::Run(Run {
        command: command_line(&node.arguments),
        heredocs: node.heredocs.clone(),
        mounts: mounts.map_err(|problem| fail(node, problem))?,
        network: network.transpose()?,
        security: security.transpose()?,
        devices,
        flags: flags.names(),
    }))
}

fn device(node: &Node, text: &str) -> Result<Device, Error> {
    device::parse(text).map_err(|problem| {
        let meant = match &problem {
            InstructionProblem::DeviceKey { key, .. } => suggestion(key, device::KEYS),
            _ => None,
        };
        fail(node, problem).suggest(meant)
    })
}

fn shell(node: &Node) -> Result<Instruction, Error> {
    no_flags(node)?;
    let words = at_least_one(node, "SHELL")?;
    match &node.arguments {
        Arguments::Json(_) => Ok(Instruction::Shell(words.to_vec())),
        _ => Err(fail(node, InstructionProblem::ShellForm)),
    }
}

fn expose(node: &Node) -> Result<Instruction, Error> {
    let mut ports = at_least_one(node, "EXPOSE")?.to_vec();
    no_flags(node)?;
    ports.sort();
    Ok(Instruction::Expose(ports))
}

fn volume(node: &Node) -> Result<Instruction, Error> {
    let words = at_least_one(node, "VOLUME")?;
    no_flags(node)?;
    let volumes: Vec<String> = words.iter().map(|word| word.trim().to_owned()).collect();
    if volumes.iter().any(String::is_empty) {
        return Err(fail(node, InstructionProblem::BlankVolume));
    }
    Ok(Instruction::Volume(volumes))
}

fn copy(node: &Node, name: &'static str, allowed: &[(&'static str, FlagKind)]) -> Result<Copy, Error> {
    let (destination, sources) = match words(node) {
        [sources @ .., destination] if !sources.is_empty() => (destination, sources),
        _ => return Err(fail(node, InstructionProblem::NoDestination(name))),
    };
    let flags = Flags::read(node, allowed)?;
    if heredoc::parse(destination).is_some() {
        return Err(fail(node, InstructionProblem::HeredocDestination(name)));
    }
    let mut copy = Copy {
        destination: destination.clone(),
        from: flags.text("from").filter(|from| !from.is_empty()),
        chown: flags.text("chown").filter(|owner| !owner.is_empty()),
        chmod: flags.text("chmod").filter(|mode| !mode.is_empty()),
        link: flags.boolean("link").unwrap_or(false),
        parents: flags.boolean("parents").unwrap_or(false),
        exclude: flags.list("exclude"),
        keep_git_directory: flags.boolean("keep-git-dir"),
        checksum: flags.text("checksum").filter(|checksum| !checksum.is_empty()),
        unpack: flags.boolean("unpack"),
        ..Copy::default()
    };
    for source in sources {
        let opened = heredoc::parse(source);
        let filled = opened.and_then(|opened| node.heredocs.iter().rfind(|heredoc| heredoc.name == opened.name));
        match filled {
            Some(heredoc) => copy.heredocs.push(heredoc.clone()),
            None => copy.sources.push(source.clone()),
        }
    }
    Ok(copy)
}

fn onbuild(node: &Node) -> Result<Instruction, Error> {
    let Arguments::Trigger(inner) = &node.arguments else {
        return Err(fail(node, InstructionProblem::AtLeastOne("ONBUILD")));
    };
    no_flags(node)?;
    match inner.name.to_uppercase().as_str() {
        "ONBUILD" => return Err(fail(node, InstructionProblem::NestedOnbuild)),
        name @ ("FROM" | "MAINTAINER") => {
            return Err(fail(node, InstructionProblem::OnbuildTrigger(name.to_owned())));
        }
        _ => {}
    }
    let after_name = node.text.trim_start().get("ONBUILD".len()..).unwrap_or_default();
    let mut expression = after_name.trim_start().to_owned();
    for heredoc in &node.heredocs {
        expression.push('\n');
        expression.push_str(&heredoc.text);
        expression.push_str(&heredoc.name);
    }
    Ok(Instruction::Onbuild(expression))
}

fn health_check(node: &Node) -> Result<Instruction, Error> {
    let Arguments::Health { kind, command } = &node.arguments else {
        return Err(fail(node, InstructionProblem::AtLeastOne("HEALTHCHECK")));
    };
    let command = command_line(command);
    let kind = kind.to_uppercase();
    if kind == "NONE" {
        if !command.words.is_empty() {
            return Err(fail(node, InstructionProblem::HealthNoneArguments));
        }
        return Ok(Instruction::Healthcheck(HealthCheck { test: vec![kind], ..HealthCheck::default() }));
    }
    let flags = Flags::read(node, &HEALTH_FLAGS)?;
    if kind != "CMD" {
        return Err(fail(node, InstructionProblem::HealthType(kind)));
    }
    if command.words.is_empty() {
        return Err(fail(node, InstructionProblem::HealthNoCommand));
    }
    let form = if command.shell { "CMD-SHELL" } else { "CMD" };
    let time = |name: &str| interval(flags.text(name)).map_err(|problem| fail(node, problem));
    Ok(Instruction::Healthcheck(HealthCheck {
        test: std::iter::once(form.to_owned()).chain(command.words).collect(),
        interval: time("interval")?,
        timeout: time("timeout")?,
        start_period: time("start-period")?,
        start_interval: time("start-interval")?,
        retries: retries(flags.text("retries")).map_err(|problem| fail(node, problem))?,
    }))
}

/// What a health check's times may not be below, in nanoseconds, unless they are zero.
const SHORTEST_INTERVAL: i64 = 1_000_000;

fn interval(text: Option<String>) -> Result<i64, InstructionProblem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(0) };
    let nanoseconds = duration::parse(&text)?;
    if nanoseconds != 0 && nanoseconds < SHORTEST_INTERVAL {
        return Err(InstructionProblem::ShortInterval(text));
    }
    Ok(nanoseconds)
}

fn retries(text: Option<String>) -> Result<i64, InstructionProblem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(0) };
    let number: i32 = text.parse().map_err(|_| InstructionProblem::Retries(text))?;
    if number < 0 { Err(InstructionProblem::NegativeRetries(number.into())) } else { Ok(number.into()) }
}
