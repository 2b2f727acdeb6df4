//! The flags of `kiln build`, and what they mean as a request.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use kiln_build::{Allowed, Destination, LocalDirectory, NamedContext, Output, OutputKind, Request};
use kiln_dockerfile::NoCache;
use kiln_graph::{ExtraHost, NetworkMode, Ulimit};
use kiln_images::compression::Format;
use kiln_images::load::Selector;
use kiln_oci::{Platform, Reference};

use crate::client;
use crate::display::Progress;
use crate::failure::Failure;

/// The flags of `kiln build`, as docker names them.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct BuildArguments {
    /// The build context: a directory
    #[arg(value_name = "PATH")]
    pub(crate) context: String,
    /// Name (and tag) of the image; may be given several times
    #[arg(short = 't', long = "tag", value_name = "NAME")]
    pub(crate) tags: Vec<String>,
    /// The Dockerfile (default PATH/Dockerfile; - is the standard input)
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The stage to build
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// A build argument, NAME=VALUE, or NAME to take it from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) build_args: Vec<String>,
    /// A label of the image, NAME=VALUE
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// The platform to build for; several separated by commas
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platforms: Vec<String>,
    /// A further context, NAME=DIR, NAME=docker-image://REF or NAME=oci-layout://DIR[:TAG|@DIGEST]
    #[arg(long = "build-context", value_name = "NAME=SOURCE")]
    pub(crate) build_contexts: Vec<String>,
    /// Where the result goes: a directory, - for a tar on the standard output, or type=oci|docker|tar|local,dest=PATH
    #[arg(short = 'o', long = "output", value_name = "OUTPUT")]
    pub(crate) outputs: Vec<String>,
    /// Take nothing from the cache
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Take nothing of these stages from the cache
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,
    /// Ask the registry for newer base images
    #[arg(long)]
    pub(crate) pull: bool,
    /// The network of RUN: default, none or host
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub(crate) network: String,
    /// A line for /etc/hosts, HOST:ADDRESS
    #[arg(long = "add-host", value_name = "HOST:ADDRESS")]
    pub(crate) add_hosts: Vec<String>,
    /// The size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<String>,
    /// A resource limit, NAME=SOFT[:HARD]
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimits: Vec<String>,
    /// The parent control group
    #[arg(long, value_name = "GROUP")]
    pub(crate) cgroup_parent: Option<String>,
    /// Permit network.host or security.insecure
    #[arg(long, value_name = "ENTITLEMENT", value_delimiter = ',')]
    pub(crate) allow: Vec<String>,
    /// How many steps run at once
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Write the image's id to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write what was built to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t, env = "BUILDKIT_PROGRESS", hide_env = true)]
    pub(crate) progress: Progress,
    /// Show no progress, and print the image's id at the end
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Say for each step why it ran or did not
    #[arg(long)]
    pub(crate) explain: bool,
    /// The result becomes an image of the store (it does anyway)
    #[arg(long, hide = true)]
    pub(crate) load: bool,
    /// A secret for RUN --mount=type=secret, id=ID[,src=FILE|,env=VARIABLE]
    #[arg(long = "secret", value_name = "SPEC")]
    pub(crate) secrets: Vec<String>,
    /// An SSH agent or keys for RUN --mount=type=ssh, ID[=SOCKET|KEY[,KEY]]
    #[arg(long = "ssh", value_name = "SPEC")]
    pub(crate) ssh: Vec<String>,
}

type Resolved = (Request, BTreeMap<String, LocalDirectory>);

/// What the flags mean; nothing is looked up that the command line does not name.
pub(super) fn resolve(arguments: &BuildArguments) -> Result<Resolved, Failure> {
    let main = client::main_context(&arguments.context, arguments.file.as_deref())?;
    let named = arguments.build_contexts.iter().map(|text| named_context(text)).collect::<Result<Vec<_>, _>>()?;
    let local: Vec<(String, PathBuf)> = named
        .iter()
        .filter_map(|(name, context)| match context {
            Named::Directory(path) => Some((name.clone(), path.clone())),
            Named::Image(_) => None,
        })
        .collect();
    let mut directories = client::named_directories(&local)?;
    directories.insert(client::MAIN.to_owned(), main.directory);
    let request = Request {
        dockerfile: main.dockerfile,
        build_args: build_args(&arguments.build_args),
        labels: arguments.labels.iter().map(|label| pair(label)).collect(),
        target: arguments.target.clone(),
        platforms: parse_all(&arguments.platforms, "--platform", |text| {
            text.parse::<Platform>().map_err(|e| e.to_string())
        })?,
        named_contexts: named.into_iter().map(|(name, context)| (name, context.kind())).collect(),
        no_cache: no_cache(arguments),
        pull: arguments.pull,
        network: network(&arguments.network)?,
        extra_hosts: parse_all(&arguments.add_hosts, "--add-host", extra_host)?,
        shm_size: arguments.shm_size.as_deref().map(|text| flag("--shm-size", text, bytes)).transpose()?,
        ulimits: parse_all(&arguments.ulimits, "--ulimit", ulimit)?,
        cgroup_parent: arguments.cgroup_parent.clone(),
        allow: allowed(&arguments.allow)?,
        names: parse_all(&arguments.tags, "-t", |text| {
            text.parse::<Reference>().map_err(|e| format!("invalid tag {text:?}: {e}"))
        })?,
        outputs: parse_all(&arguments.outputs, "--output", output)?.into_iter().flatten().collect(),
        jobs: arguments.jobs,
    };
    Ok((request, directories))
}

