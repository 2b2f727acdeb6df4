//! What `system prune`, `container prune`, `image prune` and `builder prune` mean, and what the build cache consists of.

use std::collections::BTreeSet;

use kiln_oci::Digest;
use kiln_store::{CacheEntry, CacheKind, CachePart, Freed, Prune, Sharing};

use crate::containers::Phase;
use crate::{Container, Engine, Error};

/// What shall be deleted. Of each kind, what is not meant stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemPrune {
    /// Containers that do not run: all, or only these, by their ids.
    pub containers: Which<String>,
    /// Images that no container uses: those without a name, or also those with one.
    pub images: Option<ImagePrune>,
    /// The build cache.
    pub cache: Option<CachePrune>,
    /// Tell what would go, and delete nothing.
    pub dry_run: bool,
}

/// Some or all of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Which<T> {
    /// None of them.
    #[default]
    None,
    /// Only these.
    Only(BTreeSet<T>),
    /// All.
    All,
}

/// Which images shall go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImagePrune {
    /// Those with a name, too.
    pub named: bool,
    /// Only these.
    pub only: Option<BTreeSet<Digest>>,
}

/// Which parts of the build cache shall go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachePrune {
    /// What images need, too, and what is of use inside only.
    pub all: bool,
    /// Only what satisfies all of these.
    pub filters: Vec<CacheFilter>,
    /// Bytes below which nothing goes.
    pub reserved: u64,
    /// Bytes that the cache may keep.
    pub max_used: u64,
    /// Bytes of the disk that shall be free.
    pub min_free: u64,
}

/// A condition on a part of the build cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheFilter {
    /// Its id has this in it.
    Id(String),
    /// It is of this kind, as BuildKit calls it.
    Kind(String),
    /// This is its description.
    Description(String),
    /// It was not used since then, in seconds since 1970.
    UnusedSince(i64),
    /// Whether somebody uses it.
    InUse(bool),
    /// Whether an image or a container needs it.
    Shared(bool),
    /// Whether it changes.
    Mutable(bool),
}

impl CacheFilter {
    /// Whether a part of the cache satisfies it.
    pub fn accepts(&self, entry: &CacheEntry) -> bool {
        match self {
            Self::Id(id) => entry.id.contains(id.as_str()),
            Self::Kind(kind) => entry.kind.as_str() == kind,
            Self::Description(text) => entry.description == *text,
            Self::UnusedSince(moment) => entry.used.seconds <= *moment,
            Self::InUse(wanted) => entry.in_use == *wanted,
            Self::Shared(wanted) => entry.shared == *wanted,
            Self::Mutable(wanted) => entry.mutable == *wanted,
        }
    }
}

impl CachePrune {
    /// Everything that nobody uses.
    pub fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    fn means(&self, entry: &CacheEntry) -> bool {
        let usual = !entry.shared && entry.kind != CacheKind::Internal;
        !entry.in_use && (self.all || usual) && self.filters.iter().all(|filter| filter.accepts(entry))
    }

    /// How many bytes the cache keeps of `total`, with so many free on the disk; `None` if there is no limit to keep.
    fn kept(&self, total: u64, free: u64) -> Option<u64> {
        if (self.reserved, self.max_used, self.min_free) == (0, 0, 0) {
            return None;
        }
        let most = if self.max_used > 0 { self.max_used } else { total };
        let most = match self.min_free.checked_sub(free) {
            Some(missing) if self.min_free > 0 => most.min(total.saturating_sub(missing)),
            _ if self.max_used == 0 && self.reserved > 0 && self.min_free == 0 => self.reserved,
            _ => most,
        };
        Some(most.max(self.reserved))
    }
}

/// What was deleted, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids of containers.
    pub containers: Vec<String>,
    /// Parts of the build cache.
    pub cache: Vec<CacheEntry>,
    /// Images, layers and so on. Its bytes are those of everything here.
    pub freed: Freed,
}

