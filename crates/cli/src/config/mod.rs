//! What the user settled once for all commands: `config.toml`. Flags win over it.
//!
//! Read are `/etc/kiln/config.toml` and then the user's own, whose keys win; or only the file that `KILN_CONFIG`
//! names. This module knows files and keys, not what the values are used for.

mod limits;
mod read;
mod registries;
mod value;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

pub(crate) use value::{Space, duration};

use crate::failure::Failure;
use crate::host::home;

/// The file for all users of this machine.
const SYSTEM: &str = "/etc/kiln/config.toml";

/// Everything that the files say. What they do not say is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Config {
    /// The files that were read, in order.
    pub(crate) files: Vec<PathBuf>,
    /// `[build]`.
    pub(crate) build: BuildConfig,
    /// `[gc]`.
    pub(crate) gc: GcConfig,
    /// `[limits]`.
    pub(crate) limits: limits::LimitsConfig,
    /// `[registries]` and `[registry]`.
    pub(crate) registries: registries::RegistriesConfig,
}

/// `[build]`: how builds run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct BuildConfig {
    /// `jobs`: how many steps may run at once.
    pub(crate) jobs: Option<NonZeroUsize>,
    /// `step-timeout`: how long a step may run.
    pub(crate) step_timeout: Option<Duration>,
    /// `step-memory`: how many bytes a step may use.
    pub(crate) step_memory: Option<u64>,
    /// `step-cpus`: how many processors a step may keep busy.
    pub(crate) step_cpus: Option<f64>,
}

/// `[gc]`: how large the store may become.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct GcConfig {
    /// `quota`: how much disk the store may take.
    pub(crate) quota: Option<Space>,
    /// `keep-free`: how much of the disk shall stay free.
    pub(crate) keep_free: Option<Space>,
    /// `keep-newer-than`: what was used within this time stays, as far as the quota allows.
    pub(crate) keep_newer_than: Option<Duration>,
    /// `cache-mounts-quota`: how much disk cache mounts may take.
    pub(crate) cache_mounts_quota: Option<Space>,
}

impl Config {
    /// Reads the files; one that is not there says nothing, unless `KILN_CONFIG` names it.
    ///
    /// # Errors
    /// A file that cannot be read, is no TOML, has a key that does not exist or a value that makes no sense; the
    /// message names the place.
    pub(crate) fn load() -> Result<Self, Failure> {
        let mut config = Self::default();
        if let Some(file) = std::env::var_os("KILN_CONFIG").filter(|file| !file.is_empty()) {
            config.add(Path::new(&file), true)?;
            return Ok(config);
        }
        for file in [Some(PathBuf::from(SYSTEM)), users_file()].into_iter().flatten() {
            config.add(&file, false)?;
        }
        Ok(config)
    }

    fn add(&mut self, file: &Path, required: bool) -> Result<(), Failure> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => return Ok(()),
            Err(error) => return Err(Failure::new(format!("ERROR: cannot read {}: {error}", file.display()))),
        };
        read::into(self, &text).map_err(|problem| problem.failure(file, &text))?;
        self.files.push(file.to_owned());
        Ok(())
    }

    /// The files and what they say, key by key, as `info` shows it.
    pub(crate) fn shown(&self) -> Value {
        let BuildConfig { jobs, step_timeout, step_memory, step_cpus } = self.build;
        let GcConfig { quota, keep_free, keep_newer_than, cache_mounts_quota } = self.gc;
        let time = |time: Option<Duration>| time.map(|time| format!("{}s", time.as_secs_f64()));
        let space = |space: Option<Space>| space.map(|space| space.to_string());
        json!({
            "Files": self.files,
            "Build": said([
                ("jobs", json!(jobs)),
                ("step-timeout", json!(time(step_timeout))),
                ("step-memory", json!(step_memory)),
                ("step-cpus", json!(step_cpus)),
            ]),
            "Gc": said([
                ("quota", json!(space(quota))),
                ("keep-free", json!(space(keep_free))),
                ("keep-newer-than", json!(time(keep_newer_than))),
                ("cache-mounts-quota", json!(space(cache_mounts_quota))),
            ]),
            "Limits": self.limits.shown(),
            "Registries": self.registries.shown(),
            "Registry": self.registries.shown_hosts(),
        })
    }
}

fn said<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Below `XDG_CONFIG_HOME`, or where that usually is.
fn users_file() -> Option<PathBuf> {
    let directory = std::env::var_os("XDG_CONFIG_HOME").filter(|directory| !directory.is_empty()).map(PathBuf::from);
    Some(directory.or_else(|| Some(home()?.join(".config")))?.join("kiln/config.toml"))
}
