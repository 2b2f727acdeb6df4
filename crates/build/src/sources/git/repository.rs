//! What was fetched of a repository, kept in the store without a working tree, one per address.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use kiln_store::{LockGuard, Sharing};

use super::super::attempts::passes;
use super::Resolved;
use super::command::{Git, argument};
use crate::sources::{SourceError, Sources, Watch};

/// A repository of the store, locked.
pub(super) struct Repository {
    pub(super) path: PathBuf,
    _lock: LockGuard,
}

/// Lock files that a git leaves when it is killed.
const STALE: [&str; 5] = ["shallow.lock", "HEAD.lock", "config.lock", "packed-refs.lock", "index.lock"];

impl Sources {
    /// The repository of `address` with the commit in it, fetched if it is not.
    pub(super) fn with_commit(
        &self,
        address: &str,
        resolved: &Resolved,
        watch: &Watch<'_>,
    ) -> Result<Repository, SourceError> {
        let known = kiln_dockerfile::without_credentials(address);
        let repositories = self.store.repositories();
        let lock = self.store.locks().acquire(repositories.lock_key(&known), Sharing::Exclusive, watch.cancelled)?;
        let git = self.git(address, watch)?;
        let path = match repositories.get(&known)? {
            Some(path) => path,
            None => repositories.install(&self.fresh(&git)?, &known)?,
        };
        for name in STALE {
            let _ = std::fs::remove_file(path.join(name));
        }
        let repository = Repository { path, _lock: lock };
        if !repository.has(&git, &resolved.commit) {
            repository.fetch(&git, address, resolved)?;
        }
        Ok(repository)
    }

    /// An empty repository, made aside.
    fn fresh(&self, git: &Git<'_>) -> Result<PathBuf, SourceError> {
        let path = self.store.scratch()?;
        let args = ["init", "--quiet", "--bare", "--template=", "."];
        git.run("init", &path, &args.map(OsStr::new), &[])?;
        Ok(path)
    }
}

impl Repository {
    fn has(&self, git: &Git<'_>, commit: &str) -> bool {
        let object = format!("{commit}^{{commit}}");
        git.run("cat-file", &self.path, &["cat-file", "-e", &object].map(OsStr::new), &[]).is_ok()
    }

    /// Fetches the commit by itself; servers that give only what refs name are asked for the ref, or for all.
    fn fetch(&self, git: &Git<'_>, address: &str, resolved: &Resolved) -> Result<(), SourceError> {
        let address = argument(address);
        let by_commit = self.fetch_one(git, &address, &resolved.commit);
        let Err(error) = by_commit else { return Ok(()) };
        if passes(&error) {
            return Err(error);
        }
        if let Some(name) = &resolved.name
            && self.fetch_one(git, &address, name).is_ok()
            && self.has(git, &resolved.commit)
        {
            return Ok(());
        }
        if matches!(error, SourceError::Cancelled | SourceError::GitMissing(_)) {
            return Err(error);
        }
        let all = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--force",
            "--",
            &address,
            "+refs/heads/*:refs/remotes/all/*",
            "+refs/tags/*:refs/tags/*",
        ];
        if git.run("fetch", &self.path, &all.map(OsStr::new), &[]).is_ok() && self.has(git, &resolved.commit) {
            return Ok(());
        }
        Err(error)
    }

    fn fetch_one(&self, git: &Git<'_>, address: &str, what: &str) -> Result<(), SourceError> {
        let args = ["fetch", "--quiet", "--no-tags", "--depth=1", "--update-shallow", "--", address, what];
        git.ask_elsewhere("fetch", &self.path, &args.map(OsStr::new)).map(drop)
    }

    /// Writes the files of a commit into `tree`.
    pub(super) fn check_out(&self, git: &Git<'_>, commit: &str, tree: &Path) -> Result<(), SourceError> {
        let index = tree.with_extension("index");
        let git_directory = git_directory(&self.path);
        let args = [
            &git_directory,
            OsStr::new("--work-tree=."),
            OsStr::new("read-tree"),
            OsStr::new("--reset"),
            OsStr::new("-u"),
            OsStr::new(commit),
        ];
        git.run("checkout", tree, &args, &[("GIT_INDEX_FILE", index.as_os_str())])?;
        let _ = std::fs::remove_file(index);
        Ok(())
    }

    /// What git prints for a question about the repository.
    pub(super) fn ask(&self, git: &Git<'_>, action: &'static str, args: &[&str]) -> Result<Vec<u8>, SourceError> {
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        git.run(action, &self.path, &args, &[])
    }
}

fn git_directory(path: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from("--git-dir=");
    argument.push(path);
    argument
}
