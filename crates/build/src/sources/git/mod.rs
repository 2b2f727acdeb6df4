//! Trees of git repositories. A ref is resolved to a commit once a build; what a commit holds is a layer for ever.
//!
//! git runs without any configuration but ours, without hooks, prompts and unusual transports. What is fetched is kept
//! per address in the store, so that the next commit brings only what is new.

mod checkout;
mod command;
mod remote;
mod repository;
mod submodules;

use kiln_graph::GitSource;
use kiln_store::{Key, Layer, Metadata, Timestamp};

use super::{SourceError, SourceKey, Sources, Watch, key_of};
use checkout::Checkout;
use command::Git;

/// What a ref stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// The commit, 40 or 64 hexadecimal digits.
    pub(super) commit: String,
    /// The full name of the ref, such as `refs/heads/main`; none for a commit that was named itself.
    pub(super) name: Option<String>,
}

impl Sources {
    /// The key of the tree that a source means now. A commit that is named in full needs no network.
    pub(super) fn repository_key(&self, source: &GitSource, watch: &Watch<'_>) -> Result<SourceKey, SourceError> {
        Ok(SourceKey { key: tree_key(source, &self.commit(source, watch)?), fetched: false })
    }

    /// The layer with the tree that a source means; from the store if it is there.
    pub(super) fn repository(&self, source: &GitSource, watch: &Watch<'_>) -> Result<Layer, SourceError> {
        let resolved = self.commit(source, watch)?;
        if let Some((layer, _)) = self.recorded(&tree_key(source, &resolved))? {
            return Ok(layer);
        }
        let root = Metadata::root_owned(0o755, Timestamp::now());
        let writer = self.store.layers().stage(&root)?.writer()?;
        let checkout = Checkout { sources: self, keep_git_directory: source.keep_git_directory, watch };
        checkout.tree(&source.url, &resolved, source.subdirectory.as_deref(), &writer)?;
        let layer = writer.commit()?;
        self.record("repository", layer.id(), String::new(), &[tree_key(source, &resolved)])?;
        Ok(layer)
    }

    /// The commit that a source means: the same for a whole build.
    fn commit(&self, source: &GitSource, watch: &Watch<'_>) -> Result<Resolved, SourceError> {
        remote::check_address(&source.url)?;
        // A checksum that is a whole commit says more than the default branch.
        let whole = source.checksum.as_deref().filter(|checksum| remote::is_commit(checksum));
        let reference = source.reference.as_deref().or(whole).unwrap_or_default();
        let question = (source.url.clone(), reference.to_owned());
        let known = self.commits.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(&question).cloned();
        let resolved = match known {
            Some(resolved) => resolved,
            None => {
                let resolved = self.git(&source.url, watch)?.resolve(&source.url, reference)?;
                let mut commits = self.commits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                commits.entry(question).or_insert(resolved).clone()
            }
        };
        match &source.checksum {
            Some(expected) if !resolved.commit.starts_with(expected.as_str()) => {
                Err(SourceError::Commit { expected: expected.clone(), actual: resolved.commit })
            }
            _ => Ok(resolved),
        }
    }

    /// git for talking to `address`.
    fn git<'a>(&'a self, address: &str, watch: &'a Watch<'a>) -> Result<Git<'a>, SourceError> {
        Git::for_address(address, &*self.client, &self.store, watch)
    }
}

/// The key of a tree. `.git` holds the address and the ref; without it the address counts for relative submodules.
fn tree_key(source: &GitSource, resolved: &Resolved) -> Key {
    let address = kiln_dockerfile::without_credentials(&source.url);
    let name = resolved.name.as_deref().filter(|_| source.keep_git_directory).unwrap_or_default();
    let kept = if source.keep_git_directory { "with .git" } else { "" };
    let subdirectory = source.subdirectory.as_deref().unwrap_or_default();
    key_of("kiln repository 1", &[&address, &resolved.commit, subdirectory, kept, name])
}