enum Named {
    Directory(PathBuf),
    Image(NamedContext),
}

impl Named {
    fn kind(self) -> NamedContext {
        match self {
            Named::Directory(_) => NamedContext::Files,
            Named::Image(image) => image,
        }
    }
}

fn named_context(text: &str) -> Result<(String, Named), Failure> {
    let bad = |reason: String| Failure::new(format!("ERROR: invalid --build-context {text:?}: {reason}"));
    let (name, source) = text.split_once('=').ok_or_else(|| bad("expected NAME=SOURCE".into()))?;
    if let Some(reference) = source.strip_prefix("docker-image://") {
        let reference = reference.parse().map_err(|error| bad(format!("{error}")))?;
        return Ok((name.into(), Named::Image(NamedContext::Image(reference))));
    }
    if let Some(layout) = source.strip_prefix("oci-layout://") {
        let (directory, selector) = layout_selector(layout).map_err(bad)?;
        return Ok((name.into(), Named::Image(NamedContext::Layout { directory, selector })));
    }
    if source.contains("://") || source.starts_with("target:") {
        return Err(bad("this kind of source is not supported yet".into()));
    }
    let path = PathBuf::from(source);
    if path.is_dir() {
        if path.join("oci-layout").is_file() && path.join("index.json").is_file() {
            let layout = NamedContext::Layout { directory: path, selector: Selector::Default };
            return Ok((name.into(), Named::Image(layout)));
        }
        return Ok((name.into(), Named::Directory(path)));
    }
    Err(bad(format!("{source:?} is no directory")))
}

/// `DIR`, `DIR:TAG` or `DIR@DIGEST`.
fn layout_selector(text: &str) -> Result<(PathBuf, Selector), String> {
    if let Some((directory, digest)) = text.split_once('@') {
        let digest = digest.parse().map_err(|error| format!("{error}"))?;
        return Ok((PathBuf::from(directory), Selector::Digest(digest)));
    }
    match text.rsplit_once(':') {
        Some((directory, tag)) if !tag.contains('/') && !Path::new(text).exists() => {
            Ok((PathBuf::from(directory), Selector::Tag(tag.into())))
        }
        _ => Ok((PathBuf::from(text), Selector::Default)),
    }
}

fn build_args(texts: &[String]) -> BTreeMap<String, String> {
    let mut args = BTreeMap::new();
    for text in texts {
        match text.split_once('=') {
            Some((name, value)) => _ = args.insert(name.to_owned(), value.to_owned()),
            None => {
                if let Ok(value) = std::env::var(text) {
                    args.insert(text.clone(), value);
                }
            }
        }
    }
    if let (false, Ok(epoch)) = (args.contains_key("SOURCE_DATE_EPOCH"), std::env::var("SOURCE_DATE_EPOCH")) {
        args.insert("SOURCE_DATE_EPOCH".into(), epoch);
    }
    args
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

fn no_cache(arguments: &BuildArguments) -> NoCache {
    if arguments.no_cache {
        NoCache::Everything
    } else if arguments.no_cache_filter.is_empty() {
        NoCache::Nothing
    } else {
        NoCache::Stages(arguments.no_cache_filter.clone())
    }
}

fn network(text: &str) -> Result<NetworkMode, Failure> {
    match text {
        "default" | "" => Ok(NetworkMode::Default),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        other => Err(Failure::new(format!(
            "ERROR: network mode {other:?} is not supported by kiln build: use default, none or host"
        ))),
    }
}

fn extra_host(text: &str) -> Result<ExtraHost, String> {
    let (name, address) = text.split_once(['=', ':']).ok_or_else(|| format!("bad format for add-host: {text:?}"))?;
    let plain = address.trim_matches(['[', ']']);
    if plain.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {address:?}"));
    }
    Ok(ExtraHost { name: name.into(), address: plain.into() })
}

/// `64m`, `1g`, `512`: bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches('b');
    let (number, shift) = match digits.chars().last() {
        Some('k') => (&digits[..digits.len() - 1], 10),
        Some('m') => (&digits[..digits.len() - 1], 20),
        Some('g') => (&digits[..digits.len() - 1], 30),
        _ => (digits, 0),
    };
    let number: u64 = number.parse().map_err(|_| format!("invalid size: {text:?}"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("invalid size: {text:?}"))
}

