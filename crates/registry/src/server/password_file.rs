//! The lines of an htpasswd file, read again when it changes.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Bcrypt hashes by user.
pub(super) type Hashes = BTreeMap<String, String>;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 16 << 20;

/// A file that changed less than this ago may have changed again without a trace in its times.
const UNSETTLED: Duration = Duration::from_secs(2);

/// What is wrong with an htpasswd file. No hash is part of a message.
#[derive(Debug, thiserror::Error)]
pub enum HtpasswdError {
    /// It cannot be read.
    #[error("cannot read the users of the registry from {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line that is no user with a bcrypt password.
    #[error("{}:{line}: {reason}\nhint: add users with `htpasswd -B {} NAME`", .path.display(), .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nobody could pass.
    #[error("{} has no users\nhint: add some with `htpasswd -B {} NAME`", .0.display(), .0.display())]
    Empty(PathBuf),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

/// By what a file that changed is told: inode, size, times in nanoseconds.
type Stamp = (u64, u64, i128, i128);

/// An htpasswd file and what was in it.
pub(super) struct PasswordFile {
    path: PathBuf,
    read: Mutex<(Option<Stamp>, Arc<Hashes>)>,
}

impl std::fmt::Debug for PasswordFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.fmt(f)
    }
}

impl PasswordFile {
    /// Reads the file.
    pub(super) fn open(path: &Path) -> Result<PasswordFile, HtpasswdError> {
        let (stamp, hashes) = read(path)?;
        Ok(PasswordFile { path: path.to_owned(), read: Mutex::new((stamp, Arc::new(hashes))) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is in the file now; if it became unusable, why, and what was in it before. That is told once a change.
    pub(super) fn current(&self) -> Result<Arc<Hashes>, (HtpasswdError, Arc<Hashes>)> {
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = fs::metadata(&self.path).ok().and_then(|metadata| stamp(&metadata));
        if stamp.is_some() && stamp == known.0 {
            return Ok(Arc::clone(&known.1));
        }
        match read(&self.path) {
            Ok((stamp, hashes)) => {
                *known = (stamp, Arc::new(hashes));
                Ok(Arc::clone(&known.1))
            }
            Err(error) => {
                known.0 = stamp;
                Err((error, Arc::clone(&known.1)))
            }
        }
    }
}

/// `None` for a file that may change without its stamp.
fn stamp(metadata: &Metadata) -> Option<Stamp> {
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    let changed = nanoseconds(metadata.ctime(), metadata.ctime_nsec());
    let modified = nanoseconds(metadata.mtime(), metadata.mtime_nsec());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.checked_sub(UNSETTLED)?;
    let is_settled = u128::try_from(changed).is_ok_and(|changed| changed < now.as_nanos());
    is_settled.then(|| (metadata.ino(), metadata.size(), modified, changed))
}

fn read(path: &Path) -> Result<(Option<Stamp>, Hashes), HtpasswdError> {
    let unreadable = |source| HtpasswdError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let stamp = stamp(&file.metadata().map_err(unreadable)?);
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).map_err(unreadable)?;
    let mut hashes = Hashes::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |reason| HtpasswdError::Line { path: path.to_owned(), line: number + 1, reason };
        let (user, hash) = line.split_once(':').ok_or_else(|| wrong("no NAME:HASH"))?;
        if hash.parse::<bcrypt::HashParts>().is_err() {
            return Err(wrong("the password is no bcrypt hash; nothing else is taken"));
        }
        // As in other programs, the first line of a user counts.
        hashes.entry(user.to_owned()).or_insert_with(|| hash.to_owned());
    }
    if hashes.is_empty() {
        return Err(HtpasswdError::Empty(path.to_owned()));
    }
    Ok((stamp, hashes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$04$cNu7dqca45d8llP.SLMm2OsdXuPx.EYM0355IKW/WAOe/y0uWSFlq";

    fn parse(text: &str) -> Result<Hashes, HtpasswdError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("htpasswd");
        fs::write(&path, text).unwrap();
        read(&path).map(|(_, hashes)| hashes)
    }

    #[test]
    fn comments_and_blank_lines_are_passed_over() {
        let hashes = parse(&format!("# users\n\n ada:{HASH} \nbob:{HASH}\n")).unwrap();
        assert_eq!(hashes.keys().collect::<Vec<_>>(), ["ada", "bob"]);
        assert_eq!(hashes["ada"], HASH);
    }

    #[test]
    fn other_hashes_are_refused_with_their_line_and_not_shown() {
        for secret in ["$apr1$abcdefgh$0123456789012345678901", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "plain", ""] {
            let said = parse(&format!("ada:{HASH}\nbob:{secret}\n")).unwrap_err().to_string();
            assert!(said.contains("htpasswd:2:") && (secret.is_empty() || !said.contains(secret)), "{said}");
        }
        assert!(parse("ada\n").unwrap_err().to_string().contains("htpasswd:1:"));
    }

    #[test]
    fn a_file_without_users_is_refused() {
        assert!(matches!(parse("# nobody\n"), Err(HtpasswdError::Empty(_))));
        assert!(matches!(PasswordFile::open(Path::new("/nowhere")), Err(HtpasswdError::Unreadable { .. })));
    }
}
