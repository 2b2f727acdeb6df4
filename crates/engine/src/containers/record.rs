//! A container as it is kept: its settings and its state, one JSON value in the store.

use std::path::PathBuf;

use kiln_oci::Digest;
use kiln_store::{Sharing, Timestamp};
use serde::{Deserialize, Serialize};

use super::settings::{HostSettings, Settings};
use crate::{Engine, Error, moment};

/// The exit code of a container that was killed.
const KILLED: u8 = 137;

/// A container.
#[derive(Clone, Debug)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, without the slash.
    pub name: String,
    /// The image's id.
    pub image: Option<Digest>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// What it is.
    pub settings: Settings,
    /// Where it runs.
    pub host: HostSettings,
    /// What is mounted into it.
    pub mounts: Vec<MountPoint>,
    /// How it is.
    pub state: ContainerState,
    pub(crate) row: kiln_store::Container,
}

/// What is kept of a container beside its row.
#[derive(Serialize, Deserialize)]
pub(crate) struct Value {
    pub(crate) settings: Settings,
    pub(crate) host: HostSettings,
    pub(crate) mounts: Vec<MountPoint>,
    pub(crate) state: ContainerState,
}

/// How a container is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// Where in its life.
    pub phase: Phase,
    /// Process id of its pid 1 while it runs, 0 otherwise.
    pub pid: u32,
    /// Of the last run.
    pub exit_code: u8,
    /// Why the last start failed; empty otherwise.
    pub error: String,
    /// The kernel killed something in it because of a memory limit.
    pub out_of_memory: bool,
    /// When it started last, RFC 3339.
    pub started_at: Option<String>,
    /// When it ended last, RFC 3339.
    pub finished_at: Option<String>,
    /// The session of the store that made it to start it at once, until it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starter: Option<String>,
}

/// Where in its life a container is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Never started.
    #[default]
    Created,
    /// Runs.
    Running,
    /// Ran.
    Exited,
}

impl Phase {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Created => "created",
            Phase::Running => "running",
            Phase::Exited => "exited",
        }
    }
}

/// Something mounted into a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// The volume's name; `None` for a path of the host.
    pub volume: Option<String>,
    /// What is mounted, on the host.
    pub source: PathBuf,
    /// Where, in the container.
    pub destination: String,
    /// Docker's mode words.
    pub mode: String,
    /// It can be written.
    pub writable: bool,
    /// A volume that nobody named: goes with the container where asked.
    pub anonymous: bool,
}

impl Engine {
    /// A container by name, id, or unambiguous beginning of the id.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`] where there is none.
    pub fn container(&self, name: &str) -> Result<Container, Error> {
        let bare = name.strip_prefix('/').unwrap_or(name);
        let row = self.store.containers().find(bare)?;
        let container = row.map(|row| self.observed(row)).transpose()?.flatten();
        container.ok_or_else(|| Error::NoSuchContainer(name.into()))
    }

    /// All containers, newest first.
    ///
    /// # Errors
    /// What the store says.
    pub fn containers(&self) -> Result<Vec<Container>, Error> {
        self.store.containers().list()?.into_iter().filter_map(|row| self.observed(row).transpose()).collect()
    }

    /// A container as it really is: one that is kept as running while nobody holds its lock has
    /// lost its runner, and its processes with it. `None` if it shall not outlive them.
    fn observed(&self, row: kiln_store::Container) -> Result<Option<Container>, Error> {
        let container = Container::from_row(row)?;
        if container.state.phase != Phase::Running && !self.is_orphan(&container)? {
            return Ok(Some(container));
        }
        let key = self.store.containers().lock_key(&container.id);
        let Some(_lock) = self.store.locks().try_acquire(key, Sharing::Exclusive)? else { return Ok(Some(container)) };
        // Its runner may have written the end between the look-up and the lock, or removed it.
        let Some(row) = self.store.containers().find(&container.id)? else { return Ok(None) };
        let mut container = Container::from_row(row)?;
        if container.state.phase != Phase::Running && !self.is_orphan(&container)? {
            return Ok(Some(container));
        }
        if container.host.auto_remove {
            self.discard(&container, true)?;
            return Ok(None);
        }
        container.state.ended(KILLED, false);
        self.keep(&container)?;
        Ok(Some(container))
    }

    /// Whether it was made to run once and go, and who would have started it is gone.
    fn is_orphan(&self, container: &Container) -> Result<bool, Error> {
        match &container.state.starter {
            Some(session) if container.host.auto_remove => Ok(!self.store.is_session_alive(session)?),
            _ => Ok(false),
        }
    }

    pub(crate) fn keep(&self, container: &Container) -> Result<(), Error> {
        Ok(self.store.containers().update(&container.id, &container.value()?)?)
    }
}

impl ContainerState {
    pub(crate) fn started(&mut self, pid: u32) {
        *self = ContainerState {
            phase: Phase::Running,
            pid,
            started_at: Some(moment::text(Timestamp::now())),
            finished_at: self.finished_at.take(),
            ..ContainerState::default()
        };
    }

    pub(crate) fn ended(&mut self, exit_code: u8, out_of_memory: bool) {
        self.phase = Phase::Exited;
        self.pid = 0;
        self.exit_code = exit_code;
        self.out_of_memory = out_of_memory;
        self.finished_at = Some(moment::text(Timestamp::now()));
    }

    /// A start that failed leaves a container that never ran as it was, but for the reason.
    pub(crate) fn failed(&mut self, exit_code: u8, error: String) {
        self.pid = 0;
        self.exit_code = exit_code;
        self.error = error;
    }
}

impl Container {
    pub(crate) fn from_row(row: kiln_store::Container) -> Result<Self, Error> {
        let value: Value = serde_json::from_str(&row.value)
            .map_err(|source| Error::Damaged { what: format!("container {}", row.id), source })?;
        Ok(Container {
            id: row.id.clone(),
            name: row.name.clone(),
            image: row.image.clone(),
            created: moment::text(row.created),
            settings: value.settings,
            host: value.host,
            mounts: value.mounts,
            state: value.state,
            row,
        })
    }

    /// The first twelve digits of the id.
    pub fn short_id(&self) -> &str {
        short(&self.id)
    }

    /// Program and arguments.
    pub fn args(&self) -> Vec<String> {
        self.settings.args()
    }

    fn value(&self) -> Result<String, Error> {
        let value = Value {
            settings: self.settings.clone(),
            host: self.host.clone(),
            mounts: self.mounts.clone(),
            state: self.state.clone(),
        };
        value.text(&self.id)
    }
}

impl Value {
    pub(crate) fn text(&self, id: &str) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|source| Error::Damaged { what: format!("container {id}"), source })
    }
}

/// The first twelve digits of an id.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
