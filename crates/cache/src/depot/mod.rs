//! Depots: places where exported build caches lie, for writers and readers on many machines at once.
//!
//! A depot holds immutable *blobs* by digest, and *entries* ([`Entry`]): small immutable documents that list blobs.
//! Nothing in a depot is ever changed and no two writers write the same name with different bytes, so that a depot
//! needs no lock, no conditional write and no server of ours. The life of what is in it:
//!
//! 1. A writer asks what is there ([`Depot::unite`]) and [puts](Depot::put) the blobs that are missing. So far
//!    nothing is visible: if it dies now, it leaves blobs that nobody names.
//! 2. It [publishes](Depot::publish) an entry that lists its records and their blobs. That is one atomic step, and
//!    the entry never meets those of other writers: each has a name of its own.
//! 3. A reader [unites](Depot::unite) all entries that are visible, newest first; records that several contain count
//!    once. It [fetches](Depot::fetch) a blob only when something reads it. Everything is verified, and what is
//!    damaged is reported and otherwise treated as if it were not there.
//! 4. Entries add up, so a later writer *folds* them ([`Depot::to_fold`]): its own entry contains the records of the
//!    older ones and names them. Readers that see it leave those out; two writers that fold the same ones at once
//!    are no harm.
//! 5. When a fold has been visible for the [grace time](Policy::grace), a writer [retires](Depot::retire) what it
//!    folded. A reader that listed the depot before the fold has long finished by then. Where the place can forget
//!    blobs, those that no entry names and that are older than the grace time go too.

mod bucket;
mod directory;
mod entry;
mod error;
mod fetch;
mod registry;
mod unite;

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use kiln_oci::{Descriptor, Digest, MediaType, Reference};
use kiln_registry::{BlobSource, Client};

pub use bucket::{Bucket, period};
pub use entry::{ARTIFACT_TYPE, ENTRY_LIMIT, Entry, EntryId, NoEntryId};
pub use error::{Error, Result};
pub use fetch::Fetch;
pub use unite::{Foreign, Leaflet, United};

use bucket::Objects;
use directory::Directory;
use registry::Repository;
use unite::AtTag;

/// How many questions are asked at the same time.
const AT_ONCE: usize = 8;

/// When writers tidy up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A writer that finds so many entries folds them.
    pub fold_from: usize,
    /// How long a folded entry, or a blob that nobody names, stays for those who may have seen it.
    pub grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { fold_from: 4, grace: Duration::from_secs(24 * 60 * 60) }
    }
}

/// A blob to put.
#[derive(Clone)]
pub struct Parcel {
    /// Its type, digest and size.
    pub descriptor: Descriptor,
    /// Where its bytes are read, perhaps several times.
    pub source: Arc<dyn BlobSource>,
    /// Another repository that probably has it, such as that of the image which was pushed; a depot in the same
    /// registry then takes it from there without sending a byte.
    pub elsewhere: Option<Reference>,
}

impl Parcel {
    /// A document that is in memory.
    pub fn of(media_type: MediaType, bytes: Bytes) -> Parcel {
        let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
        Parcel { descriptor, source: Arc::new(bytes), elsewhere: None }
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parcel").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}

/// How a blob got into a depot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was there.
    Held,
    /// The registry took it from another repository.
    Mounted,
    /// Its bytes were sent.
    Sent,
}

/// A place with an exported cache, or for one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Depot {
    place: Place,
    policy: Policy,
}

#[derive(Clone, Debug)]
enum Place {
    Directory(Directory),
    Registry(Repository),
    Bucket(Objects),
}

impl Depot {
    /// The depot `tag` (by default `latest`) in a directory, which is created by the first [`Depot::put`].
    /// `only` restricts readers to one entry.
    pub fn directory(path: impl Into<PathBuf>, tag: Option<&str>, only: Option<Digest>) -> Depot {
        let directory = Directory::new(path.into(), tag.unwrap_or("latest"), only);
        Depot { place: Place::Directory(directory), policy: Policy::default() }
    }

    /// The depot that `reference` names in a registry: with a tag (by default `latest`), or for readers with the digest
    /// of the one entry to read.
    pub fn registry(client: Client, reference: &Reference) -> Depot {
        Depot { place: Place::Registry(Repository::new(client, reference, false)), policy: Policy::default() }
    }

    /// The same in a registry whose certificate is not checked, or that does not speak TLS at all.
    pub fn insecure_registry(client: Client, reference: &Reference) -> Depot {
        Depot { place: Place::Registry(Repository::new(client, reference, true)), policy: Policy::default() }
    }

    /// The depot in a bucket of an object store; `network` makes the connections.
    pub fn bucket(network: Client, bucket: Bucket) -> Depot {
        Depot { place: Place::Bucket(Objects::new(network, bucket)), policy: Policy::default() }
    }

    /// The same depot with another policy.
    pub fn with_policy(self, policy: Policy) -> Depot {
        Depot { policy, ..self }
    }

    /// When writers tidy up here.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The names of all visible entries, newest first. A place that does not exist has none.
    async fn names(&self) -> Result<Vec<EntryId>> {
        let mut names = match &self.place {
            Place::Directory(place) => place.names().await?,
            Place::Registry(place) => place.names().await?,
            Place::Bucket(place) => place.names().await?,
        };
        names.sort_unstable_by(|a, b| b.cmp(a));
        names.dedup();
        Ok(names)
    }

