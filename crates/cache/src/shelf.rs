//! What the catalogues of several depots say, taken together: records by key, layers by diff id, mounts by id.
//!
//! Nothing but documents was read for it. A layer that proves gone or damaged is marked as lost, and from then on no
//! record that needs it is found.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_oci::{Descriptor, Digest};
use kiln_store::Key;
use tokio::sync::Semaphore;

use crate::catalogue::{Catalogue, PortableLayer, PortableMount, PortableRecord};
use crate::depot::Depot;

/// How many layers are fetched at the same time.
const AT_ONCE: usize = 4;

/// Records, layers and mounts that lie elsewhere.
#[derive(Debug)]
pub struct Shelf {
    by_recipe: HashMap<Key, Vec<Arc<RemoteRecord>>>,
    by_op: HashMap<Key, Vec<Arc<RemoteRecord>>>,
    layers: HashMap<Digest, Arc<RemoteLayer>>,
    mounts: HashMap<String, RemoteMount>,
    lost: Mutex<HashSet<Digest>>,
    /// Whose turn it is to fetch.
    pub(crate) turns: Semaphore,
}

impl Default for Shelf {
    fn default() -> Self {
        Shelf {
            by_recipe: HashMap::new(),
            by_op: HashMap::new(),
            layers: HashMap::new(),
            mounts: HashMap::new(),
            lost: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
        }
    }
}

/// A completed step whose layers lie elsewhere.
#[derive(Debug)]
pub struct RemoteRecord {
    /// As it travels; its layers' places mean nothing any more.
    pub record: PortableRecord,
    /// The layers, bottom first.
    pub layers: Vec<Arc<RemoteLayer>>,
}

/// A layer that lies in one or several depots.
#[derive(Debug)]
pub struct RemoteLayer {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    sources: Mutex<Vec<Source>>,
}

/// A depot that should hold a blob.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where.
    pub depot: Depot,
    /// As what.
    pub blob: Descriptor,
    /// How the blob was packed, if a kiln did it.
    pub packed_as: Option<String>,
}

/// A cache mount's files that lie in a depot.
#[derive(Clone, Debug)]
pub struct RemoteMount {
    /// As it travels.
    pub mount: PortableMount,
    /// Where.
    pub depot: Depot,
}

impl RemoteLayer {
    /// Where it may be fetched, the best first.
    pub fn sources(&self) -> Vec<Source> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As it travels, if anybody holds it.
    pub fn portable(&self) -> Option<PortableLayer> {
        let source = self.sources().into_iter().next()?;
        Some(PortableLayer { diff_id: self.diff_id.clone(), blob: source.blob, packed_as: source.packed_as })
    }
}

impl Shelf {
    /// Adds what `depot` has. What was added earlier is preferred.
    pub fn add(&mut self, depot: &Depot, catalogue: Catalogue) {
        let layers: Vec<Arc<RemoteLayer>> =
            catalogue.layers.into_iter().map(|layer| self.layer(depot, layer)).collect();
        for record in catalogue.records {
            let own: Option<Vec<_>> = record.layers.iter().map(|place| layers.get(*place).cloned()).collect();
            let Some(layers) = own else { continue };
            let record = Arc::new(RemoteRecord { record, layers });
            for recipe in &record.record.recipes {
                self.by_recipe.entry(*recipe).or_default().push(Arc::clone(&record));
            }
            self.by_op.entry(record.record.op).or_default().push(record);
        }
        for mount in catalogue.mounts {
            let depot = depot.clone();
            self.mounts.entry(mount.id.clone()).or_insert(RemoteMount { mount, depot });
        }
    }

    fn layer(&mut self, depot: &Depot, layer: PortableLayer) -> Arc<RemoteLayer> {
        let PortableLayer { diff_id, blob, packed_as } = layer;
        let known = self
            .layers
            .entry(diff_id.clone())
            .or_insert_with(|| Arc::new(RemoteLayer { diff_id, sources: Mutex::default() }));
        let source = Source { depot: depot.clone(), blob, packed_as };
        known.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
        Arc::clone(known)
    }

    /// Whether nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.by_op.is_empty() && self.mounts.is_empty()
    }

    /// How many records and layers are on it.
    pub fn counts(&self) -> (usize, usize) {
        (self.by_op.values().map(Vec::len).sum(), self.layers.len())
    }

    /// The record under a recipe key.
    pub fn find(&self, recipe: &Key) -> Option<&Arc<RemoteRecord>> {
        self.by_recipe.get(recipe)?.iter().find(|record| self.is_whole(record))
    }

    /// Whether any record has this op.
    pub fn has_op(&self, op: &Key) -> bool {
        self.by_op.contains_key(op)
    }

    /// The records with this op.
    pub fn with_op(&self, op: &Key) -> impl Iterator<Item = &Arc<RemoteRecord>> {
        self.by_op.get(op).into_iter().flatten().filter(|record| self.is_whole(record))
    }

    /// All records, each once.
    pub fn records(&self) -> impl Iterator<Item = &Arc<RemoteRecord>> {
        self.by_op.values().flatten().filter(|record| self.is_whole(record))
    }

    /// The files of a cache mount.
    pub fn mount(&self, id: &str) -> Option<&RemoteMount> {
        self.mounts.get(id)
    }

    /// All cache mounts.
    pub fn mounts(&self) -> impl Iterator<Item = &RemoteMount> {
        self.mounts.values()
    }

    /// From now on the layer counts as not there.
    pub fn mark_lost(&self, diff_id: &Digest) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(diff_id.clone());
    }

    fn is_whole(&self, record: &RemoteRecord) -> bool {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.is_empty() || !record.layers.iter().any(|layer| lost.contains(&layer.diff_id))
    }
}
