//! The flags of `run` and `create`, and what they mean to the engine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_engine::{CreateOptions, Network, environment};
use kiln_oci::Platform;

use crate::failure::Failure;
use crate::{os_error, size};

/// When an image is asked of its registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Pull {
    Always,
    #[default]
    Missing,
    Never,
}

/// The flags of `run` that `create` does not have.
#[derive(clap::Args, Debug)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) create: CreateArguments,
    /// Run in the background (not supported yet)
    #[arg(short, long)]
    detach: bool,
    /// Pass signals on to the container (it is always done)
    #[arg(long, hide = true)]
    sig_proxy: bool,
}

/// The flags of `create`.
#[derive(clap::Args, Debug)]
pub(crate) struct CreateArguments {
    /// The image, the command and its arguments
    #[arg(value_name = "IMAGE", required = true, trailing_var_arg = true)]
    pub(crate) image: Vec<String>,
    /// Add a line to /etc/hosts, HOST:ADDRESS
    #[arg(long = "add-host", value_name = "HOST:ADDRESS")]
    add_hosts: Vec<String>,
    /// Attach to a stream (all are attached in the foreground)
    #[arg(short, long, value_name = "STREAM", hide = true)]
    attach: Vec<String>,
    /// Write the container's id to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// The program, instead of the image's
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// An environment variable, NAME=VALUE, or NAME to take it from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// A file of environment variables
    #[arg(long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,
    /// The host name
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// Run a small init as process 1
    #[arg(long)]
    init: bool,
    /// Keep the standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// A label, NAME=VALUE
    #[arg(short, long = "label", value_name = "NAME[=VALUE]")]
    labels: Vec<String>,
    /// A file of labels
    #[arg(long = "label-file", value_name = "FILE")]
    label_files: Vec<PathBuf>,
    /// The name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The network: none, or host (the default, until there are others)
    #[arg(long, alias = "net", value_name = "NETWORK", default_value = "default")]
    network: String,
    /// The platform of the image
    #[arg(long)]
    pub(crate) platform: Option<Platform>,
    /// All that kiln itself may do
    #[arg(long)]
    privileged: bool,
    /// Publish a port (not supported yet)
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,
    /// Publish all ports (not supported yet)
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// When to ask the registry for the image
    #[arg(long, value_enum, default_value_t)]
    pub(crate) pull: Pull,
    /// Show no progress of a pull
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The root file system cannot be written
    #[arg(long)]
    read_only: bool,
    /// Remove the container when it has ended
    #[arg(long = "rm")]
    pub(crate) remove: bool,
    /// The size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,
    /// A file system in memory, PATH[:OPTIONS]
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// A terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// The user, NAME|UID[:GROUP|GID]
    #[arg(short, long)]
    user: Option<String>,
    /// Mount a directory or a volume, [SOURCE:]PATH[:OPTIONS]
    #[arg(short, long = "volume", value_name = "VOLUME")]
    volumes: Vec<String>,
    /// The working directory
    #[arg(short, long, value_name = "DIRECTORY")]
    workdir: Option<String>,
    #[command(flatten)]
    later: LaterArguments,
}

/// Flags of docker's that are refused clearly instead of being unknown.
#[derive(clap::Args, Debug)]
struct LaterArguments {
    #[arg(long = "cap-add", hide = true)]
    cap_add: Vec<String>,
    #[arg(long = "cap-drop", hide = true)]
    cap_drop: Vec<String>,
    #[arg(short, long, hide = true)]
    memory: Option<String>,
    #[arg(long, hide = true)]
    cpus: Option<String>,
    #[arg(long, hide = true)]
    device: Vec<String>,
    #[arg(long, hide = true)]
    dns: Vec<String>,
    #[arg(long = "group-add", hide = true)]
    group_add: Vec<String>,
    #[arg(long, hide = true)]
    mount: Vec<String>,
    #[arg(long, hide = true)]
    restart: Option<String>,
    #[arg(long = "security-opt", hide = true)]
    security_opt: Vec<String>,
    #[arg(long = "stop-signal", hide = true)]
    stop_signal: Option<String>,
    #[arg(long, hide = true)]
    sysctl: Vec<String>,
    #[arg(long, hide = true)]
    ulimit: Vec<String>,
    #[arg(long, hide = true)]
    pid: Option<String>,
    #[arg(long, hide = true)]
    ipc: Option<String>,
    #[arg(long, hide = true)]
    gpus: Option<String>,
}

/// What comes later is said before anything is done.
pub(super) fn refuse_unsupported(program: &str, arguments: &RunArguments) -> Result<(), Failure> {
    if arguments.detach {
        return Err(later(program, "run", "--detach (-d): containers run in the foreground"));
    }
    refuse_unsupported_of_create(program, "run", &arguments.create)
}

