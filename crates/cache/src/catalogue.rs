//! The portable form of cache records: what an entry of a depot lists.
//!
//! A catalogue names layers by their diff ids and blobs, never by a store's numbers; no path of the machine that
//! wrote it is in it, and no secret's value. It is a document like any other from elsewhere: every number in it is
//! checked before it is used. Which bytes a layer has is checked when they are fetched, not here.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use kiln_oci::{Descriptor, Digest};
use kiln_store::{Input, Key};
use serde::{Deserialize, Serialize};

use crate::hex;

/// The media type of a catalogue: JSON, compressed with Zstandard.
pub const CATALOGUE: &str = "application/vnd.kiln.cache.catalogue.v1+json+zstd";

/// What this kiln writes, and the newest that it reads.
const SCHEMA: u32 = 1;
/// Larger documents than this, in bytes, are not read.
pub(crate) const LARGEST_DOCUMENT: u64 = 16 << 20;
/// Larger catalogues than this, in bytes after decompression, are not read.
const LARGEST: u64 = 64 << 20;
/// How much is spent on compressing a catalogue.
const LEVEL: i32 = 3;

/// Everything that one entry of a depot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Catalogue {
    schema: u32,
    /// The layers that records refer to by their place here; each once.
    pub layers: Vec<PortableLayer>,
    /// Completed steps.
    pub records: Vec<PortableRecord>,
    /// Directories of `RUN --mount=type=cache`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<PortableMount>,
}

/// A layer as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortableLayer {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The (compressed) tar.
    pub blob: Descriptor,
    /// How a kiln packed it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed_as: Option<String>,
}

/// A completed step as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortableRecord {
    /// The operation without its inputs.
    #[serde(with = "hex::one")]
    pub op: Key,
    /// The recipe keys that lead to it.
    #[serde(with = "hex::list")]
    pub recipes: Vec<Key>,
    /// The content key, where what the step worked on was there to compute it.
    #[serde(default, with = "hex::optional", skip_serializing_if = "Option::is_none")]
    pub content: Option<Key>,
    /// Groups the records of one step over time.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub lineage: String,
    /// What the keys were made of, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// Digests of what was selected from contexts, in order.
    #[serde(default, with = "hex::list", skip_serializing_if = "Vec::is_empty")]
    pub contexts: Vec<[u8; 32]>,
    /// The layers of the result, bottom first, by their places in the catalogue.
    pub layers: Vec<usize>,
    /// When each of them was made, in seconds and nanoseconds since 1970; `null` for a base's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made_at: Vec<Option<(i64, u32)>>,
    /// When a build that was exported last used it, in seconds since 1970: what is old is left behind when entries
    /// are folded.
    pub used: i64,
}

/// The directory of a cache mount as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortableMount {
    /// The mount's id.
    pub id: String,
    /// A tar of its files, compressed with Zstandard.
    pub blob: Descriptor,
    /// When it was packed, in seconds since 1970: of several, the newest counts.
    pub packed: i64,
}

/// Why a document is no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// It cannot be decompressed.
    #[error("it cannot be decompressed: {0}")]
    Compression(#[source] std::io::Error),
    /// It is too large.
    #[error("it is larger than {LARGEST} bytes")]
    TooLarge,
    /// It is not what a catalogue is.
    #[error("it is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A later kiln wrote it.
    #[error("it has version {0}, and this kiln knows {SCHEMA}: a newer kiln wrote it")]
    Newer(u32),
    /// A record names a layer that the catalogue does not have.
    #[error("a record names layer {place} of {layers}")]
    NoSuchLayer {
        /// The place that is named.
        place: usize,
        /// How many there are.
        layers: usize,
    },
}

