//! Starting a container.

use std::path::PathBuf;

use kiln_sandbox::{AccountFiles, Execution, Mount, Process, Security, Source, Streams, Upper, users};
use kiln_store::{LockGuard, Sharing, Union};

use super::attached::Attached;
use super::record::Container;
use super::settings::Network;
use super::{directories, parse};
use crate::{Engine, Error};

impl Engine {
    /// Starts a container that does not run, and hands over its streams. It ends with this
    /// process.
    ///
    /// `size` are rows and columns of the terminal, if the container has one.
    ///
    /// # Errors
    /// No such container, one that runs already, or a start that fails; the container then keeps
    /// the reason in its state (and goes, if it was made with `auto_remove`).
    pub fn start(&self, name: &str, size: Option<(u16, u16)>) -> Result<Attached, Error> {
        let found = self.container(name)?;
        let lock = self.lock(&found.id)?.ok_or_else(|| Error::AlreadyRunning(name.into()))?;
        let mut container = self.container(&found.id)?;
        let started =
            self.execution(&container, &lock, size).and_then(|execution| Ok(self.sandbox.start(execution)?));
        match started {
            Ok(running) => {
                container.state.started(running.pid());
                self.keep(&container)?;
                Ok(Attached::new(self.clone(), container, running, lock))
            }
            Err(error) => {
                self.after_failed_start(&mut container, &error)?;
                Err(error)
            }
        }
    }

    /// The lock that whoever runs or removes a container holds; `None` if somebody does.
    pub(super) fn lock(&self, id: &str) -> Result<Option<LockGuard>, Error> {
        let key = self.store.containers().lock_key(id);
        Ok(self.store.locks().try_acquire(key, Sharing::Exclusive)?)
    }

    fn after_failed_start(&self, container: &mut Container, error: &Error) -> Result<(), Error> {
        if container.host.auto_remove {
            return self.discard(container, true);
        }
        container.state.failed(error.run_exit_code(), error.to_string());
        self.keep(container)
    }

    fn execution(&self, container: &Container, lock: &LockGuard, size: Option<(u16, u16)>) -> Result<Execution, Error> {
        let layers = self.container_layers(container)?;
        let rootfs = Union::new(layers.clone())?;
        // What goes with the container need not survive a crash of the machine.
        let volatile = container.host.auto_remove;
        let upper = directories::upper(&self.store.containers().directory(&container.id), &rootfs, volatile)?;
        let process = process(container, &rootfs, &upper)?;
        let mut execution = Execution::container(layers, upper, process, &container.settings.hostname);
        execution.read_only = container.host.read_only;
        execution.network = network(container.host.network);
        let hosts = container.host.extra_hosts.iter().map(|line| parse::extra_host(line));
        execution.extra_hosts = hosts.collect::<Result<_, _>>()?;
        execution.shm_size = container.host.shm_size;
        execution.init = container.host.init;
        execution.mounts = mounts(container)?;
        if container.host.privileged {
            execution.security = Security::Insecure;
        }
        execution.streams = match (container.settings.tty, container.settings.open_stdin) {
            (true, _) => Streams::Terminal { size },
            (false, true) => Streams::CapturedWithInput,
            (false, false) => Streams::Captured,
        };
        execution.held_locks.push(lock.duplicate()?);
        Ok(execution)
    }
}

fn process(container: &Container, rootfs: &Union, upper: &Upper) -> Result<Process, Error> {
    let settings = &container.settings;
    let files = AccountFiles::of_layers(rootfs)?.changed_by(&upper.fs);
    let identity = users::running(&settings.user, files.accounts()).map_err(kiln_sandbox::Error::User)?;
    let cwd = if settings.working_dir.is_empty() { "/" } else { &settings.working_dir };
    Ok(Process::new(settings.args(), settings.process_env(), cwd, identity))
}

fn network(network: Network) -> kiln_sandbox::Network {
    match network {
        Network::Default => kiln_sandbox::Network::Default,
        Network::Host => kiln_sandbox::Network::Host,
        Network::None => kiln_sandbox::Network::None,
    }
}

fn mounts(container: &Container) -> Result<Vec<Mount>, Error> {
    let tmpfs = container.host.tmpfs.iter().map(|(path, options)| parse::tmpfs(path, options));
    let others = container.mounts.iter().map(|mount| Mount {
        target: PathBuf::from(&mount.destination),
        source: Source::Host(mount.source.clone()),
        read_only: !mount.writable,
    });
    tmpfs.chain(others.map(Ok)).collect()
}
