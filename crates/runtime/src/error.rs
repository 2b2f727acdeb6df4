//! What can go wrong between asking for a container and its command running.
//!
//! Errors cross a process boundary: the helper finds them and the caller reports them, so they
//! are plain data (texts and error numbers), not chains of live errors.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// An error number of the kernel that survives the way from the helper to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Errno(pub i32);

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        // The standard library appends " (os error N)", which means nothing to a person.
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Errno(errno.raw_os_error())
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// Why a container did not start. When one of these is returned, nothing is left: no process,
/// no mount, and the mount points that were made for it are removed again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum StartError {
    /// The specification asks for something that this runtime does not do, or contradicts
    /// itself; nothing was tried.
    #[error("{field}: {reason}")]
    Spec {
        /// The member of the OCI runtime specification, dotted: `process.args`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The command's executable does not exist in the container (exit code 127).
    #[error("exec: {program:?}: {}", if *searched { "executable file not found in $PATH" } else { "no such file or directory" })]
    NotFound {
        /// The command's first word.
        program: String,
        /// Whether it has no slash and was looked for in `PATH`.
        searched: bool,
    },
    /// The executable exists, but the kernel does not run it: permission denied, a directory,
    /// an unknown format (exit code 126).
    #[error("exec: {program:?}: {errno}")]
    NotExecutable {
        /// The command's first word.
        program: String,
        /// EACCES, EISDIR, ENOEXEC, …
        errno: Errno,
    },
    /// The working directory cannot be made or entered (exit code 125).
    #[error("cannot enter the working directory {}: {errno}", path.display())]
    WorkingDirectory {
        /// The directory, as the container sees it.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// The rootfs has more layers than one overlay takes: the caller merges the oldest first.
    #[error("the rootfs has {count} layers, but an overlay takes at most {limit}")]
    TooManyLayers {
        /// How many distinct lower directories were asked for.
        count: usize,
        /// The kernel's limit.
        limit: usize,
    },
    /// The overlay that is the rootfs could not be mounted.
    #[error("cannot mount the overlay of {lowers} layers on {}: {errno}{}", upper.display(), detail(kernel))]
    Overlay {
        /// The upper directory.
        upper: PathBuf,
        /// How many lower directories it has.
        lowers: usize,
        /// Why.
        errno: Errno,
        /// The kernel's own explanation, empty if it gave none.
        kernel: String,
    },
    /// Something could not be mounted inside the container.
    #[error("cannot mount {what} at {}: {errno}{}", target.display(), detail(kernel))]
    Mount {
        /// The file system or the source.
        what: String,
        /// The mount point, as the container sees it.
        target: PathBuf,
        /// Why.
        errno: Errno,
        /// The kernel's own explanation, empty if it gave none.
        kernel: String,
    },
    /// Another step of the preparation was refused by the kernel.
    #[error("{action}: {errno}")]
    System {
        /// What was tried, in words.
        action: String,
        /// Why it failed.
        errno: Errno,
    },
    /// The helper process ended without saying why.
    #[error("the process that prepares containers ended early ({0})")]
    HelperDied(String),
}

impl StartError {
    /// The exit code that docker gives for this error: 127 not found, 126 not executable,
    /// 125 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::NotFound { .. } => 127,
            StartError::NotExecutable { .. } => 126,
            _ => 125,
        }
    }

    pub(crate) fn system(action: impl Into<String>, errno: impl Into<Errno>) -> Self {
        StartError::System { action: action.into(), errno: errno.into() }
    }

    pub(crate) fn spec(field: impl Into<String>, reason: impl Into<String>) -> Self {
        StartError::Spec { field: field.into(), reason: reason.into() }
    }
}

fn detail(kernel: &str) -> String {
    if kernel.is_empty() { String::new() } else { format!(" ({kernel})") }
}
