//! A directory of this machine as a build context, read in place.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use kiln_dockerfile::ignore::IgnoreMatcher;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::walk::{self, Walk};
use super::{Context, ContextEntry, ContextError, Snapshot};

/// A directory of this machine as a build context.
pub struct LocalContext {
    identity: String,
    root: OwnedFd,
    ignore: IgnoreMatcher,
    snapshot: OnceLock<Result<Arc<Snapshot>, ContextError>>,
}

impl LocalContext {
    /// Opens `directory`, to be read with the rules of an ignore file.
    ///
    /// # Errors
    /// No such directory, no permission, a rule that is no pattern.
    pub fn open(directory: &Path, ignore: Option<&str>) -> Result<Self, ContextError> {
        let unusable = |reason: String| ContextError::Unusable { path: directory.to_owned(), reason };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(directory, flags, Mode::empty()).map_err(|error| match error {
            rustix::io::Errno::NOENT => unusable("not found".into()),
            other => unusable(other.to_string()),
        })?;
        let identity = directory.canonicalize().map_err(|error| unusable(error.to_string()))?;
        let ignore = IgnoreMatcher::from_file(ignore.unwrap_or_default());
        let ignore = ignore.map_err(|error| ContextError::Ignore(error.to_string()))?;
        Ok(LocalContext { identity: identity.display().to_string(), root, ignore, snapshot: OnceLock::new() })
    }
}

impl Context for LocalContext {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, ContextError> {
        let walked = self.snapshot.get_or_init(|| Walk::new(&self.ignore).run(&self.root).map(Arc::new));
        walked.clone()
    }

    fn open(&self, path: &[u8]) -> Result<(File, ContextEntry), ContextError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(&self.root, path, flags, Mode::empty(), beneath);
        let file = File::from(opened.map_err(|error| ContextError::entry(path, error))?);
        let entry = walk::describe(&file, path)?;
        Ok((file, entry))
    }

    fn ignored_by(&self, path: &[u8]) -> Option<String> {
        let there = rustix::fs::statat(&self.root, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let rule = self.ignore.excluded_by(&String::from_utf8_lossy(path)).ok().flatten();
        rule.filter(|_| there).map(str::to_owned)
    }
}
