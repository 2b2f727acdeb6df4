//! Who a process runs as: `USER`, `--user`.

use std::collections::BTreeSet;

use super::database::{self, ID_LIMIT, PasswdEntry};
use super::{Accounts, UserError};

/// More groups the kernel does not take (`NGROUPS_MAX`).
const GROUPS_LIMIT: usize = 65_536;

/// Who a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// The supplementary groups: `gid` first, then the others, sorted.
    pub additional_gids: Vec<u32>,
    /// The home directory: passwd's, or `/`.
    pub home: String,
}

impl Identity {
    /// Root, for where no account file is to be asked.
    pub fn root() -> Self {
        Identity { uid: 0, gid: 0, additional_gids: vec![0], home: "/root".into() }
    }
}

/// Resolves `user[:group]` for a process. An empty user is uid 0.
///
/// A user whom passwd knows (by name, or by number) has passwd's group and home, and every group
/// that names them. A number that it does not know has group 0 and home `/`. A group given after
/// the colon takes the place of all groups. The primary group is among the supplementary ones too, so that
/// a process that changes its group keeps what it was denied as a member of it.
///
/// # Errors
/// Names that the files do not know, and numbers above 2147483647.
pub fn running(user: &str, accounts: Accounts<'_>) -> Result<Identity, UserError> {
    let (user, group) = user.split_once(':').unwrap_or((user, ""));
    let entry = find_user(user, accounts)?;
    let mut identity = match (&entry, user) {
        (Some(entry), _) => Identity { uid: entry.uid, gid: entry.gid, additional_gids: Vec::new(), home: home(entry) },
        (None, "") => Identity::root(),
        (None, _) => Identity { uid: numeric_user(user)?, gid: 0, additional_gids: Vec::new(), home: "/".into() },
    };
    let others = match entry {
        _ if !group.is_empty() => {
            identity.gid = find_group(group, accounts)?;
            Vec::new()
        }
        Some(entry) => groups_of(entry.name, user, identity.gid, accounts)?,
        None => Vec::new(),
    };
    identity.additional_gids = std::iter::once(identity.gid).chain(others).collect();
    Ok(identity)
}

fn find_user<'a>(user: &str, accounts: Accounts<'a>) -> Result<Option<PasswdEntry<'a>>, UserError> {
    let wanted = if user.is_empty() { Some(0) } else { database::number(user.as_bytes()) };
    let entry = database::passwd(accounts.passwd.unwrap_or_default())
        .find(|entry| entry.name == user.as_bytes() || wanted == Some(entry.uid));
    match entry {
        Some(entry) if entry.uid > ID_LIMIT || entry.gid > ID_LIMIT => Err(UserError::OutOfRange(user.into())),
        entry => Ok(entry),
    }
}

fn numeric_user(user: &str) -> Result<u32, UserError> {
    numeric(user, || UserError::UnknownUser(user.into()))
}

fn find_group(group: &str, accounts: Accounts<'_>) -> Result<u32, UserError> {
    let named = database::group(accounts.group.unwrap_or_default()).find(|entry| entry.name == group.as_bytes());
    match named {
        Some(entry) if entry.gid > ID_LIMIT => Err(UserError::OutOfRange(group.into())),
        Some(entry) => Ok(entry.gid),
        None => numeric(group, || UserError::UnknownGroup(group.into())),
    }
}

/// An id that stands for itself; `otherwise` where the text is no number at all.
fn numeric(text: &str, otherwise: impl FnOnce() -> UserError) -> Result<u32, UserError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(otherwise());
    }
    match database::number(text.as_bytes()) {
        Some(id) if id <= ID_LIMIT => Ok(id),
        _ => Err(UserError::OutOfRange(text.into())),
    }
}

fn groups_of(name: &[u8], user: &str, primary: u32, accounts: Accounts<'_>) -> Result<Vec<u32>, UserError> {
    let gids: BTreeSet<u32> = database::group(accounts.group.unwrap_or_default())
        .filter(|entry| entry.gid != primary && entry.gid <= ID_LIMIT && entry.has_member(name))
        .map(|entry| entry.gid)
        .collect();
    if gids.len() > GROUPS_LIMIT {
        return Err(UserError::TooManyGroups { user: user.into(), count: gids.len(), limit: GROUPS_LIMIT });
    }
    Ok(gids.into_iter().collect())
}

/// A home that cannot be an environment value or path is none.
fn home(entry: &PasswdEntry<'_>) -> String {
    match std::str::from_utf8(entry.home) {
        Ok(home) if home.starts_with('/') && !home.contains('\0') => home.into(),
        _ => "/".into(),
    }
}