impl Engine {
    /// Deletes what nobody needs.
    ///
    /// # Errors
    /// What the store says.
    pub fn prune(&self, what: &SystemPrune) -> Result<Pruned, Error> {
        let (containers, bytes) = self.prune_containers(&what.containers, what.dry_run)?;
        let mut pruned = Pruned { containers, ..Pruned::default() };
        let mut policy = Prune {
            dangling_images: what.images.is_some(),
            unused_images: what.images.as_ref().is_some_and(|images| images.named),
            images: what.images.as_ref().and_then(|images| images.only.clone()),
            without_containers: pruned.containers.iter().cloned().collect(),
            dry_run: what.dry_run,
            ..Prune::default()
        };
        let entries = match what.cache {
            Some(_) => {
                let gone = self.store.prune(&Prune { dry_run: true, ..policy.clone() })?;
                self.store.cache_entries_without(&gone, &policy.without_containers)?
            }
            None => Vec::new(),
        };
        let of_cache = what.cache.as_ref().map(|cache| self.cache_policy(cache, &entries)).transpose()?;
        match of_cache {
            // What is kept is known only when the images are gone.
            Some(limited @ Prune { cache: CachePart::DownTo(_), .. }) => {
                pruned.freed = self.store.prune(&policy)?;
                let freed = self.store.prune(&Prune { dry_run: what.dry_run, ..limited })?;
                pruned.cache = named(&entries, &freed);
                pruned.freed.bytes += freed.bytes;
                pruned.freed.records += freed.records;
            }
            Some(Prune { cache, cache_mounts, only, .. }) => {
                policy = Prune { cache, cache_mounts, only, ..policy };
                pruned.freed = self.store.prune(&policy)?;
                pruned.cache = named(&entries, &pruned.freed);
            }
            None => pruned.freed = self.store.prune(&policy)?,
        }
        pruned.freed.bytes += bytes;
        Ok(pruned)
    }

    /// Everything in the build cache, what was used last first.
    ///
    /// # Errors
    /// What the store says.
    pub fn cache_entries(&self) -> Result<Vec<CacheEntry>, Error> {
        Ok(self.store.cache_entries()?)
    }

    fn cache_policy(&self, what: &CachePrune, entries: &[CacheEntry]) -> Result<Prune, Error> {
        let total = entries.iter().map(|entry| entry.bytes).sum();
        let cache = match what.kept(total, self.store.disk()?.0) {
            Some(kept) => CachePart::DownTo(kept),
            None => CachePart::All,
        };
        let meant: Vec<&CacheEntry> = entries.iter().filter(|entry| what.means(entry)).collect();
        // What is in use stays in any case.
        let everything = what.all && what.filters.is_empty();
        let only = (!everything).then(|| meant.into_iter().map(|entry| entry.id.clone()).collect());
        Ok(Prune { cache, cache_mounts: true, only, ..Prune::default() })
    }

    fn prune_containers(&self, which: &Which<String>, dry_run: bool) -> Result<(Vec<String>, u64), Error> {
        let meant = |container: &Container| match which {
            Which::None => false,
            Which::Only(ids) => ids.contains(&container.id),
            Which::All => true,
        };
        let (mut gone, mut bytes) = (Vec::new(), 0);
        for container in self.containers()?.into_iter().filter(meant) {
            if container.state.phase == Phase::Running {
                continue;
            }
            let key = self.store.containers().lock_key(&container.id);
            // Somebody who starts or removes it now has it.
            let Some(_lock) = self.store.locks().try_acquire(key, Sharing::Exclusive)? else { continue };
            bytes += self.store.disk_use(&self.store.containers().directory(&container.id))?;
            if !dry_run {
                self.store.containers().remove(&container.id)?;
            }
            gone.push(container.id);
        }
        Ok((gone, bytes))
    }
}

/// The entries that went, as they were before.
fn named(entries: &[CacheEntry], freed: &Freed) -> Vec<CacheEntry> {
    entries.iter().filter(|entry| freed.entries.contains(&entry.id)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_weighed_as_buildkit_weighs_them() {
        let check = |reserved, max_used, min_free, want: Option<u64>| {
            let prune = CachePrune { reserved, max_used, min_free, ..CachePrune::default() };
            assert_eq!(prune.kept(1000, 100), want, "{reserved} {max_used} {min_free}");
        };
        check(0, 0, 0, None);
        check(400, 0, 0, Some(400));
        check(0, 300, 0, Some(300));
        check(400, 300, 0, Some(400));
        check(0, 0, 150, Some(950));
        check(0, 0, 50, Some(1000));
        check(0, 300, 150, Some(300));
        check(980, 0, 150, Some(980));
        check(0, 0, 5000, Some(0));
    }
}