    /// What lies under the depot's own tag, asked for where no entry has a name of its own.
    async fn at_tag(&self) -> Result<Option<AtTag>> {
        match &self.place {
            Place::Directory(place) => place.at_tag().await,
            Place::Registry(place) => place.at_tag().await,
            Place::Bucket(place) => place.at_tag().await,
        }
    }

    /// The verified bytes of an entry's manifest.
    async fn manifest(&self, id: &EntryId) -> Result<Bytes> {
        match &self.place {
            Place::Directory(place) => place.manifest(id).await,
            Place::Registry(place) => place.manifest(id).await,
            Place::Bucket(place) => place.manifest(id).await,
        }
    }

    /// A small blob, whole and verified.
    ///
    /// # Errors
    /// As [`Depot::fetch`] and [`Fetch::chunk`]; more than `limit` bytes.
    pub async fn document(&self, descriptor: &Descriptor, limit: u64) -> Result<Bytes> {
        if descriptor.size > limit {
            let (depot, what) = (self.to_string(), descriptor.digest.to_string());
            return Err(Error::TooLarge { depot, what, limit });
        }
        let mut stream = self.fetch(descriptor).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = stream.chunk().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.into())
    }

    /// Starts to fetch a blob: its pieces come by [`Fetch::chunk`], and only the end of them says that they are the
    /// right ones.
    ///
    /// # Errors
    /// The place cannot be reached, or does not hold the blob in this size.
    pub async fn fetch(&self, descriptor: &Descriptor) -> Result<Fetch> {
        match &self.place {
            Place::Directory(place) => place.fetch(descriptor).await,
            Place::Registry(place) => place.fetch(descriptor).await,
            Place::Bucket(place) => place.fetch(descriptor).await,
        }
    }

    /// Whether the depot holds the blob, in the right size as far as the place tells; its bytes are not looked at.
    /// What is held stays so for at least half of the grace time.
    ///
    /// # Errors
    /// The place cannot be reached.
    pub async fn holds(&self, descriptor: &Descriptor) -> Result<bool> {
        match &self.place {
            Place::Directory(place) => place.holds(descriptor, self.policy.grace).await,
            Place::Registry(place) => place.holds(&descriptor.digest).await,
            Place::Bucket(place) => place.holds(descriptor, self.policy.grace).await,
        }
    }

    /// Which of these blobs the depot [holds](Depot::holds); several are asked for at the same time.
    ///
    /// # Errors
    /// As [`Depot::holds`].
    pub async fn holds_of(&self, blobs: Vec<Descriptor>) -> Result<HashSet<Digest>> {
        let asked = stream::iter(blobs).map(async |blob| Ok(self.holds(&blob).await?.then_some(blob.digest)));
        let held: Vec<Option<Digest>> = asked.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(held.into_iter().flatten().collect())
    }

    /// Puts a blob unless it is [held](Depot::holds). It appears whole or not at all.
    ///
    /// # Errors
    /// The place cannot be reached or written, or the source has other bytes than its descriptor says.
    pub async fn put(&self, parcel: &Parcel) -> Result<Put> {
        match &self.place {
            Place::Directory(place) => place.put(parcel, self.policy.grace).await,
            Place::Registry(place) => place.put(parcel).await,
            Place::Bucket(place) => place.put(parcel, self.policy.grace).await,
        }
    }

    /// Makes an entry visible: the last step of a writer, after all that the entry names was put. `manifest` is what
    /// [`Entry::new`] gave with `entry`.
    ///
    /// # Errors
    /// The place cannot be reached or written; the entry is then not visible.
    pub async fn publish(&self, entry: &Entry, manifest: Bytes) -> Result<()> {
        match &self.place {
            Place::Directory(place) => place.publish(entry, manifest).await,
            Place::Registry(place) => place.publish(entry, manifest).await,
            Place::Bucket(place) => place.publish(entry, manifest).await,
        }
    }

    /// The entries that a writer should fold now: all that `united` knows of and whose records `is_understood`, or none
    /// where there are still few. What a newer kiln wrote stays. A writer that folds puts every record of these
    /// entries into its own document, lists their blobs, and gives the names to [`Entry::new`].
    pub fn to_fold(&self, united: &United, is_understood: impl Fn(&Leaflet) -> bool) -> Vec<EntryId> {
        let understood = united.leaflets.iter().filter(|leaflet| is_understood(leaflet));
        let current: Vec<EntryId> = understood.map(|leaflet| leaflet.entry.id.clone()).collect();
        if current.len() < self.policy.fold_from {
            return Vec::new();
        }
        let older = united.folded.iter().filter(|fold| current.contains(&fold.into)).map(|fold| fold.id.clone());
        let older: Vec<EntryId> = older.collect();
        [current, older].concat()
    }

    /// Makes entries that were folded longer than the grace time ago disappear, with what only they needed as far as
    /// the place can. Returns how many are gone; a place that forbids it keeps them, which costs readers nothing.
    ///
    /// # Errors
    /// The place cannot be reached or written.
    pub async fn retire(&self, united: &United) -> Result<usize> {
        let due = united.due(self.policy.grace);
        if due.is_empty() {
            return Ok(0);
        }
        match &self.place {
            Place::Directory(place) => place.retire(&due, self.policy.grace).await,
            Place::Registry(place) => place.retire(&due).await,
            Place::Bucket(place) => place.retire(&due, self.policy.grace).await,
        }
    }
}

/// What a person calls the depot, without credentials.
impl fmt::Display for Depot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Directory(place) => place.fmt(f),
            Place::Registry(place) => place.fmt(f),
            Place::Bucket(place) => place.fmt(f),
        }
    }
}