fn ulimit(text: &str) -> Result<Ulimit, String> {
    let bad = || format!("invalid ulimit argument: {text}");
    let (name, limits) = text.split_once('=').ok_or_else(bad)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| text.parse::<i64>().map_err(|_| bad());
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.into(), soft, hard })
}

fn allowed(texts: &[String]) -> Result<Allowed, Failure> {
    let mut allowed = Allowed::default();
    for text in texts {
        match text.as_str() {
            "network.host" => allowed.host_network = true,
            "security.insecure" => allowed.insecure = true,
            other => {
                return Err(Failure::new(format!(
                    "ERROR: invalid --allow {other:?}: use network.host or security.insecure"
                )));
            }
        }
    }
    Ok(allowed)
}

/// One `--output`; `None` where the store is meant, which is where results go anyway.
fn output(text: &str) -> Result<Option<Output>, String> {
    let plain = |kind, destination| Output {
        kind,
        destination,
        compression: Format::default(),
        rewrite_timestamp: false,
        names: Vec::new(),
    };
    if text == "-" {
        return Ok(Some(plain(OutputKind::Tar, Destination::Stdout)));
    }
    if !text.contains('=') {
        return Ok(Some(plain(OutputKind::Local, Destination::Path(text.into()))));
    }
    let fields: BTreeMap<String, String> = text.split(',').map(pair).collect();
    let kind = match fields.get("type").map(String::as_str) {
        Some("oci") => OutputKind::Oci,
        Some("docker") if !fields.contains_key("dest") => return Ok(None),
        Some("docker") => OutputKind::Docker,
        Some("tar") => OutputKind::Tar,
        Some("local") => OutputKind::Local,
        Some("image") => return Ok(None),
        Some(other) => return Err(format!("output type {other:?} is not supported yet")),
        None => return Err(format!("type is required for output {text:?}")),
    };
    let destination = match fields.get("dest").map(String::as_str) {
        Some("-") => Destination::Stdout,
        Some(path) => Destination::Path(path.into()),
        None if kind == OutputKind::Local => return Err("dest is required for local output".into()),
        None => Destination::Stdout,
    };
    let mut output = plain(kind, destination);
    for (name, value) in &fields {
        output_option(&mut output, name, value)?;
    }
    Ok(Some(output))
}

fn output_option(output: &mut Output, name: &str, value: &str) -> Result<(), String> {
    match name {
        "type" | "dest" => {}
        "rewrite-timestamp" => output.rewrite_timestamp = value == "true",
        "name" => output.names.push(value.parse().map_err(|error| format!("invalid name {value:?}: {error}"))?),
        "compression" => {
            output.compression = match value {
                "gzip" => Format::GZIP,
                "zstd" => Format::ZSTD,
                "uncompressed" => Format::Uncompressed,
                other => return Err(format!("compression {other:?} is not supported: use gzip, zstd or uncompressed")),
            }
        }
        other => return Err(format!("output option {other:?} is not supported yet")),
    }
    Ok(())
}

pub(super) fn parse_all<T>(
    texts: &[String],
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Failure> {
    texts.iter().map(|text| flag(name, text, &parse)).collect()
}

fn flag<T>(name: &str, text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Failure> {
    parse(text).map_err(|reason| {
        Failure::new(format!("ERROR: invalid argument {text:?} for {name:?} flag: {reason}")).with_code(125)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_as_docker_reads_them() {
        assert_eq!(output("-").unwrap().unwrap().kind, OutputKind::Tar);
        assert_eq!(output("out").unwrap().unwrap().destination, Destination::Path("out".into()));
        let oci = output("type=oci,dest=a.tar,compression=zstd,rewrite-timestamp=true").unwrap().unwrap();
        assert!(oci.rewrite_timestamp && oci.kind == OutputKind::Oci && oci.compression == Format::ZSTD);
        assert!(output("type=docker").unwrap().is_none());
        for bad in ["type=nosuch", "dest=x", "type=local", "type=oci,what=1"] {
            assert!(output(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_limits() {
        assert_eq!(bytes("64m"), Ok(64 << 20));
        assert_eq!(bytes("1GB"), Ok(1 << 30));
        assert!(bytes("x").is_err());
        assert_eq!(ulimit("nofile=10:20").unwrap(), Ulimit { name: "nofile".into(), soft: 10, hard: 20 });
        assert!(ulimit("nofile=20:10").is_err());
    }

    #[test]
    fn hosts_of_both_address_families() {
        assert_eq!(extra_host("a:127.0.0.1").unwrap().address, "127.0.0.1");
        assert_eq!(extra_host("a=[::1]").unwrap().address, "::1");
        assert!(extra_host("a").is_err());
    }
}
