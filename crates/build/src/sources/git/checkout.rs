//! From a commit to entries of a layer: a working tree made aside, submodules included, then taken in as root's with
//! plain modes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_store::{Hashing, Kind, LayerWriter, Metadata, Timestamp};

use super::Resolved;
use super::command::Git;
use super::repository::Repository;
use super::submodules::{self, Submodule};
use crate::context::{Context, LocalContext};
use crate::sources::{SourceError, Sources, Watch};
use crate::tree::{Node, Tree, components, join, lossy};

/// How deep submodules may have submodules.
const DEEPEST: usize = 16;

/// A checkout into a layer.
pub(super) struct Checkout<'a> {
    pub(super) sources: &'a Sources,
    pub(super) keep_git_directory: bool,
    pub(super) watch: &'a Watch<'a>,
}

impl Checkout<'_> {
    /// Puts a commit, or a directory of it, at the root of a layer.
    pub(super) fn tree(
        &self,
        address: &str,
        resolved: &Resolved,
        subdirectory: Option<&str>,
        writer: &LayerWriter,
    ) -> Result<(), SourceError> {
        let wanted = subdirectory.map(|text| components(text.as_bytes()).collect::<Vec<_>>().join(&b'/'));
        let wanted = wanted.unwrap_or_default();
        let whole = self.sources.store.scratch()?;
        let tree = whole.join("tree");
        let made = self.working_tree(address, resolved, &tree, &wanted, 0);
        let taken = made.and_then(|()| self.take_in(&tree, &wanted, subdirectory.unwrap_or_default(), writer));
        // What stays goes with the session.
        let _ = std::fs::remove_dir_all(&whole);
        taken
    }

    /// Makes a working tree in the new directory `tree`, with submodules that lie in or above `wanted`.
    fn working_tree(
        &self,
        address: &str,
        resolved: &Resolved,
        tree: &Path,
        wanted: &[u8],
        depth: usize,
    ) -> Result<(), SourceError> {
        std::fs::create_dir(tree).map_err(SourceError::local("making a directory"))?;
        let repository = self.sources.with_commit(address, resolved, self.watch)?;
        let git = Git::local(&self.sources.store, self.watch)?;
        repository.check_out(&git, &resolved.commit, tree)?;
        if self.keep_git_directory && depth == 0 {
            self.keep(&git, &repository, address, resolved, tree)?;
        }
        let modules = submodules::list(&repository, &git, &resolved.commit, address)?;
        // Submodules have repositories of their own to lock, perhaps this one again.
        drop(repository);
        modules.iter().filter(|module| touches(module.path.as_bytes(), wanted)).try_for_each(|module| {
            let failed = |reason: String| SourceError::Submodule { path: module.path.clone(), reason };
            match self.submodule(module, tree, wanted, depth) {
                Err(SourceError::Cancelled) => Err(SourceError::Cancelled),
                other => other.map_err(|error| failed(error.to_string())),
            }
        })
    }

    fn submodule(&self, module: &Submodule, tree: &Path, wanted: &[u8], depth: usize) -> Result<(), SourceError> {
        let invalid =
            |value: &str, reason| SourceError::Invalid { what: "invalid submodule", value: value.into(), reason };
        let address = module.address.as_ref().map_err(|reason| invalid(&module.path, reason))?;
        super::remote::check_address(address)?;
        if depth >= DEEPEST {
            return Err(invalid(&module.path, "submodules are nested too deeply"));
        }
        let place = empty_directory(tree, &module.path)?;
        let below = wanted.strip_prefix(module.path.as_bytes()).unwrap_or_default();
        let below = below.strip_prefix(b"/").unwrap_or(below);
        let resolved = Resolved { commit: module.commit.clone(), name: None };
        self.working_tree(address, &resolved, &place, below, depth + 1)
    }

    /// Makes `.git`: the commit alone, detached, with the address as origin.
    fn keep(
        &self,
        git: &Git<'_>,
        repository: &Repository,
        address: &str,
        resolved: &Resolved,
        tree: &Path,
    ) -> Result<(), SourceError> {
        let mut from = std::ffi::OsString::from("file://");
        from.push(&repository.path);
        let shown = kiln_dockerfile::without_credentials(address);
        let run = |args: &[&OsStr]| git.run("checkout", tree, args, &[]).map(drop);
        run(&["init", "--quiet", "--template=", "."].map(OsStr::new))?;
        let fetch = ["fetch", "--quiet", "--no-tags", "--depth=1", "--no-write-fetch-head", "--"].map(OsStr::new);
        run(&[&fetch[..], &[&from, OsStr::new(&resolved.commit)]].concat())?;
        run(&["update-ref", "--no-deref", "HEAD", &resolved.commit].map(OsStr::new))?;
        if let Some(name) = resolved.name.as_deref().filter(|name| name.starts_with("refs/tags/")) {
            run(&["update-ref", name, &resolved.commit].map(OsStr::new))?;
        }
        run(&["config", "remote.origin.url", &shown].map(OsStr::new))?;
        run(&["config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"].map(OsStr::new))?;
        run(&["reset", "--quiet", "--mixed", "HEAD"].map(OsStr::new))?;
        for name in ["logs", "FETCH_HEAD", "ORIG_HEAD"] {
            let path = tree.join(".git").join(name);
            let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
        }
        Ok(())
    }

    /// Takes a directory of a working tree into a layer.
    fn take_in(&self, tree: &Path, wanted: &[u8], written: &str, writer: &LayerWriter) -> Result<(), SourceError> {
        let context = LocalContext::open(tree, None)?;
        let snapshot = context.snapshot()?;
        let files = Tree::Context(Arc::new(context), snapshot);
        let missing = || SourceError::NoSuchDirectory(written.to_owned());
        let root = files.resolve(wanted).map_err(|_| missing())?;
        if files.lookup(&root).is_none_or(|node| node.kind != Kind::Directory) {
            return Err(missing());
        }
        let skip = if root.is_empty() { 0 } else { root.len() + 1 };
        for node in files.below(&root) {
            self.watch.check()?;
            take_entry(&files, &node, node.path.get(skip..).unwrap_or_default(), writer)?;
        }
        Ok(())
    }
}

