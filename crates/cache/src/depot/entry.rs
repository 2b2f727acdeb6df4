//! Entries: the small immutable documents by which a writer says what it left in a depot. This file knows their
//! form, not where they are kept.
//!
//! An entry is an OCI image manifest with [`ARTIFACT_TYPE`]: its config is the writer's records, its layers are all
//! blobs that these records need, so that a registry's own garbage collection keeps them. An annotation names the
//! older entries whose records it contains: those are *folded* and need not be read any more.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, Manifest};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The `artifactType` of an entry.
pub const ARTIFACT_TYPE: &str = "application/vnd.kiln.cache.entry.v1+json";

/// How large the manifest of an entry may be, in bytes: what registries accept.
pub const ENTRY_LIMIT: u64 = 4 << 20;

const CREATED: &str = "org.opencontainers.image.created";
const FOLDS: &str = "dev.kiln.cache.folds";

/// Names an entry: when it was made, and the digest of its manifest. Ids sort by age, and their text
/// (`SECONDS-HEX`) is what an entry is called in every depot, so that a list of names says everything about the
/// order in which to read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId {
    /// Seconds since 1970, by the clock of the writer.
    pub created: u64,
    /// The digest of the manifest.
    pub digest: Digest,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}-{}", self.created, self.digest.hex())
    }
}

/// A text that names no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a cache entry")]
pub struct NoEntryId;

impl FromStr for EntryId {
    type Err = NoEntryId;

    fn from_str(text: &str) -> Result<Self, NoEntryId> {
        let (seconds, hex) = text.split_once('-').ok_or(NoEntryId)?;
        if seconds.len() != 10 || !seconds.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NoEntryId);
        }
        let created = seconds.parse().map_err(|_| NoEntryId)?;
        let digest = format!("sha256:{hex}").parse().map_err(|_| NoEntryId)?;
        Ok(EntryId { created, digest })
    }
}

/// An entry that somebody published, as its verified manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: EntryId,
    /// The document with the records; kiln-cache's other half knows how it is read.
    pub records: Descriptor,
    /// The blobs that the records need. They were in the depot when the entry was published.
    pub blobs: Vec<Descriptor>,
    /// The older entries whose records this one contains.
    pub folds: Vec<EntryId>,
}

impl Entry {
    /// A new entry, made now, and its manifest: the bytes that are published.
    pub fn new(records: Descriptor, blobs: Vec<Descriptor>, folds: Vec<EntryId>) -> (Entry, Bytes) {
        Entry::made_at(SystemTime::now(), records, blobs, folds)
    }

    /// The same as if made at another time.
    pub fn made_at(
        time: SystemTime,
        records: Descriptor,
        blobs: Vec<Descriptor>,
        folds: Vec<EntryId>,
    ) -> (Entry, Bytes) {
        let created = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut manifest = Manifest::new(records.clone(), blobs.clone());
        manifest.artifact_type = Some(ARTIFACT_TYPE.to_owned());
        manifest.annotations.insert(CREATED.to_owned(), written(created));
        if !folds.is_empty() {
            let names: Vec<String> = folds.iter().map(EntryId::to_string).collect();
            manifest.annotations.insert(FOLDS.to_owned(), names.join(" "));
        }
        // Strings, numbers and lists always have a JSON form.
        let raw = Bytes::from(serde_json::to_vec(&manifest).unwrap_or_default());
        let id = EntryId { created, digest: Digest::of(&raw) };
        (Entry { id, records, blobs, folds }, raw)
    }

    /// The name of the entry whose manifest is `raw`, if that is one.
    pub(super) fn id_of(raw: &[u8]) -> Option<EntryId> {
        let manifest: Manifest = serde_json::from_slice(raw).ok()?;
        let is_entry = manifest.artifact_type.as_deref() == Some(ARTIFACT_TYPE);
        let created = OffsetDateTime::parse(manifest.annotations.get(CREATED)?, &Rfc3339).ok()?;
        let created = u64::try_from(created.unix_timestamp()).ok()?;
        is_entry.then(|| EntryId { created, digest: Digest::of(raw) })
    }

    /// Reads the manifest `raw` of what a depot calls `id`; its digest is checked.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub fn read(id: &EntryId, raw: &[u8]) -> Result<Entry, String> {
        if Digest::of(raw) != id.digest {
            return Err("its bytes do not have its digest".into());
        }
        let manifest: Manifest = serde_json::from_slice(raw).map_err(|e| format!("it is no manifest: {e}"))?;
        match manifest.artifact_type.as_deref() {
            Some(ARTIFACT_TYPE) => {}
            Some(other) => return Err(format!("its type is {other:?}, and this kiln reads {ARTIFACT_TYPE:?}")),
            None => return Err("it is an image, not a cache entry".into()),
        }
        if manifest.annotations.get(CREATED).map(String::as_str) != Some(written(id.created).as_str()) {
            return Err("it says another time of creation than its name".into());
        }
        let names = manifest.annotations.get(FOLDS).map(String::as_str).unwrap_or_default();
        let folds = names.split_whitespace().map(str::parse).collect::<Result<_, NoEntryId>>();
        let folds = folds.map_err(|_| "the list of entries that it folds cannot be read".to_owned())?;
        Ok(Entry { id: id.clone(), records: manifest.config, blobs: manifest.layers, folds })
    }
}

/// A time in the form of annotations.
fn written(seconds: u64) -> String {
    let time = OffsetDateTime::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    time.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kiln_oci::MediaType;

    use super::*;

    fn blob(text: &str) -> Descriptor {
        Descriptor::new(MediaType::OciLayerGzip, Digest::of(text.as_bytes()), text.len() as u64)
    }

    #[test]
    fn what_was_written_is_read() {
        let (older, _) = Entry::new(blob("{}"), vec![], vec![]);
        let (entry, raw) = Entry::new(blob("[]"), vec![blob("a"), blob("b")], vec![older.id.clone()]);
        let name = entry.id.to_string();
        assert_eq!(Entry::read(&name.parse().unwrap(), &raw), Ok(entry));
    }

    #[test]
    fn what_is_no_entry_is_refused_with_the_reason() {
        let check = |id: &EntryId, raw: &[u8], want: &str| {
            let refused = Entry::read(id, raw).unwrap_err();
            assert!(refused.contains(want), "{refused}");
        };
        let (entry, raw) = Entry::new(blob("{}"), vec![], vec![]);
        check(&entry.id, b"{}", "do not have its digest");
        let later = EntryId { created: entry.id.created + 1, ..entry.id.clone() };
        check(&later, &raw, "another time");
        let of = |raw: &[u8]| EntryId { created: 0, digest: Digest::of(raw) };
        check(&of(b"{}"), b"{}", "no manifest");
        let image = serde_json::to_vec(&Manifest::new(blob("{}"), vec![])).unwrap();
        check(&of(&image), &image, "an image");
        let text = String::from_utf8(raw.to_vec()).unwrap();
        let newer = text.replace("entry.v1", "entry.v9").into_bytes();
        check(&of(&newer), &newer, "entry.v9");
    }

    #[test]
    fn names_that_are_none() {
        let hex = "a".repeat(64);
        assert!(format!("1700000000-{hex}").parse::<EntryId>().is_ok());
        for text in ["", "-", "1700000000", "1-a", &format!("170000000-{hex}"), &format!("+700000000-{hex}")] {
            assert_eq!(text.parse::<EntryId>(), Err(NoEntryId), "{text}");
        }
    }
}
