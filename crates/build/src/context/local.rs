//! A directory of this machine as a build context, read in place.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use kiln_dockerfile::ignore::IgnoreMatcher;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::walk::{self, Walk};
use super::{Context, ContextEntry, ContextError, IgnoreFile, IgnoreRule, Snapshot};

/// A directory of this machine as a build context.
pub struct LocalContext {
    identity: String,
    root: OwnedFd,
    ignore: IgnoreMatcher,
    ignore_file: IgnoreFile,
    snapshot: OnceLock<Result<Arc<Snapshot>, ContextError>>,
}

impl LocalContext {
    /// Opens `directory`, to be read with the rules of an ignore file.
    ///
    /// # Errors
    /// No such directory, no permission, a rule that is no pattern.
    pub fn open(directory: &Path, ignore: Option<&IgnoreFile>) -> Result<Self, ContextError> {
        let unusable = |reason: String| ContextError::Unusable { path: directory.to_owned(), reason };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(directory, flags, Mode::empty()).map_err(|error| match error {
            rustix::io::Errno::NOENT => unusable("not found".into()),
            other => unusable(other.to_string()),
        })?;
        let identity = directory.canonicalize().map_err(|error| unusable(error.to_string()))?;
        let ignore_file = ignore.cloned().unwrap_or_default();
        let ignore = ignore_file.matcher()?;
        let identity = identity.display().to_string();
        Ok(LocalContext { identity, root, ignore, ignore_file, snapshot: OnceLock::new() })
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

    fn ignored_by(&self, path: &[u8]) -> Option<IgnoreRule> {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), beneath).ok()?;
        let pattern = self.ignore.excluded_by(&String::from_utf8_lossy(path)).ok().flatten()?;
        self.ignore_file.rule(pattern)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        std::fs::create_dir_all(at("d/e")).unwrap();
        for path in ["d/x", "d/e/y", "d-z", "skip.md"] {
            std::fs::write(at(path), path).unwrap();
        }
        symlink("/etc", at("out")).unwrap();
        directory
    }

    fn ignoring(text: &str) -> IgnoreFile {
        IgnoreFile { name: ".dockerignore".into(), text: text.into() }
    }

    fn paths(snapshot: &Snapshot) -> Vec<String> {
        snapshot.entries().iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
    }

    #[test]
    fn all_but_sockets_is_there_in_order() {
        let directory = tree();
        let _socket = UnixListener::bind(directory.path().join("socket")).unwrap();
        let context = LocalContext::open(directory.path(), None).unwrap();
        let snapshot = context.snapshot().unwrap();
        assert_eq!(paths(&snapshot), ["d", "d/e", "d/e/y", "d/x", "d-z", "out", "skip.md"]);
        assert_eq!(snapshot.get(b"out").unwrap().target.as_deref(), Some(&b"/etc"[..]));
    }

    #[test]
    fn ignored_directories_stay_where_an_exception_is_below() {
        let directory = tree();
        let context = LocalContext::open(directory.path(), Some(&ignoring("d\n!d/e/y\n*.md\nout\n"))).unwrap();
        assert_eq!(paths(&context.snapshot().unwrap()), ["d", "d/e", "d/e/y", "d-z"]);
        assert_eq!(context.ignored_by(b"skip.md").unwrap().to_string(), ".dockerignore:3: *.md");
        assert_eq!(context.ignored_by(b"missing.md"), None);
        assert_eq!(context.ignored_by(b"d-z"), None);
    }

    #[test]
    fn nothing_is_opened_through_a_link_or_outside() {
        let directory = tree();
        let context = LocalContext::open(directory.path(), None).unwrap();
        assert!(context.open(b"d/x").is_ok());
        for path in [&b"out"[..], b"out/passwd", b"../x", b"/etc/passwd", b"gone", b"d"] {
            assert!(context.open(path).is_err(), "{}", String::from_utf8_lossy(path));
        }
    }

    #[test]
    fn what_cannot_be_a_context_is_said() {
        let directory = tree();
        let message =
            |path: &str, ignore: Option<&IgnoreFile>| match LocalContext::open(&directory.path().join(path), ignore) {
                Ok(_) => panic!("{path} was opened"),
                Err(error) => error.to_string(),
            };
        assert!(message("missing", None).contains("not found"));
        assert!(message("d/x", None).contains("d/x"));
        assert!(message("d", Some(&ignoring("["))).contains(".dockerignore:1"));
    }
}
