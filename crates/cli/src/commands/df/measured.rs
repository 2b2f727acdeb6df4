//! What takes room, measured: images by their layers, containers, volumes, the build cache.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kiln_engine::{ImageSummary, Summary, VolumeSummary};
use kiln_oci::Digest;
use kiln_store::{CacheEntry, LayerId};

use super::super::engine;
use crate::failure::{Failure, chain};
use crate::host::Host;

/// Everything that takes room.
pub(super) struct Measured {
    pub(super) images: Vec<Image>,
    pub(super) containers: Vec<Container>,
    pub(super) volumes: Vec<Volume>,
    pub(super) cache: Vec<CacheEntry>,
    sizes: HashMap<Part, u64>,
}

/// An image with what it consists of.
pub(super) struct Image {
    pub(super) summary: ImageSummary,
    parts: BTreeSet<Part>,
    /// Bytes of what other images have, too.
    pub(super) shared: u64,
    /// Bytes of what only this one has.
    pub(super) unique: u64,
}

/// A container, with the bytes of its directory.
pub(super) struct Container {
    pub(super) summary: Summary,
    pub(super) bytes: u64,
}

/// A volume, with the number of containers that use it.
pub(super) struct Volume {
    pub(super) summary: VolumeSummary,
    pub(super) links: usize,
    pub(super) bytes: u64,
}

/// A layer or blob.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Part {
    Layer(LayerId),
    Blob(Digest),
}

impl Measured {
    pub(super) fn of(host: &Host) -> Result<Self, Failure> {
        let (engine, store) = (engine(host), &host.store);
        let wrap = |error: kiln_store::Error| Failure::new(format!("Error response from daemon: {}", chain(&error)));
        let mut sizes: HashMap<Part, u64> = HashMap::new();
        sizes.extend(store.layer_sizes().map_err(wrap)?.into_iter().map(|(id, bytes)| (Part::Layer(id), bytes)));
        let mut parts: BTreeMap<Digest, BTreeSet<Part>> = BTreeMap::new();
        for image in store.images().list().map_err(wrap)? {
            let layers = image.layers.iter().filter_map(|layer| layer.layer.map(Part::Layer));
            let blobs = image.layers.iter().filter_map(|layer| layer.blob.as_ref().map(|blob| blob.digest.clone()));
            let blobs = blobs.chain(image.manifest.clone()).chain([image.id.clone()]);
            let blobs: Vec<Digest> = blobs.collect();
            for digest in &blobs {
                let bytes = store.blobs().size(digest).map_err(wrap)?.unwrap_or_default();
                sizes.insert(Part::Blob(digest.clone()), bytes);
            }
            parts.insert(image.id, layers.chain(blobs.into_iter().map(Part::Blob)).collect());
        }
        let summaries = engine.list(true)?;
        let links = |name: &str| {
            let uses = |one: &&Summary| one.container.mounts.iter().any(|mount| mount.volume.as_deref() == Some(name));
            summaries.iter().filter(uses).count()
        };
        let volumes = engine.volumes()?.into_iter().map(|summary| {
            let (links, bytes) = (links(&summary.name), store.disk_use(&summary.mountpoint).map_err(wrap)?);
            Ok(Volume { summary, links, bytes })
        });
        let volumes = volumes.collect::<Result<_, Failure>>()?;
        let containers = summaries.into_iter().map(|summary| {
            let bytes = store.disk_use(&store.containers().directory(&summary.id)).map_err(wrap)?;
            Ok(Container { summary, bytes })
        });
        let containers = containers.collect::<Result<_, Failure>>()?;
        let images = images(engine.images()?, parts, &sizes);
        Ok(Self { images, containers, volumes, cache: engine.cache_entries()?, sizes })
    }

    /// Bytes of what these images consist of; what several have counts once.
    pub(super) fn bytes_of<'a>(&self, images: impl Iterator<Item = &'a Image>) -> u64 {
        let parts: BTreeSet<&Part> = images.flat_map(|image| &image.parts).collect();
        parts.into_iter().filter_map(|part| self.sizes.get(part)).sum()
    }

    /// Bytes of the cache that no image needs.
    pub(super) fn cache_bytes(&self) -> u64 {
        self.cache.iter().filter(|entry| !entry.shared).map(|entry| entry.bytes).sum()
    }
}

fn images(
    summaries: Vec<ImageSummary>,
    mut parts: BTreeMap<Digest, BTreeSet<Part>>,
    sizes: &HashMap<Part, u64>,
) -> Vec<Image> {
    let mut users: HashMap<Part, usize> = HashMap::new();
    for part in parts.values().flatten() {
        *users.entry(part.clone()).or_default() += 1;
    }
    let image = |summary: ImageSummary| {
        let parts = parts.remove(&summary.id).unwrap_or_default();
        let sum = |shared: bool| {
            let of = parts.iter().filter(|part| users.get(part).is_some_and(|count| (*count > 1) == shared));
            of.filter_map(|part| sizes.get(part)).sum()
        };
        let (shared, unique) = (sum(true), sum(false));
        Image { summary, parts, shared, unique }
    };
    summaries.into_iter().map(image).collect()
}
