//! Starting and running executions.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use kiln_runtime::{Launch, MountPoints, Overlay, Rootfs, Seccomp, Stdio, Tier};
use kiln_store::{StagedLayer, Store, Union};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::execution::{Execution, Security, Streams, Upper};
use crate::files::{Directory, Files};
use crate::mounts::Mounts;
use crate::rootfs::Lowers;
use crate::users::{self, Identity, Owner};
use crate::{AccountFiles, Error, Finished, Output, Pipes, Running, rootfs, spec};

/// Runs processes on layers of one store. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox {
    store: Store,
    tier: Tier,
    files: Arc<OnceLock<Arc<Directory>>>,
}

impl Sandbox {
    /// For a store and what this process may do.
    pub fn new(store: Store, tier: Tier) -> Self {
        Sandbox { store, tier, files: Arc::default() }
    }

    /// What this process may do.
    pub fn tier(&self) -> &Tier {
        &self.tier
    }

    /// Who `user[:group]` is on `rootfs`, for a process; see [`users::running`].
    ///
    /// # Errors
    /// Unknown names, and account files that cannot be read.
    pub fn identity(&self, user: &str, rootfs: &Union) -> Result<Identity, Error> {
        Ok(users::running(user, AccountFiles::of_layers(rootfs)?.accounts())?)
    }

    /// Whom `--chown user[:group]` means on `rootfs`; see [`users::owning`].
    ///
    /// # Errors
    /// A name where there are no account files, and account files that cannot be read.
    pub fn owner(&self, chown: &str, rootfs: &Union) -> Result<Owner, Error> {
        Ok(users::owning(chown, AccountFiles::of_layers(rootfs)?.accounts())?)
    }

    /// Where small files for mounting are; made at the first use.
    fn files(&self) -> Result<Arc<Directory>, Error> {
        if let Some(directory) = self.files.get() {
            return Ok(Arc::clone(directory));
        }
        // Of two who come here at once, one's directory is kept.
        let made = Arc::new(Directory::new(&self.store)?);
        Ok(Arc::clone(self.files.get_or_init(|| made)))
    }

    /// Starts a process; returns when it runs.
    ///
    /// # Errors
    /// All of [`Error`] but `Wait`; then nothing runs and nothing is mounted.
    pub fn start(&self, mut execution: Execution) -> Result<Running, Error> {
        if execution.cancellation.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let mut mounts = Mounts::new(&self.store, Files::new(self.files()?));
        mounts.add_name_files(&execution)?;
        for mount in std::mem::take(&mut execution.mounts) {
            mounts.add(mount)?;
        }
        let (mounts, kept) = mounts.finish();
        let (upper, discarded) = self.upper(&mut execution)?;
        let (stdio, pipes) = stdio(std::mem::replace(&mut execution.streams, Streams::Captured))?;
        let lowers = rootfs::lowers(&self.store, &execution.layers)?;
        let mut launch = self.launch(&mut execution, &lowers, upper)?;
        launch.mounts = mounts;
        launch.stdio = stdio;
        let container = kiln_runtime::start(launch)?;
        let registration = execution.cancellation.register(container.signaller());
        Ok(Running {
            container,
            pipes,
            cancellation: execution.cancellation,
            // A time that no clock reaches is none.
            deadline: execution.bounds.time.and_then(|time| Instant::now().checked_add(time)),
            timed_out: false,
            _registration: registration,
            _kept: Box::new((kept, discarded, lowers)),
        })
    }

    fn launch(&self, execution: &mut Execution, lowers: &Lowers, upper: Upper) -> Result<Launch, Error> {
        let lowers = lowers.paths.clone();
        let rootfs = Rootfs::Overlay(Overlay { lowers, upper: upper.fs, work: upper.work, volatile: upper.volatile });
        let mut launch = Launch::new(spec::specification(execution)?, rootfs, self.tier.clone());
        launch.init = execution.init;
        launch.held = std::mem::take(&mut execution.held_locks);
        // What the process uses of this session must not be swept while it lives.
        launch.held.push(self.store.session_lock()?);
        if execution.keep_mount_points {
            launch.mount_points = MountPoints::Keep;
        }
        if execution.security == Security::Insecure {
            launch.seccomp = Seccomp::Unconfined;
        }
        Ok(launch)
    }

    /// Where changes go; with the directory to throw away afterwards where nobody wants them.
    fn upper(&self, execution: &mut Execution) -> Result<(Upper, Option<StagedLayer>), Error> {
        if let Some(upper) = execution.upper.take() {
            return Ok((upper, None));
        }
        let staged = rootfs::discarded_upper(&self.store, &execution.layers)?;
        let upper = Upper { fs: staged.fs_path().into(), work: staged.work_path().into(), volatile: true };
        Ok((upper, Some(staged)))
    }

    /// Runs a process to its end or that of its time, handing its output to `output` as it comes.
    ///
    /// # Errors
    /// All of [`Error`]; a process that fails is not one.
    pub fn run(&self, execution: Execution, output: &mut Output<'_>) -> Result<Finished, Error> {
        let mut running = self.start(execution)?;
        running.stream(output)?;
        running.wait()
    }
}

/// The runtime's streams, and the caller's ends of those that are captured.
fn stdio(streams: Streams) -> Result<(Stdio, Option<Pipes>), Error> {
    let with_input = match streams {
        Streams::Captured => false,
        Streams::CapturedWithInput => true,
        Streams::Descriptors { stdin, stdout, stderr } => return Ok((Stdio::Streams { stdin, stdout, stderr }, None)),
        Streams::Terminal { size } => return Ok((Stdio::Terminal { size }, None)),
    };
    let new = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| Error::io("make a pipe", error));
    let (stdout, inner_stdout) = new()?;
    let (stderr, inner_stderr) = new()?;
    let (inner_stdin, stdin) =
        if with_input { new().map(|(read, write)| (Some(read), Some(write)))? } else { (None, None) };
    let stdio = Stdio::Streams { stdin: inner_stdin, stdout: Some(inner_stdout), stderr: Some(inner_stderr) };
    Ok((stdio, Some(Pipes { stdin, stdout, stderr })))
}
