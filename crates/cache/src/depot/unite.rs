//! What the writers of a depot left, taken together. This file knows which entries must be read; what their records
//! mean is the caller's.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kiln_oci::Descriptor;
use tokio::task::JoinSet;

use super::{Depot, Entry, EntryId, Error, Result};

/// How many entries are read at the same time.
const AT_ONCE: usize = 8;

/// An entry with its records.
#[derive(Clone, Debug)]
pub struct Leaflet {
    /// The entry.
    pub entry: Entry,
    /// The verified bytes of [`Entry::records`].
    pub records: Bytes,
}

/// An entry whose records another one contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    /// Its name.
    pub id: EntryId,
    /// The entry that contains its records.
    pub into: EntryId,
}

/// Something in the place of a depot that kiln does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// A cache in BuildKit's own format.
    BuildKit,
    /// Anything else, such as an image; its media type.
    Other(String),
}

/// What lies under the tag of a depot.
pub(super) enum AtTag {
    /// The entry that was published last, as a rule.
    Entry(EntryId),
    /// Something else.
    Foreign(Foreign),
}

/// The types of the configs of BuildKit's caches begin so.
const BUILDKIT: &[u8] = b"application/vnd.buildkit.cacheconfig.";

impl AtTag {
    /// Looks at a document. BuildKit's caches are known by the type of their config, which is the config of a manifest
    /// or the last member of an index.
    pub(super) fn of(document: &[u8], descriptor: &Descriptor) -> AtTag {
        if let Some(id) = Entry::id_of(document) {
            return AtTag::Entry(id);
        }
        if document.windows(BUILDKIT.len()).any(|part| part == BUILDKIT) {
            return AtTag::Foreign(Foreign::BuildKit);
        }
        AtTag::Foreign(Foreign::Other(descriptor.media_type.to_string()))
    }
}

/// Everything that is visible in a depot at one moment.
#[derive(Debug, Default)]
pub struct United {
    /// The entries that count, newest first.
    pub leaflets: Vec<Leaflet>,
    /// Those whose records are in one of [`United::leaflets`].
    pub folded: Vec<Folded>,
    /// Those that could not be read, and why. They count as not there.
    pub damaged: Vec<(EntryId, Error)>,
    /// What else is there, asked for only where there is no entry.
    pub foreign: Option<Foreign>,
}

impl United {
    /// The folded entries whose fold has been visible for `grace`.
    pub(super) fn due(&self, grace: Duration) -> Vec<EntryId> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let is_due = |fold: &&Folded| Duration::from_secs(fold.into.created).saturating_add(grace) <= now;
        self.folded.iter().filter(is_due).map(|fold| fold.id.clone()).collect()
    }
}

impl Depot {
    /// Lists the depot and reads the entries that count, with their records of at most `limit` bytes each. Newer
    /// entries are read first; what they fold is not read at all, unless they turn out damaged.
    ///
    /// # Errors
    /// The place cannot be reached. A damaged entry is no error, see [`United::damaged`].
    pub async fn unite(&self, limit: u64) -> Result<United> {
        let mut names = self.names().await?;
        let mut united = United::default();
        if names.is_empty() {
            match self.at_tag().await? {
                Some(AtTag::Entry(id)) => names.push(id),
                Some(AtTag::Foreign(foreign)) => united.foreign = Some(foreign),
                None => {}
            }
        }
        let mut covered = HashMap::new();
        let mut rest = names.into_iter().peekable();
        // The newest alone: as a rule it folds most of the others.
        let mut width = 1;
        while rest.peek().is_some() {
            let mut batch = Vec::new();
            while batch.len() < width
                && let Some(id) = rest.next()
            {
                if !united.note_if_folded(&id, &covered) {
                    batch.push(id);
                }
            }
            for (id, read) in self.read_all(batch, limit).await? {
                united.take(id, read, &mut covered)?;
            }
            width = AT_ONCE;
        }
        Ok(united)
    }

    /// Reads entries beside each other; the answers are in the order of `ids`.
    async fn read_all(&self, ids: Vec<EntryId>, limit: u64) -> Result<Vec<(EntryId, Result<Leaflet>)>> {
        let mut tasks = JoinSet::new();
        for (position, id) in ids.into_iter().enumerate() {
            let depot = self.clone();
            tasks.spawn(async move {
                let leaflet = depot.leaflet(&id, limit).await;
                (position, id, leaflet)
            });
        }
        let mut read = Vec::new();
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok(answer) => read.push(answer),
                Err(failure) if failure.is_panic() => std::panic::resume_unwind(failure.into_panic()),
                Err(_) => {}
            }
        }
        read.sort_by_key(|(position, ..)| *position);
        Ok(read.into_iter().map(|(_, id, leaflet)| (id, leaflet)).collect())
    }

    async fn leaflet(&self, id: &EntryId, limit: u64) -> Result<Leaflet> {
        let manifest = self.manifest(id).await?;
        let entry = Entry::read(id, &manifest).map_err(|detail| Error::Damaged {
            depot: self.to_string(),
            what: format!("entry {id}"),
            detail,
        })?;
        let records = self.document(&entry.records, limit).await?;
        Ok(Leaflet { entry, records })
    }
}

impl United {
    fn note_if_folded(&mut self, id: &EntryId, covered: &HashMap<EntryId, EntryId>) -> bool {
        let Some(into) = covered.get(id) else { return false };
        self.folded.push(Folded { id: id.clone(), into: into.clone() });
        true
    }

    fn take(&mut self, id: EntryId, read: Result<Leaflet>, covered: &mut HashMap<EntryId, EntryId>) -> Result<()> {
        if self.note_if_folded(&id, covered) {
            return Ok(());
        }
        match read {
            Ok(leaflet) => {
                covered.extend(leaflet.entry.folds.iter().map(|older| (older.clone(), id.clone())));
                self.leaflets.push(leaflet);
                self.drop_covered(covered);
            }
            Err(error) if error.is_absence() || error.is_answer() => self.damaged.push((id, error)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Clocks differ, and a second is long: a fold may look older than what it folds.
    fn drop_covered(&mut self, covered: &HashMap<EntryId, EntryId>) {
        let (current, older) = std::mem::take(&mut self.leaflets)
            .into_iter()
            .partition::<Vec<_>, _>(|leaflet| !covered.contains_key(&leaflet.entry.id));
        self.leaflets = current;
        for leaflet in older {
            self.note_if_folded(&leaflet.entry.id, covered);
        }
    }
}
