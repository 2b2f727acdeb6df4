//! What a caller says beside the text: arguments, platforms, contexts, base images.

use std::collections::BTreeMap;

use kiln_graph::{ExtraHost, NetworkMode, Ulimit};
use kiln_oci::{Digest, ImageConfig, Platform, Reference};

/// What is asked of a Dockerfile beyond its text.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// `--build-arg`, by name.
    pub build_args: BTreeMap<String, String>,
    /// `--label`, by name. Wins over LABEL, is not expanded, leaves no history entry.
    pub labels: BTreeMap<String, String>,
    /// `--target`: a stage's name. The last stage without.
    pub target: Option<String>,
    /// The platform to build for.
    pub target_platform: Platform,
    /// The platform that the build runs on.
    pub build_platform: Platform,
    /// Whether several platforms are built at once; display names then carry the platform.
    pub multi_platform: bool,
    /// `--build-context`, by name as the user wrote it.
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// Which steps must not come from the cache.
    pub no_cache: NoCache,
    /// `--network`: for RUN instructions that do not say.
    pub network: NetworkMode,
    /// `--add-host`.
    pub extra_hosts: Vec<ExtraHost>,
    /// `--shm-size` in bytes.
    pub shm_size: Option<u64>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
}

impl PlanOptions {
    /// Nothing special, for `platform`.
    pub fn new(platform: Platform) -> PlanOptions {
        PlanOptions {
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            target: None,
            build_platform: platform.clone(),
            target_platform: platform,
            multi_platform: false,
            named_contexts: BTreeMap::new(),
            no_cache: NoCache::default(),
            network: NetworkMode::default(),
            extra_hosts: Vec::new(),
            shm_size: None,
            ulimits: Vec::new(),
            cgroup_parent: None,
        }
    }
}

/// What a `--build-context` name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory, archive, repository or download that the caller presents as a context of that name.
    Files,
    /// An image, wherever the caller finds it (`docker-image://`, `oci-layout://`).
    Image,
}

/// Which steps must not come from the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// Everything may.
    #[default]
    Nothing,
    /// `--no-cache`.
    Everything,
    /// `--no-cache-filter`: stages by name.
    Stages(Vec<String>),
}

/// A base image that a plan needs to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base {
    /// Which image.
    pub name: BaseName,
    /// `OS/ARCH[/VARIANT]` that it must be for.
    pub platform: String,
}

/// How a base image is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BaseName {
    /// By reference.
    Image(Reference),
    /// By the name of a `--build-context` that is an image.
    NamedContext(String),
}

/// What the caller found out about a base image.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedBase {
    /// The reference as resolved.
    pub reference: Reference,
    /// The digest of its manifest, where known.
    pub manifest: Option<Digest>,
    /// Its config, with its diff ids.
    pub config: ImageConfig,
}

/// Base images that are known.
pub type Bases = BTreeMap<Base, ResolvedBase>;
