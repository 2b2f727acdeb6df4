//! Making a container: settings, name, volumes, its row.

use std::collections::BTreeMap;

use kiln_oci::{Digest, Platform};
use kiln_sandbox::emulation::{self, NoEmulation};
use kiln_store::{Layer, NewContainer, Union};

use super::parse;
use super::record::{Container, ContainerState, MountPoint, Value};
use super::settings::{HostSettings, Network, Settings};
use crate::{Engine, Error, names, volumes};

/// How often a generated name is tried before its clash is reported.
const NAME_ATTEMPTS: u32 = 8;

/// What the caller of `create` says.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// The image, by name or id.
    pub image: String,
    /// `--platform`: which of the image's; without, that which its name means by itself.
    pub platform: Option<Platform>,
    /// The words behind the image.
    pub command: Vec<String>,
    /// `--name`.
    pub name: Option<String>,
    /// `--entrypoint`; `Some` and empty (or one empty word) clears the image's.
    pub entrypoint: Option<Vec<String>>,
    /// `-e` and the contents of `--env-file`, resolved to `NAME=value`; a `NAME` alone takes the
    /// image's variable away.
    pub env: Vec<String>,
    /// `-u`.
    pub user: Option<String>,
    /// `-w`.
    pub working_dir: Option<String>,
    /// `-h`.
    pub hostname: Option<String>,
    /// `-t`.
    pub tty: bool,
    /// `-i`.
    pub open_stdin: bool,
    /// `-v`: `PATH`, `VOLUME:PATH[:MODE]`, `/HOST/PATH:PATH[:MODE]`.
    pub volumes: Vec<String>,
    /// `-l`.
    pub labels: BTreeMap<String, String>,
    /// `--network`.
    pub network: Network,
    /// `--rm`.
    pub auto_remove: bool,
    /// The caller starts it at once: if it ends before it did, nobody else will.
    pub starts_at_once: bool,
    /// `--read-only`.
    pub read_only: bool,
    /// `--privileged`.
    pub privileged: bool,
    /// `--init`.
    pub init: bool,
    /// `--add-host`, `NAME:ADDRESS`.
    pub extra_hosts: Vec<String>,
    /// `--shm-size` in bytes.
    pub shm_size: Option<u64>,
    /// `--tmpfs`, path and options (`size=…`, `mode=…`, `ro`).
    pub tmpfs: BTreeMap<String, String>,
}

impl Engine {
    /// Makes a container without starting it.
    ///
    /// # Errors
    /// No such image, a name that is taken or is none, nothing to run, mounts that cannot be.
    pub fn create(&self, options: &CreateOptions) -> Result<Container, Error> {
        let name = options.name.as_deref().map(names::checked).transpose()?.map(str::to_owned);
        for line in &options.extra_hosts {
            parse::extra_host(line)?;
        }
        for (path, words) in &options.tmpfs {
            parse::tmpfs(path, words)?;
        }
        // Looking at them lets those go that should have gone with their runner, and their names.
        self.containers()?;
        let image = self.find_image_for(&options.image, options.platform.as_ref()).map_err(|error| match error {
            // Docker's client looks at the name before it asks.
            Error::ImageName(error) => Error::Reference(error),
            error => error,
        })?;
        let config = self.image_config(&image)?.container();
        let mut settings = Settings::merged(options, &config)?;
        let id = names::id()?;
        if settings.hostname.is_empty() {
            settings.hostname = default_hostname(options.network, &id);
        }
        let layers = self.image_layers(&image)?;
        let rootfs = Union::new(layers.clone())?;
        let mounts = self.mount_points(options, &settings, &rootfs)?;
        let value = Value { settings, host: host_settings(options), mounts, state: self.new_state(options) };
        let row = self.insert(name, &id, &image.id, &layers, &value);
        if row.is_err() {
            self.remove_anonymous_volumes(&value.mounts);
        }
        Container::from_row(row?)
    }

    /// The platform of a container's image, where that is not this machine's.
    ///
    /// # Errors
    /// What the store says.
    pub fn foreign_platform(&self, container: &Container) -> Result<Option<Platform>, Error> {
        let Some(id) = &container.row.image else { return Ok(None) };
        let platform = self.store.images().get(id)?.map(|image| image.platform);
        Ok(platform.filter(|platform| !Platform::host().accepts(platform)))
    }

    /// Why a container's program did not start, where that has to do with the processor that it is for.
    pub fn not_emulated(&self, container: &Container, error: &Error) -> Option<NoEmulation> {
        let Error::Start(start) = error else { return None };
        let platform = self.foreign_platform(container).ok()?.unwrap_or_else(Platform::host);
        emulation::explain(&platform, start)
    }

    fn new_state(&self, options: &CreateOptions) -> ContainerState {
        let starter = options.starts_at_once.then(|| self.store.session_name().to_owned());
        ContainerState { starter, ..ContainerState::default() }
    }

    fn insert(
        &self,
        name: Option<String>,
        id: &str,
        image: &Digest,
        layers: &[Layer],
        value: &Value,
    ) -> Result<kiln_store::Container, Error> {
        let mut new = NewContainer {
            id: id.into(),
            name: String::new(),
            image: Some(image.clone()),
            layers: layers.iter().map(Layer::id).collect(),
            value: value.text(id)?,
        };
        let Some(name) = name else { return self.insert_under_generated_name(new) };
        new.name = name;
        Ok(self.store.containers().create(&new)?)
    }

    fn insert_under_generated_name(&self, mut new: NewContainer) -> Result<kiln_store::Container, Error> {
        let mut attempt = 0;
        loop {
            new.name = names::generated(attempt)?;
            match self.store.containers().create(&new) {
                Err(kiln_store::Error::NameTaken { .. }) if attempt < NAME_ATTEMPTS => attempt += 1,
                result => return Ok(result?),
            }
        }
    }

    /// Binds, named volumes and anonymous ones; volumes are made and filled from the image.
    fn mount_points(
        &self,
        options: &CreateOptions,
        settings: &Settings,
        rootfs: &Union,
    ) -> Result<Vec<MountPoint>, Error> {
        let mut mounts: Vec<MountPoint> = Vec::new();
        for value in options.volumes.iter().filter(|value| value.contains(':')) {
            mounts.push(self.mount_point(&volumes::Specification::parse(value)?, rootfs)?);
        }
        for path in &settings.volumes {
            if !mounts.iter().any(|mount| mount.destination == *path) && !options.tmpfs.contains_key(path) {
                let anonymous = volumes::Specification::anonymous(path)?;
                mounts.push(self.mount_point(&anonymous, rootfs)?);
            }
        }
        // A mount below another one comes after it.
        mounts.sort_by_key(|mount| mount.destination.matches('/').count());
        Ok(mounts)
    }
}

fn host_settings(options: &CreateOptions) -> HostSettings {
    HostSettings {
        binds: options.volumes.iter().filter(|value| value.contains(':')).cloned().collect(),
        network: options.network,
        auto_remove: options.auto_remove,
        read_only: options.read_only,
        privileged: options.privileged,
        init: options.init,
        extra_hosts: options.extra_hosts.clone(),
        shm_size: options.shm_size,
        tmpfs: options.tmpfs.clone(),
    }
}

fn default_hostname(network: Network, id: &str) -> String {
    match network {
        Network::Host => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        Network::Default | Network::None => super::record::short(id).to_owned(),
    }
}
