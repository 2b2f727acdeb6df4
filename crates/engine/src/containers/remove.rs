//! Removing containers.

use super::record::{Container, Phase};
use crate::{Engine, Error};

impl Engine {
    /// Removes a container with its changes; with `volumes` its anonymous volumes, too. With
    /// `force` a running one is killed first.
    ///
    /// # Errors
    /// No such container, or one that runs.
    pub fn remove(&self, name: &str, force: bool, volumes: bool) -> Result<(), Error> {
        let container = self.container(name)?;
        let Some(lock) = self.lock(&container.id)? else {
            if !force || container.state.phase != Phase::Running {
                return Err(Error::Running(name.into()));
            }
            return self.kill_and_remove(&container, volumes);
        };
        self.discard(&container, volumes)?;
        drop(lock);
        Ok(())
    }

    /// Removes row, directory and, if asked, anonymous volumes. The caller holds the lock.
    pub(super) fn discard(&self, container: &Container, volumes: bool) -> Result<(), Error> {
        self.store.containers().remove(&container.id)?;
        if volumes {
            self.remove_anonymous_volumes(&container.mounts);
        }
        Ok(())
    }

    fn kill_and_remove(&self, container: &Container, volumes: bool) -> Result<(), Error> {
        if let Some(pid) = i32::try_from(container.state.pid).ok().and_then(rustix::process::Pid::from_raw) {
            // It may have ended in the meantime; the lock tells.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let key = self.store.containers().lock_key(&container.id);
        let _lock = self.store.locks().acquire(key, kiln_store::Sharing::Exclusive, &|| false)?;
        match self.discard(container, volumes) {
            // Its runner removed it, as `--rm` asks.
            Err(Error::NoSuchContainer(_)) => Ok(()),
            result => result,
        }
    }
}
