//! Who `user[:group]` is: docker's rules over the bytes of `/etc/passwd` and `/etc/group`.
//!
//! Two questions with different answers: [`running`] for `USER` and `-u`, [`owning`] for `--chown`.
//! Pure functions; where the bytes come from is the caller's business. The files belong to an image,
//! so they may hold anything.

mod database;
mod owner;
mod runner;

#[cfg(test)]
mod tests;

pub use owner::{Owner, owning};
pub use runner::{Identity, running};

/// How much of `/etc/passwd` or `/etc/group` a caller should read, in bytes.
pub const FILE_LIMIT: u64 = 16 << 20;

/// The account files of a root file system; `None` where a file does not exist.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accounts<'a> {
    /// `/etc/passwd`.
    pub passwd: Option<&'a [u8]>,
    /// `/etc/group`.
    pub group: Option<&'a [u8]>,
}

/// Why a user or group is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// The name is in no passwd file.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    /// The name is in no group file.
    #[error("unable to find group {0}: no matching entries in group file")]
    UnknownGroup(String),
    /// A number that no user or group can have.
    #[error("uids and gids must be in range 0-2147483647, not {0}")]
    OutOfRange(String),
    /// A user who is in more groups than the kernel takes.
    #[error("user {user} is in {count} groups, but a process can be in at most {limit}")]
    TooManyGroups {
        /// The user as asked for.
        user: String,
        /// How many groups name them.
        count: usize,
        /// The kernel's limit.
        limit: usize,
    },
    /// A name for `--chown` where no account file could explain it.
    #[error("invalid user index: -1 (there is no /etc/passwd or /etc/group that could explain {0:?})")]
    NoAccounts(String),
}
