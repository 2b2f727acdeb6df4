//! What a container is to be: the image's config and what its user said, as docker merges them.

use std::collections::BTreeMap;

use kiln_oci::{ContainerConfig, HealthCheck};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::create::CreateOptions;
use crate::{Error, environment};

/// The `PATH` of containers whose image sets none.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What belongs to the container itself (docker's `Config`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The host name inside.
    pub hostname: String,
    /// `user[:group]`; empty is root.
    pub user: String,
    /// A terminal.
    pub tty: bool,
    /// Input is kept open.
    pub open_stdin: bool,
    /// Streams to the caller (`-a`): input, output, errors.
    pub attach: [bool; 3],
    /// `NAME=value`, the image's included.
    pub env: Vec<String>,
    /// Arguments.
    pub cmd: Option<Vec<String>>,
    /// Program and first arguments.
    pub entrypoint: Option<Vec<String>>,
    /// The image as it was asked for.
    pub image: String,
    /// Paths that are anonymous volumes.
    pub volumes: Vec<String>,
    /// The working directory; empty is `/`.
    pub working_dir: String,
    /// Labels, the image's included.
    pub labels: BTreeMap<String, String>,
    /// Ports that the image exposes.
    pub exposed_ports: BTreeMap<String, Map<String, Value>>,
    /// The signal that asks it to end; empty is SIGTERM.
    pub stop_signal: String,
    /// The image's health check.
    pub healthcheck: Option<HealthCheck>,
    /// Triggers of the image.
    pub on_build: Vec<String>,
    /// The shell of shell-form instructions.
    pub shell: Vec<String>,
}

/// What belongs to the place where it runs (docker's `HostConfig`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSettings {
    /// `-v` values, as given.
    pub binds: Vec<String>,
    /// The network.
    pub network: Network,
    /// Remove it when it ends.
    pub auto_remove: bool,
    /// `/` cannot be written.
    pub read_only: bool,
    /// All that kiln itself may do.
    pub privileged: bool,
    /// A tiny pid 1.
    pub init: bool,
    /// `NAME:ADDRESS` lines for `/etc/hosts`.
    pub extra_hosts: Vec<String>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// File systems in memory: path and options.
    pub tmpfs: BTreeMap<String, String>,
}

/// The network of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Docker's `bridge`; the host's, until there are networks.
    #[default]
    Default,
    /// The host's.
    Host,
    /// Nothing but `lo`.
    None,
}

impl Network {
    /// Docker's name for it.
    pub fn mode(self) -> &'static str {
        match self {
            Network::Default => "default",
            Network::Host => "host",
            Network::None => "none",
        }
    }
}

impl Settings {
    /// What `options` make of the image's config.
    pub(super) fn merged(options: &CreateOptions, image: &ContainerConfig) -> Result<Self, Error> {
        let (entrypoint, cmd) = command(options, image);
        if entrypoint.iter().chain(&cmd).flatten().next().is_none() {
            return Err(Error::NoCommand);
        }
        let working_dir = options.working_dir.clone().unwrap_or_else(|| image.working_dir.clone());
        if !working_dir.is_empty() && !working_dir.starts_with('/') {
            return Err(Error::RelativeWorkingDirectory(working_dir));
        }
        let mut labels = image.labels.clone();
        labels.extend(options.labels.clone());
        let (paths, _) = split_volumes(&options.volumes);
        let mut volumes: Vec<String> = image.volumes.keys().cloned().chain(paths).collect();
        volumes.sort();
        volumes.dedup();
        Ok(Settings {
            hostname: options.hostname.clone().unwrap_or_default(),
            user: options.user.clone().unwrap_or_else(|| image.user.clone()),
            tty: options.tty,
            open_stdin: options.open_stdin,
            attach: [options.open_stdin, true, true],
            env: with_path(environment::merged(&options.env, &image.env)),
            cmd,
            entrypoint,
            image: options.image.clone(),
            volumes,
            working_dir,
            labels,
            exposed_ports: image.exposed_ports.clone(),
            stop_signal: image.stop_signal.clone(),
            healthcheck: image.healthcheck.clone(),
            on_build: image.on_build.clone(),
            shell: image.shell.clone(),
        })
    }

    /// Program and arguments.
    pub(super) fn args(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.cmd).flatten().cloned().collect()
    }

    /// The environment of the process, without `HOME`.
    pub(super) fn process_env(&self) -> Vec<String> {
        let mut base = vec![DEFAULT_PATH.to_string(), format!("HOSTNAME={}", self.hostname)];
        if self.tty {
            base.push("TERM=xterm".into());
        }
        environment::replaced_or_appended(base, &self.env)
    }
}

/// An entrypoint of the user's makes the image's command void; an empty one makes the image's
/// entrypoint void, too.
fn command(options: &CreateOptions, image: &ContainerConfig) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let given = (!options.command.is_empty()).then(|| options.command.clone());
    match &options.entrypoint {
        Some(entrypoint) => {
            let entrypoint = entrypoint.iter().any(|word| !word.is_empty()).then(|| entrypoint.clone());
            (entrypoint, given)
        }
        None => (image.entrypoint.clone().filter(|words| !words.is_empty()), given.or_else(|| image.cmd.clone())),
    }
}

/// `-v` values that are only a path (anonymous volumes), and the others.
pub(super) fn split_volumes(values: &[String]) -> (Vec<String>, Vec<String>) {
    values.iter().cloned().partition(|value| !value.contains(':'))
}

fn with_path(env: Vec<String>) -> Vec<String> {
    if env.iter().any(|variable| variable.starts_with("PATH=")) {
        return env;
    }
    let mut env = env;
    env.push(DEFAULT_PATH.into());
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ContainerConfig {
        ContainerConfig {
            entrypoint: Some(vec!["/entry".into()]),
            cmd: Some(vec!["default".into()]),
            env: vec!["PATH=/bin".into(), "A=image".into()],
            user: "kiln".into(),
            working_dir: "/w".into(),
            ..ContainerConfig::default()
        }
    }

    fn check(options: &CreateOptions, want: &[&str]) {
        let settings = Settings::merged(options, &image()).unwrap();
        assert_eq!(settings.args(), want.iter().map(ToString::to_string).collect::<Vec<_>>());
    }

    #[test]
    fn the_command_is_merged_as_docker_does() {
        let plain = CreateOptions::default();
        check(&plain, &["/entry", "default"]);
        check(&CreateOptions { command: vec!["x".into()], ..plain.clone() }, &["/entry", "x"]);
        check(&CreateOptions { entrypoint: Some(vec!["/e".into()]), ..plain.clone() }, &["/e"]);
        let cleared =
            CreateOptions { entrypoint: Some(vec![String::new()]), command: vec!["x".into()], ..plain.clone() };
        check(&cleared, &["x"]);
        let nothing = CreateOptions { entrypoint: Some(Vec::new()), ..plain };
        assert!(matches!(Settings::merged(&nothing, &image()), Err(Error::NoCommand)));
    }

    #[test]
    fn the_process_sees_path_then_hostname_then_the_rest() {
        let options = CreateOptions { env: vec!["A=1".into(), "B=2".into()], ..CreateOptions::default() };
        let mut settings = Settings::merged(&options, &image()).unwrap();
        settings.hostname = "h".into();
        assert_eq!(settings.process_env(), ["PATH=/bin", "HOSTNAME=h", "A=1", "B=2"]);
        assert_eq!((settings.user.as_str(), settings.working_dir.as_str()), ("kiln", "/w"));
    }
}