/// The same for the flags that `create` has.
pub(super) fn refuse_unsupported_of_create(
    program: &str,
    command: &str,
    create: &CreateArguments,
) -> Result<(), Failure> {
    let flags = &create.later;
    let given = [
        ("--publish (-p)", !create.publish.is_empty() || create.publish_all),
        ("--cap-add", !flags.cap_add.is_empty()),
        ("--cap-drop", !flags.cap_drop.is_empty()),
        ("--memory", flags.memory.is_some()),
        ("--cpus", flags.cpus.is_some()),
        ("--device", !flags.device.is_empty()),
        ("--dns", !flags.dns.is_empty()),
        ("--group-add", !flags.group_add.is_empty()),
        ("--mount", !flags.mount.is_empty()),
        ("--restart", flags.restart.as_deref().is_some_and(|policy| policy != "no")),
        ("--security-opt", !flags.security_opt.is_empty()),
        ("--stop-signal", flags.stop_signal.is_some()),
        ("--sysctl", !flags.sysctl.is_empty()),
        ("--ulimit", !flags.ulimit.is_empty()),
        ("--pid", flags.pid.is_some()),
        ("--ipc", flags.ipc.as_deref().is_some_and(|mode| mode != "private")),
        ("--gpus", flags.gpus.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(later(program, command, flag)),
        None => Ok(()),
    }
}

fn later(program: &str, command: &str, flag: &str) -> Failure {
    super::with_hint(program, command, Failure::new(format!("not supported yet: {flag}")))
}

/// What the flags mean; files that they name are read.
pub(super) fn options(arguments: &CreateArguments) -> Result<CreateOptions, Failure> {
    let (image, command) =
        arguments.image.split_first().map_or_else(Default::default, |(i, c)| (i.clone(), c.to_vec()));
    Ok(CreateOptions {
        image,
        platform: arguments.platform.clone(),
        command,
        name: arguments.name.clone(),
        entrypoint: arguments.entrypoint.clone().map(|program| vec![program]),
        env: environment(arguments)?,
        user: arguments.user.clone(),
        working_dir: arguments.workdir.clone(),
        hostname: arguments.hostname.clone(),
        tty: arguments.tty,
        open_stdin: arguments.interactive,
        volumes: arguments.volumes.iter().map(|volume| absolute(volume)).collect(),
        labels: labels(arguments)?,
        network: network(&arguments.network)?,
        auto_remove: arguments.remove,
        starts_at_once: false,
        read_only: arguments.read_only,
        privileged: arguments.privileged,
        init: arguments.init,
        extra_hosts: arguments.add_hosts.iter().map(|line| host(line)).collect::<Result<_, _>>()?,
        shm_size: arguments.shm_size.as_deref().map(shm_size).transpose()?,
        tmpfs: arguments.tmpfs.iter().map(|text| split(text, ':')).collect(),
    })
}

/// Files first, then `-e`, so that the latter win.
fn environment(arguments: &CreateArguments) -> Result<Vec<String>, Failure> {
    let lookup = |name: &str| std::env::var(name).ok();
    let mut variables = read_files(&arguments.env_files, &lookup)?;
    for text in &arguments.env {
        match text.split_once('=') {
            Some(("", _)) | None if text.is_empty() || text.starts_with('=') => {
                return Err(Failure::new(format!("invalid environment variable: {text}")));
            }
            Some(_) => variables.push(text.clone()),
            None => variables.push(lookup(text).map_or_else(|| text.clone(), |value| format!("{text}={value}"))),
        }
    }
    Ok(variables)
}

fn labels(arguments: &CreateArguments) -> Result<BTreeMap<String, String>, Failure> {
    let from_files = read_files(&arguments.label_files, &|_| Some(String::new()))?;
    Ok(from_files.iter().chain(&arguments.labels).map(|text| split(text, '=')).collect())
}

fn read_files(paths: &[PathBuf], lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>, Failure> {
    let mut variables = Vec::new();
    for path in paths {
        let bytes = std::fs::read(path).map_err(|error| os_error::failure("open", path, &error))?;
        let parsed = environment::parse_file(&bytes, lookup);
        let of_file = |error| Failure::new(format!("invalid env file ({}): {error}", path.display()));
        variables.extend(parsed.map_err(of_file)?);
    }
    Ok(variables)
}

fn split(text: &str, by: char) -> (String, String) {
    let (name, value) = text.split_once(by).unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// `./x:/y` and `../x:/y` are meant from here; other relative paths are volumes' names.
fn absolute(volume: &str) -> String {
    let Some((source, rest)) = volume.split_once(':') else { return volume.to_owned() };
    let relative = source == "." || source == ".." || source.starts_with("./") || source.starts_with("../");
    match std::env::current_dir() {
        Ok(here) if relative => {
            let clean = here.join(source);
            let clean = clean.canonicalize().unwrap_or(clean);
            format!("{}:{rest}", clean.display())
        }
        _ => volume.to_owned(),
    }
}

fn network(name: &str) -> Result<Network, Failure> {
    match name {
        "default" | "bridge" | "" => Ok(Network::Default),
        "host" => Ok(Network::Host),
        "none" => Ok(Network::None),
        other => Err(Failure::new(format!("network {other}: networks besides host and none are not supported yet"))),
    }
}

fn host(line: &str) -> Result<String, Failure> {
    let bad = |reason: String| Failure::new(format!("invalid argument \"{line}\" for \"--add-host\" flag: {reason}"));
    let Some((_, address)) = line.split_once([':', '=']) else {
        return Err(bad(format!("bad format for add-host: \"{line}\"")));
    };
    match address.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        Ok(_) => Ok(line.to_owned()),
        Err(_) => Err(bad(format!("invalid IP address in add-host: \"{address}\""))),
    }
}

fn shm_size(text: &str) -> Result<u64, Failure> {
    size::parse(text)
        .map_err(|reason| Failure::new(format!("invalid argument \"{text}\" for \"--shm-size\" flag: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_with_dots_are_relative_to_here() {
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(absolute(".:/x:ro"), format!("{}:/x:ro", here.display()));
        assert_eq!(absolute("data:/x"), "data:/x");
        assert_eq!(absolute("/a:/x"), "/a:/x");
        assert_eq!(absolute("/x"), "/x");
    }

    #[test]
    fn hosts_need_an_address() {
        assert_eq!(host("a:127.0.0.1").unwrap(), "a:127.0.0.1");
        assert_eq!(host("a=[::1]").unwrap(), "a=[::1]");
        assert!(host("a").unwrap_err().message.contains("bad format"));
        assert!(host("a:b").unwrap_err().message.contains("invalid IP address in add-host: \"b\""));
    }
}