/// Whether a submodule lies in or above what is wanted.
fn touches(path: &[u8], wanted: &[u8]) -> bool {
    let begins = |long: &[u8], short: &[u8]| {
        short.is_empty() || long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    begins(path, wanted) || begins(wanted, path)
}

/// Takes away the empty directory that git made for a submodule, and says where it was. Its parents are directories
/// that git made for this very commit, where a link and something below it cannot both be.
fn empty_directory(tree: &Path, path: &str) -> Result<PathBuf, SourceError> {
    let mut place = tree.to_owned();
    let parts: Vec<&[u8]> = components(path.as_bytes()).collect();
    for (number, part) in parts.iter().enumerate() {
        place.push(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(part));
        let is_directory = place.symlink_metadata().is_ok_and(|status| status.is_dir());
        if *part == b".." || *part == b".git" || !is_directory {
            let path = lossy(&parts[..=number].iter().fold(Vec::new(), |path, part| join(&path, part)));
            return Err(SourceError::NoSuchDirectory(path));
        }
    }
    std::fs::remove_dir(&place).map_err(SourceError::local("making room for a submodule"))?;
    Ok(place)
}

fn take_entry(files: &Tree, node: &Node, path: &[u8], writer: &LayerWriter) -> Result<(), SourceError> {
    let metadata = |mode| Metadata::root_owned(mode, Timestamp::now());
    match node.kind {
        Kind::Directory => writer.directory(path, &metadata(0o755))?,
        Kind::Symlink => writer.symlink(path, node.target(), &metadata(0o777))?,
        Kind::File => {
            let mode = if node.mode & 0o100 != 0 { 0o755 } else { 0o644 };
            let failed = |error: crate::tree::TreeError| SourceError::Local {
                action: "reading a checkout",
                error: Arc::new(std::io::Error::other(error.to_string())),
            };
            let (source, _) = files.open(node).map_err(failed)?;
            let mut file = writer.file(path, &metadata(mode), Hashing::Now)?;
            file.copy_from_file(&source)?;
            file.finish()?;
        }
        // git makes nothing else.
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_submodules_that_are_wanted_count() {
        assert!(touches(b"lib/a", b""));
        assert!(touches(b"lib/a", b"lib"));
        assert!(touches(b"lib", b"lib/a/b"));
        assert!(!touches(b"library", b"lib"));
        assert!(!touches(b"lib", b"library"));
    }
}