impl Catalogue {
    /// One with nothing in it.
    pub fn new() -> Self {
        Catalogue { schema: SCHEMA, ..Catalogue::default() }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// It is no catalogue, of a later version, or does not hold what it refers to.
    pub fn parse(document: &[u8]) -> Result<Self, CatalogueError> {
        let decoder = zstd::Decoder::new(document).map_err(CatalogueError::Compression)?;
        let mut text = Vec::new();
        decoder.take(LARGEST + 1).read_to_end(&mut text).map_err(CatalogueError::Compression)?;
        if text.len() as u64 > LARGEST {
            return Err(CatalogueError::TooLarge);
        }
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let version: Version = serde_json::from_slice(&text)?;
        if version.schema > SCHEMA {
            return Err(CatalogueError::Newer(version.schema));
        }
        let catalogue: Catalogue = serde_json::from_slice(&text)?;
        catalogue.checked()
    }

    /// The same if its records refer to layers that it has.
    pub(crate) fn checked(self) -> Result<Self, CatalogueError> {
        let layers = self.layers.len();
        let mut places = self.records.iter().flat_map(|record| &record.layers);
        match places.find(|place| **place >= layers) {
            Some(&place) => Err(CatalogueError::NoSuchLayer { place, layers }),
            None => Ok(self),
        }
    }

    /// The document.
    ///
    /// # Errors
    /// None that is known; the libraries' interfaces have them.
    pub fn to_document(&self) -> Result<Vec<u8>, CatalogueError> {
        let text = serde_json::to_vec(self)?;
        zstd::bulk::compress(&text, LEVEL).map_err(CatalogueError::Compression)
    }

    /// The place of a layer; it is added if it is not there.
    pub fn place_of(&mut self, layer: &PortableLayer) -> usize {
        match self.layers.iter().position(|own| own.diff_id == layer.diff_id) {
            Some(place) => place,
            None => {
                self.layers.push(layer.clone());
                self.layers.len() - 1
            }
        }
    }

    /// Adds what `other` has and this one does not: records whose recipe keys are not here yet, mounts that are
    /// newer. What was last used before `since` (seconds since 1970) is left behind, and layers that nothing refers to.
    pub fn absorb(&mut self, other: &Catalogue, since: i64) {
        let mut places: HashMap<Digest, usize> =
            self.layers.iter().enumerate().map(|(place, layer)| (layer.diff_id.clone(), place)).collect();
        let mut known: HashSet<Key> = self.records.iter().flat_map(|record| record.recipes.iter().copied()).collect();
        for record in other.records.iter().filter(|record| record.used >= since) {
            let new: Vec<Key> = record.recipes.iter().copied().filter(|recipe| known.insert(*recipe)).collect();
            let layers: Option<Vec<&PortableLayer>> =
                record.layers.iter().map(|place| other.layers.get(*place)).collect();
            let (false, Some(layers)) = (new.is_empty(), layers) else { continue };
            let place = |layer: &PortableLayer| {
                *places.entry(layer.diff_id.clone()).or_insert_with(|| {
                    self.layers.push(layer.clone());
                    self.layers.len() - 1
                })
            };
            let layers = layers.into_iter().map(place).collect();
            self.records.push(PortableRecord { recipes: new, layers, ..record.clone() });
        }
        for mount in other.mounts.iter().filter(|mount| mount.packed >= since) {
            match self.mounts.iter_mut().find(|own| own.id == mount.id) {
                Some(own) if own.packed < mount.packed => *own = mount.clone(),
                Some(_) => {}
                None => self.mounts.push(mount.clone()),
            }
        }
    }

    /// Leaves out the records and mounts that need a blob which is not among `held`; the layers stay listed.
    pub fn keep_held(&mut self, held: &HashSet<Digest>) {
        let layers = &self.layers;
        let is_held = |place: &usize| layers.get(*place).is_some_and(|layer| held.contains(&layer.blob.digest));
        self.records.retain(|record| record.layers.iter().all(is_held));
        self.mounts.retain(|mount| held.contains(&mount.blob.digest));
    }

    /// Every blob that it refers to, each once: layers and mounts.
    pub fn blobs(&self) -> Vec<Descriptor> {
        let mut seen = HashSet::new();
        let layers = self.layers.iter().map(|layer| &layer.blob);
        let all = layers.chain(self.mounts.iter().map(|mount| &mount.blob));
        all.filter(|blob| seen.insert(blob.digest.clone())).cloned().collect()
    }

    /// Whether it has all records of `other` with the same layers, and all of its mounts.
    pub fn covers(&self, other: &Catalogue) -> bool {
        let mut known = HashMap::new();
        for record in &self.records {
            known.extend(record.recipes.iter().map(|recipe| (*recipe, self.diff_ids(record))));
        }
        let has = |record: &PortableRecord| {
            let layers = other.diff_ids(record);
            record.recipes.iter().all(|recipe| known.get(recipe) == Some(&layers))
        };
        let mounted = |mount: &PortableMount| {
            self.mounts.iter().any(|own| own.id == mount.id && own.blob.digest == mount.blob.digest)
        };
        other.records.iter().all(has) && other.mounts.iter().all(mounted)
    }

    /// Whether what it shares with `other` was used since then, in seconds since 1970.
    pub(crate) fn is_used_since(&self, other: &Catalogue, since: i64) -> bool {
        let wanted: HashSet<&Key> = other.records.iter().flat_map(|record| &record.recipes).collect();
        let shared = |record: &&PortableRecord| record.recipes.iter().any(|recipe| wanted.contains(recipe));
        self.records.iter().filter(shared).all(|record| record.used >= since)
    }

    fn diff_ids(&self, record: &PortableRecord) -> Vec<&Digest> {
        record.layers.iter().filter_map(|place| self.layers.get(*place)).map(|layer| &layer.diff_id).collect()
    }
}

#[cfg(test)]
mod tests {
    use kiln_oci::MediaType;

    use super::*;

    fn layer(name: &str) -> PortableLayer {
        let digest = Digest::of(name.as_bytes());
        let blob = Descriptor::new(MediaType::OciLayerGzip, Digest::of(format!("{name} packed").as_bytes()), 7);
        PortableLayer { diff_id: digest, blob, packed_as: None }
    }

