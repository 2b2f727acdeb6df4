//! The flags of `kiln build` as they are written. What they mean is found out beside this file.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use kiln_graph::Ulimit;

use super::legacy::LegacyArguments;
use super::limits;
use crate::commands::explain::ExplainFormat;

/// The flags of `kiln build`, as docker names them.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct BuildArguments {
    /// The build context: a directory, an archive or repository elsewhere, or - for the standard input
    #[arg(value_name = "PATH")]
    pub(crate) context: String,
    /// Add a line HOST:ADDRESS to /etc/hosts
    #[arg(long = "add-host", value_name = "HOST:ADDRESS", value_delimiter = ',')]
    pub(super) add_hosts: Vec<String>,
    /// Build the stages that the target does not need, too
    #[arg(long)]
    pub(super) all_stages: bool,
    /// Permit network.host, security.insecure or device[=NAME]
    #[arg(long, value_name = "ENTITLEMENT", value_delimiter = ',')]
    pub(super) allow: Vec<String>,
    /// Annotate the image, [TYPE[PLATFORM]:]NAME=VALUE
    #[arg(long = "annotation", value_name = "ANNOTATION")]
    pub(super) annotations: Vec<String>,
    /// Attestations: none is made yet, only what turns them off is accepted
    #[arg(long = "attest", value_name = "ATTESTATION")]
    pub(super) attest: Vec<String>,
    /// Set a build argument, NAME=VALUE, or NAME to take it from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(super) build_args: Vec<String>,
    /// Add a context: a directory, an address, docker-image://REF or oci-layout://DIR[:TAG|@DIGEST]
    #[arg(long = "build-context", value_name = "NAME=SOURCE")]
    pub(super) build_contexts: Vec<String>,
    /// The builder: there is one, default
    #[arg(long, value_name = "NAME")]
    pub(super) builder: Option<String>,
    /// A cache elsewhere to read: an image, or type=registry|local|s3,… (ref=NAME, src=DIR, mounts=true)
    #[arg(long = "cache-from", value_name = "CACHE")]
    pub(super) cache_from: Vec<String>,
    /// A cache elsewhere to write: type=registry|local|s3|inline,… (ref=NAME, dest=DIR, mode=min|max, mounts=true)
    #[arg(long = "cache-to", value_name = "CACHE")]
    pub(super) cache_to: Vec<String>,
    /// What to do: build, check, outline or targets; ,format=json
    #[arg(long, value_name = "METHOD")]
    pub(super) call: Option<String>,
    /// The parent control group of RUN
    #[arg(long, value_name = "GROUP")]
    pub(super) cgroup_parent: Option<String>,
    /// The same as --call=check
    #[arg(long)]
    pub(super) check: bool,
    /// Say for each step why it ran or did not: text, or json to the standard output
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub(crate) explain: Option<ExplainFormat>,
    /// When to wait until everything is on the disk: build or never
    #[arg(long, value_name = "WHEN", default_value = "never")]
    pub(crate) durable: Durable,
    /// The Dockerfile (default PATH/Dockerfile; - is the standard input)
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// How many steps run at once (default: 64, fewer while memory is short)
    #[arg(long, value_name = "N")]
    pub(super) jobs: Option<NonZeroUsize>,
    /// After a step failed, finish those that do not need it
    #[arg(long)]
    pub(super) keep_going: bool,
    /// Set a label of the image, NAME=VALUE
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(super) labels: Vec<String>,
    /// The result becomes an image of the store, whatever else becomes of it
    #[arg(long)]
    pub(super) load: bool,
    /// Write what was built to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// The network of RUN: default, none or host
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub(super) network: String,
    /// Take nothing from the cache
    #[arg(long)]
    pub(super) no_cache: bool,
    /// Take nothing of these stages from the cache
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(super) no_cache_filter: Vec<String>,
    /// Where the result goes: a directory, - for a tar on the standard output, or
    /// type=local|tar|oci|docker|image|registry[,dest=PATH][,…]
    #[arg(short = 'o', long = "output", value_name = "OUTPUT")]
    pub(super) outputs: Vec<String>,
    /// The platform to build for; several separated by commas
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    pub(super) platforms: Vec<String>,
    /// The older name of --call
    #[arg(long, value_name = "METHOD", hide = true)]
    pub(super) print: Option<String>,
    /// How progress is shown: auto, plain, tty, quiet, rawjson or none (BUILDKIT_PROGRESS)
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub(super) progress: String,
    /// The same as --attest=type=provenance
    #[arg(long, value_name = "PROVENANCE")]
    pub(super) provenance: Option<String>,
    /// Ask the registry for newer base images
    #[arg(long)]
    pub(super) pull: bool,
    /// The same as --output=type=registry
    #[arg(long)]
    pub(super) push: bool,
    /// Show no progress, and print the image's id at the end
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The same as --attest=type=sbom
    #[arg(long, value_name = "SBOM")]
    pub(super) sbom: Option<String>,
    /// A secret for RUN --mount=type=secret, id=ID[,src=FILE|,env=VARIABLE]
    #[arg(long = "secret", value_name = "SPEC")]
    pub(crate) secrets: Vec<String>,
    /// The size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = limits::bytes)]
    pub(super) shm_size: Option<u64>,
    /// An SSH agent or keys for RUN --mount=type=ssh, ID[=SOCKET|KEY[,KEY]]
    #[arg(long = "ssh", value_name = "SPEC")]
    pub(crate) ssh: Vec<String>,
    /// How many processors each RUN may keep busy, such as 1.5; 0 is no limit
    #[arg(long, value_name = "NUMBER", value_parser = limits::cpus)]
    pub(super) step_cpus: Option<f64>,
    /// How much memory each RUN may take; 0 is no limit
    #[arg(long, value_name = "BYTES", value_parser = limits::memory)]
    pub(super) step_memory: Option<u64>,
    /// How long each RUN may take, such as 90s or 1h30m; 0 is no limit
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration)]
    pub(super) step_timeout: Option<Duration>,
    /// Name (and tag) of the image; may be given several times
    #[arg(short = 't', long = "tag", value_name = "NAME")]
    pub(super) tags: Vec<String>,
    /// The stage to build
    #[arg(long, value_name = "STAGE")]
    pub(super) target: Option<String>,
    /// A resource limit, NAME=SOFT[:HARD]
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = limits::ulimit)]
    pub(super) ulimits: Vec<Ulimit>,
    #[command(flatten)]
    pub(super) legacy: LegacyArguments,
}

/// When a build waits for the disk.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// At its end: what it made survives a crash of the machine.
    Build,
    /// Not at all: what a crash of the machine takes is built again.
    Never,
}
