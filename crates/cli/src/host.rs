//! This machine, for a command: the store, what this process may do, the way to registries.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kiln_registry::server::MirrorAddress;
use kiln_registry::{Anonymous, Client, Config, CredentialSource, DockerConfig, RetryPolicy, Timeouts};
use kiln_runtime::Tier;
use kiln_store::{Mode, Store};

use crate::failure::{self, Failure, chain};

/// What commands work with.
pub(crate) struct Host {
    /// The store.
    pub(crate) store: Store,
    /// What this process may do.
    pub(crate) tier: Tier,
    /// The way to registries, with the user's credentials.
    pub(crate) registry: Client,
    /// For what waits.
    pub(crate) runtime: tokio::runtime::Runtime,
}

impl Host {
    /// Enters a user namespace where that is needed, and opens the store at `root` or at the usual place. No thread
    /// may run yet.
    pub(crate) fn open(root: Option<&Path>) -> Result<Self, Failure> {
        let place = Place::find(root)?;
        let store = place.open().map_err(|error| failure::of_store(&error, &place.root))?;
        place.host(store)
    }
}

/// Where the store is, and what this process may do there.
pub(crate) struct Place {
    /// The store's directory.
    pub(crate) root: PathBuf,
    /// How overlayfs's marks are spelt there.
    pub(crate) mode: Mode,
    tier: Tier,
}

impl Place {
    /// Enters a user namespace where that is needed. No thread may run yet.
    pub(crate) fn find(root: Option<&Path>) -> Result<Self, Failure> {
        let was_root = rustix::process::geteuid().is_root();
        let tier =
            kiln_runtime::rootless::enter().map_err(|error| Failure::new(format!("ERROR: {}", chain(&error))))?;
        let mode = if tier.is_rootless() { Mode::Rootless } else { Mode::Root };
        let root = root_directory(root, was_root, home().as_deref())?;
        Ok(Place { root, mode, tier })
    }

    /// Opens the store.
    pub(crate) fn open(&self) -> Result<Store, kiln_store::Error> {
        Store::open(&self.root, self.mode)
    }

    /// The machine with this store open.
    pub(crate) fn host(self, store: Store) -> Result<Host, Failure> {
        let registry = registry(home().as_deref())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build()?;
        Ok(Host { store, tier: self.tier, registry, runtime })
    }
}

/// The user's directory.
pub(crate) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// What was asked for, `KILN_ROOT`, or the usual place for root or for a user.
fn root_directory(given: Option<&Path>, was_root: bool, home: Option<&Path>) -> Result<PathBuf, Failure> {
    let variable = || std::env::var_os("KILN_ROOT").filter(|root| !root.is_empty()).map(PathBuf::from);
    if let Some(root) = given.map(Path::to_owned).or_else(variable) {
        return Ok(std::path::absolute(root)?);
    }
    if was_root {
        return Ok(PathBuf::from("/var/lib/kiln"));
    }
    if let Some(data) = std::env::var_os("XDG_DATA_HOME").filter(|data| !data.is_empty()) {
        return Ok(PathBuf::from(data).join("kiln"));
    }
    let home = home
        .ok_or_else(|| Failure::new("ERROR: neither KILN_ROOT nor HOME is set: where should kiln keep its store?"))?;
    Ok(home.join(".local/share/kiln"))
}

fn registry(home: Option<&Path>) -> Result<Client, Failure> {
    client(home, connections()?)
}

fn client(home: Option<&Path>, config: Config) -> Result<Client, Failure> {
    let credentials: Arc<dyn CredentialSource> = match docker_directory(home) {
        Some(directory) => Arc::new(docker_config(&directory)?),
        None => Arc::new(Anonymous),
    };
    Ok(Client::new(config, credentials))
}

/// The way to one registry, connected to as its address says. It gives up soon: who asks for a mirror's content waits
/// meanwhile, and asks again if need be.
pub(crate) fn client_of(address: &MirrorAddress) -> Result<Client, Failure> {
    let mut config = connections()?;
    let host = config.hosts.entry(address.domain.clone()).or_default();
    host.security = address.security.or(host.security);
    config.retry = RetryPolicy { attempts: 3, connect_attempts: 2, ..config.retry };
    config.timeouts = Timeouts { connect: Duration::from_secs(5), head: Duration::from_secs(30), ..config.timeouts };
    client(home().as_deref(), config)
}

/// How registries are connected to, as the configuration files say.
pub(crate) fn connections() -> Result<Config, Failure> {
    Ok(crate::config::Config::load()?.registries.client())
}

/// Where docker's command line keeps its settings for this user.
fn docker_directory(home: Option<&Path>) -> Option<PathBuf> {
    let given = std::env::var_os("DOCKER_CONFIG").filter(|directory| !directory.is_empty()).map(PathBuf::from);
    given.or_else(|| Some(home?.join(".docker")))
}

/// The credentials of this user, to be looked at and changed.
pub(crate) fn kept_credentials() -> Result<DockerConfig, Failure> {
    let directory = docker_directory(home().as_deref());
    docker_config(&directory.ok_or_else(|| {
        Failure::new("ERROR: neither DOCKER_CONFIG nor HOME is set: where are credentials to be kept?")
    })?)
}

/// The variable whose credentials count before the kept ones.
pub(crate) const CREDENTIALS_VARIABLE: &str = "DOCKER_AUTH_CONFIG";

/// The credentials that are kept there, and before them those of the environment.
fn docker_config(directory: &Path) -> Result<DockerConfig, Failure> {
    let words = |error: &kiln_registry::CredentialsError| Failure::new(format!("ERROR: {}", chain(error)));
    let kept = DockerConfig::read(&directory.join("config.json")).map_err(|error| words(&error))?;
    match std::env::var(CREDENTIALS_VARIABLE) {
        Ok(text) if !text.is_empty() => kept.after_variable(CREDENTIALS_VARIABLE, &text).map_err(|error| words(&error)),
        _ => Ok(kept),
    }
}