    fn record(recipe: u8, layers: Vec<usize>) -> PortableRecord {
        PortableRecord {
            op: Key([recipe; 32]),
            recipes: vec![Key([recipe; 32])],
            content: Some(Key([recipe ^ 0xff; 32])),
            lineage: "Dockerfile\nstage".into(),
            inputs: vec![Input { name: "instruction".into(), value: "RUN true".into() }],
            contexts: vec![[recipe; 32]],
            layers,
            made_at: vec![Some((1, 2)), None],
            used: 100,
        }
    }

    fn catalogue(layers: &[&str], records: Vec<PortableRecord>) -> Catalogue {
        Catalogue { layers: layers.iter().map(|name| layer(name)).collect(), records, ..Catalogue::new() }
    }

    #[test]
    fn a_catalogue_comes_back_from_its_document() {
        let mut written = catalogue(&["a", "b"], vec![record(1, vec![0, 1]), record(2, vec![])]);
        let blob = Descriptor::new(MediaType::Other("x".into()), Digest::of(b"m"), 1);
        written.mounts.push(PortableMount { id: "/root/.cache".into(), blob, packed: 5 });
        assert_eq!(Catalogue::parse(&written.to_document().unwrap()).unwrap(), written);
        assert_eq!(written.blobs().len(), 3);
    }

    #[test]
    fn what_needs_a_blob_that_is_gone_is_left_out() {
        let mut known = catalogue(&["a", "b"], vec![record(1, vec![0]), record(2, vec![0, 1]), record(3, vec![])]);
        let blob = Descriptor::new(MediaType::Other("x".into()), Digest::of(b"m"), 1);
        known.mounts.push(PortableMount { id: "m".into(), blob, packed: 5 });
        known.keep_held(&HashSet::from([layer("a").blob.digest]));
        assert_eq!(known.records, [record(1, vec![0]), record(3, vec![])]);
        assert!(known.mounts.is_empty());
        let mut folding = Catalogue::new();
        folding.absorb(&known, 0);
        assert_eq!(folding.layers, [layer("a")]);
    }

    #[test]
    fn what_is_no_catalogue_is_refused() {
        let document = |text: &str| zstd::bulk::compress(text.as_bytes(), 1).unwrap();
        assert!(matches!(Catalogue::parse(b"{}"), Err(CatalogueError::Compression(_))));
        assert!(matches!(Catalogue::parse(&document("{}")), Err(CatalogueError::Malformed(_))));
        let newer = document(r#"{"schema": 99, "what": "ever"}"#);
        assert!(matches!(Catalogue::parse(&newer), Err(CatalogueError::Newer(99))));
        let dangling = catalogue(&["a"], vec![record(1, vec![0, 1])]).to_document().unwrap();
        assert!(matches!(Catalogue::parse(&dangling), Err(CatalogueError::NoSuchLayer { place: 1, layers: 1 })));
    }

    #[test]
    fn a_catalogue_takes_over_what_it_lacks() {
        let mut own = catalogue(&["a", "b"], vec![record(1, vec![0, 1])]);
        let other = catalogue(&["c", "unused", "a"], vec![record(1, vec![0]), record(2, vec![2, 0])]);
        assert!(!own.covers(&other));
        own.absorb(&other, 100);
        let diff_ids: Vec<_> = own.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        assert_eq!(diff_ids, ["a", "b", "c"].map(|name| Digest::of(name.as_bytes())));
        assert_eq!(own.records.len(), 2);
        assert_eq!(own.records[0].layers, [0, 1], "its own record stays");
        assert_eq!(own.records[1].layers, [0, 2]);
        assert!(own.covers(&catalogue(&["a", "c"], vec![record(2, vec![0, 1])])));
        assert!(!own.covers(&catalogue(&["b"], vec![record(2, vec![0])])), "the same key with other layers");
        own.absorb(&catalogue(&["d"], vec![record(3, vec![0])]), 101);
        assert_eq!(own.records.len(), 2, "nobody used it for long");
    }

    #[test]
    fn of_two_packings_of_a_mount_the_newer_one_counts() {
        let mount = |packed: i64, content: &str| PortableMount {
            id: "cache".into(),
            blob: Descriptor::new(MediaType::Other("x".into()), Digest::of(content.as_bytes()), 1),
            packed,
        };
        let mut own = Catalogue { mounts: vec![mount(2, "new")], ..Catalogue::new() };
        own.absorb(&Catalogue { mounts: vec![mount(1, "old")], ..Catalogue::new() }, 0);
        assert_eq!(own.mounts, [mount(2, "new")]);
        own.absorb(&Catalogue { mounts: vec![mount(3, "newest")], ..Catalogue::new() }, 0);
        assert_eq!(own.mounts, [mount(3, "newest")]);
    }
}
