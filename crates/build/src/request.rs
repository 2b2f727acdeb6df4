//! What is asked of a build: plain data, filled in by whoever takes the user's wishes.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use kiln_cache::{CacheFrom, CacheTo};
use kiln_dockerfile::{NoCache, PlanOptions};
use kiln_graph::{ExtraHost, NetworkMode, Ulimit};
use kiln_images::compression::Format;
use kiln_images::export::{Annotation, MediaTypes};
use kiln_images::load::Selector;
use kiln_oci::{Digest, Platform, Reference};
use kiln_sandbox::Bounds;

/// A build.
#[derive(Clone, Debug)]
pub struct Request {
    /// The Dockerfile.
    pub dockerfile: DockerfileText,
    /// `--build-arg`, by name.
    pub build_args: BTreeMap<String, String>,
    /// `--label`, by name.
    pub labels: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// `--platform`; the host's if empty.
    pub platforms: Vec<Platform>,
    /// `--build-context`, by name. The client presents those that are [`NamedContext::Files`].
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// `--no-cache`, `--no-cache-filter`.
    pub no_cache: NoCache,
    /// `--pull`: ask the registry even for names that are known.
    pub pull: bool,
    /// `--network`.
    pub network: NetworkMode,
    /// `--add-host`.
    pub extra_hosts: Vec<ExtraHost>,
    /// `--shm-size` in bytes.
    pub shm_size: Option<u64>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// `--allow`.
    pub allow: Allowed,
    /// `-t`.
    pub names: Vec<Reference>,
    /// As what the result becomes an image of the store; `None`: it does not.
    pub kept: Option<Kept>,
    /// Where the result goes besides.
    pub outputs: Vec<Output>,
    /// The layers that the build adds to its base become one.
    pub squash: bool,
    /// `--all-stages`: those that the target does not need are built too, and only cached.
    pub all_stages: bool,
    /// `--cache-from`: caches elsewhere that have what the store has not, in order.
    pub cache_from: Vec<CacheFrom>,
    /// `--cache-to`: where what the build used goes.
    pub cache_to: Vec<CacheTo>,
    /// How many steps run at once; without, so many as there is memory for, up to the solver's default.
    pub jobs: Option<NonZeroUsize>,
    /// A step that fails ends only what needs it.
    pub keep_going: bool,
    /// What each RUN may take. No part of any key: what comes of a step is the same, if it comes.
    pub step_bounds: Bounds,
}

impl Request {
    /// What the Dockerfile is to be planned with for one platform, perhaps of several.
    pub fn plan_options(&self, platform: &Platform, multi_platform: bool) -> PlanOptions {
        crate::build::plan_options(self, platform, multi_platform)
    }
}

/// The text of a Dockerfile.
#[derive(Clone, Debug, Default)]
pub struct DockerfileText {
    /// What it is called in messages, such as `Dockerfile`.
    pub name: String,
    /// The text; bytes that were not UTF-8 replaced.
    pub text: String,
}

/// What a `--build-context` name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// Files that the client presents under that name.
    Files,
    /// `docker-image://`.
    Image(Reference),
    /// `oci-layout://`.
    Layout {
        /// The layout's directory.
        directory: PathBuf,
        /// Which image of it.
        selector: Selector,
    },
}

/// What `--allow` permits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// `network.host`
    pub host_network: bool,
    /// `security.insecure`
    pub insecure: bool,
    /// `device`
    pub devices: AllowedDevices,
}

/// Which devices `--allow` permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedDevices {
    /// Those of these names (`vendor/class=name`) and kinds (`vendor/class`).
    Named(Vec<String>),
    /// All.
    All,
}

impl Default for AllowedDevices {
    fn default() -> Self {
        AllowedDevices::Named(Vec::new())
    }
}

impl AllowedDevices {
    /// Whether a device of this full name is permitted.
    pub(crate) fn permit(&self, device: &str) -> bool {
        match self {
            AllowedDevices::All => true,
            AllowedDevices::Named(names) => {
                let kind = device.split('=').next().unwrap_or_default();
                names.iter().any(|name| name == device || name.strip_suffix("=*").unwrap_or(name) == kind)
            }
        }
    }
}

/// How the result becomes an image of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Its names.
    pub names: Vec<Reference>,
    /// Where it has no names: it is called this, with the digest of what is kept.
    pub dangling_prefix: Option<Reference>,
    /// Each of its names is given once more, with the digest of what is kept.
    pub canonical: bool,
    /// What its manifest and layers are to be when it is pushed or saved.
    pub form: ImageForm,
    /// Its layers are compressed and its manifest is made now, not when somebody wants them.
    pub packed: bool,
}

impl Kept {
    /// The names that end in the digest of what is kept.
    pub fn digest_names(&self, digest: &Digest) -> Vec<Reference> {
        let repositories = self.names.iter().filter(|_| self.canonical).chain(&self.dangling_prefix);
        repositories.map(|repository| repository.with_digest(digest.clone())).collect()
    }
}

/// How the manifest and the layers of an image are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageForm {
    /// Compression of layers.
    pub compression: Format,
    /// Layers of the base that are compressed otherwise are compressed anew.
    pub force_compression: bool,
    /// The media types of manifests.
    pub media_types: MediaTypes,
    /// Newer file times become SOURCE_DATE_EPOCH; of file systems, too.
    pub rewrite_timestamp: bool,
    /// What manifests and indexes are to carry.
    pub annotations: Vec<Annotation>,
}

/// Where a result goes besides the store, or instead of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// In which form.
    pub kind: OutputKind,
    /// Where: the client's word for it.
    pub destination: Destination,
    /// How what it consists of is written.
    pub form: ImageForm,
    /// `name=`, which stand for themselves where the request has no names.
    pub names: Vec<Reference>,
    /// Whether each platform's file system gets a directory of its own; where there are several, without.
    pub platform_split: Option<bool>,
}

impl Output {
    /// An output without anything special.
    pub fn new(kind: OutputKind, destination: Destination) -> Output {
        Output { kind, destination, form: ImageForm::default(), names: Vec::new(), platform_split: None }
    }
}

/// The form of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// An OCI layout as a tar.
    Oci,
    /// An OCI layout as a directory.
    OciDirectory,
    /// What `docker load` takes.
    Docker,
    /// The root file system as a tar.
    Tar,
    /// The root file system as a directory.
    Local,
}

/// Where an output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A path of the client's.
    Path(PathBuf),
    /// The client's standard output.
    Stdout,
    /// The registries of its names: it goes there as an image.
    Registry(Pushing),
}

/// How an image goes to registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushing {
    /// How they are to know it.
    pub pushed_as: PushedAs,
    /// They may have any certificate, or none.
    pub insecure: bool,
}

/// How a registry knows an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushedAs {
    /// By the tags of its names.
    Tags,
    /// By its digest alone, in the repositories of its names.
    Digest,
}
