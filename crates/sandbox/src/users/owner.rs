//! Whom copied files belong to: `--chown`.

use super::database;
use super::{Accounts, UserError};

/// Whom files belong to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Resolves `user[:group]` for files, as BuildKit does for `COPY --chown`.
///
/// A number is both user and group; a name brings passwd's group. A name that the files do not
/// know is user 0 with group 0; an unknown group takes the user's number. A number is what fits into 32 bits
/// with a sign: a negative one counts down from 4294967296, -1 leaves root, and a greater one is a name.
///
/// # Errors
/// A name where the root file system has neither passwd nor group file.
pub fn owning(chown: &str, accounts: Accounts<'_>) -> Result<Owner, UserError> {
    let (user, group) = chown.split_once(':').unwrap_or((chown, ""));
    let owner = user_part(user, accounts)?;
    if group.is_empty() { Ok(owner) } else { Ok(Owner { gid: group_part(group, owner.uid, accounts)?, ..owner }) }
}

fn user_part(user: &str, accounts: Accounts<'_>) -> Result<Owner, UserError> {
    if user.is_empty() {
        return Ok(Owner::default());
    }
    if let Some(id) = numeric(user) {
        return Ok(Owner { uid: id, gid: id });
    }
    let passwd = known(accounts.passwd, user, accounts)?;
    let entry = database::passwd(passwd).find(|entry| entry.name == user.as_bytes());
    Ok(entry.map_or(Owner::default(), |entry| Owner { uid: entry.uid, gid: entry.gid }))
}

fn group_part(group: &str, uid: u32, accounts: Accounts<'_>) -> Result<u32, UserError> {
    if let Some(id) = numeric(group) {
        return Ok(id);
    }
    let groups = known(accounts.group, group, accounts)?;
    let entry = database::group(groups).find(|entry| entry.name == group.as_bytes());
    Ok(entry.map_or(uid, |entry| entry.gid))
}

/// The file's bytes; an error where there is no account file at all.
fn known<'a>(file: Option<&'a [u8]>, name: &str, accounts: Accounts<'_>) -> Result<&'a [u8], UserError> {
    if accounts.passwd.is_none() && accounts.group.is_none() {
        return Err(UserError::NoAccounts(name.into()));
    }
    Ok(file.unwrap_or_default())
}

fn numeric(text: &str) -> Option<u32> {
    match text.parse::<i32>() {
        Ok(-1) => Some(0),
        Ok(id) => Some(id.cast_unsigned()),
        Err(_) => None,
    }
}
