//! What shall go: decided from one snapshot, without touching anything.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};

use kiln_oci::Digest;

use super::holdings::{Holdings, UsedRecord, blobs_of};
use super::{CachePart, Prune, entries};
use crate::images::Image;
use crate::layers::LayerId;
use crate::measure::Sizes;

/// What shall go.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) images: Vec<Image>,
    /// Records, each with the session that used it last.
    pub(super) records: Vec<(i64, i64)>,
    pub(super) layers: Vec<LayerId>,
    pub(super) blobs: Vec<String>,
    pub(super) mounts: Vec<String>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        let Self { images, records, layers, blobs, mounts } = self;
        images.is_empty() && records.is_empty() && layers.is_empty() && blobs.is_empty() && mounts.is_empty()
    }
}

/// How much the least recently used shall make room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal<'a> {
    /// Bytes to free.
    pub(super) bytes: u64,
    /// What was used later, in seconds since 1970, goes last...
    pub(super) young: i64,
    /// ...or not at all.
    pub(super) spares_young: bool,
    /// Cache mounts that are in use.
    pub(super) busy: &'a HashSet<String>,
    /// Only these parts of the cache, and no image.
    pub(super) only: Option<&'a BTreeSet<String>>,
    /// No image goes.
    pub(super) spares_images: bool,
}

impl<'a> Goal<'a> {
    pub(super) fn of(busy: &'a HashSet<String>) -> Self {
        Self { bytes: 0, young: i64::MAX, spares_young: false, busy, only: None, spares_images: false }
    }

    fn allows(&self, item: &Item<'_>) -> bool {
        let Some(only) = self.only else { return true };
        only.contains(&match item {
            Item::Blob(digest) => entries::of_blob(digest),
            Item::Mount(name) => entries::of_mount(name),
            Item::Layer(id) => entries::of_layer(*id),
            Item::Record(record) => entries::of_record(record.id),
            Item::Image(_) => return false,
        })
    }
}

/// Something that can go by itself.
#[derive(Clone, Copy)]
enum Item<'a> {
    Blob(&'a str),
    Mount(&'a str),
    Layer(LayerId),
    Image(&'a Image),
    Record(&'a UsedRecord),
}

/// What of images without a name, cache records, cache mounts and what nobody names goes to reach a goal; as much as
/// is possible, if that is less.
pub(super) fn least_recently_used(holdings: &Holdings, sizes: &Sizes, goal: Goal<'_>) -> Plan {
    let in_use = holdings.images_in_use();
    let is_root = |image: &&Image| goal.spares_images || image.is_named() || in_use.contains(&image.id);
    let (roots, loose): (Vec<&Image>, Vec<&Image>) = holdings.images.iter().partition(is_root);
    let needed = needed_layers(holdings, &roots);
    let needed_blobs = needed_blobs(holdings, &roots);
    let mut users: HashMap<LayerId, u32> = HashMap::new();
    let of_loose = loose.iter().flat_map(|image| image.layers.iter().filter_map(|layer| layer.layer));
    for layer in of_loose.chain(holdings.records.iter().flat_map(|record| record.layers.iter().copied())) {
        *users.entry(layer).or_default() += 1;
    }
    let mut items: Vec<Item<'_>> = loose.iter().map(|image| Item::Image(image)).collect();
    items.extend(holdings.records.iter().map(Item::Record));
    let alone = holdings.layers.iter().filter(|id| !needed.contains(id) && !users.contains_key(id));
    items.extend(alone.map(|id| Item::Layer(*id)));
    items.extend(sizes.mounts.keys().filter(|name| !goal.busy.contains(*name)).map(|name| Item::Mount(name)));
    let of_loose: HashSet<String> = loose.iter().flat_map(|image| blobs_of(image)).collect();
    let idle = |digest: &&String| !needed_blobs.contains(*digest) && !of_loose.contains(*digest);
    items.extend(holdings.blobs.keys().filter(idle).map(|digest| Item::Blob(digest)));
    items.retain(|item| goal.allows(item));
    items.sort_by_cached_key(|item| order(holdings, item, goal.young));
    let chosen = choose(&items, holdings, sizes, goal, &needed, &mut users);
    useful(chosen, &needed, &users, &needed_blobs)
}

/// The order in which things go: what is not young, by session; within one, what may be made of the rest first.
fn order(holdings: &Holdings, item: &Item<'_>, young: i64) -> (bool, i64, u8, Reverse<i64>) {
    let of_layer = |id: &LayerId| holdings.recency.get(id).copied().unwrap_or_default();
    let ((turn, used), rank, id) = match item {
        Item::Blob(_) => ((0, 0), 0, 0),
        Item::Image(image) => {
            let turn = holdings.image_turns.get(&image.id.to_string()).copied().unwrap_or_default();
            ((turn, image.created.seconds), 1, 0)
        }
        Item::Record(record) => ((record.turn, record.used), 2, record.id),
        Item::Layer(id) => (of_layer(id), 3, id.row()),
        Item::Mount(name) => {
            (holdings.mounts.get(*name).map(|mount| (mount.turn, mount.used)).unwrap_or_default(), 4, 0)
        }
    };
    (used > young, turn, rank, Reverse(id))
}

/// Takes items in order until enough is free.
fn choose<'a>(
    items: &[Item<'a>],
    holdings: &Holdings,
    sizes: &Sizes,
    goal: Goal<'_>,
    needed: &HashSet<LayerId>,
    users: &mut HashMap<LayerId, u32>,
) -> Vec<Item<'a>> {
    let size = |id: &LayerId| sizes.layers.get(id).copied().unwrap_or_default();
    let (mut freed, mut chosen) = (0u64, Vec::new());
    let mut release = |layers: &mut dyn Iterator<Item = LayerId>| {
        let mut freed = 0;
        for layer in layers {
            let left = users.entry(layer).or_default();
            *left = left.saturating_sub(1);
            freed += if *left == 0 && !needed.contains(&layer) { size(&layer) } else { 0 };
        }
        freed
    };
    for &item in items {
        if freed >= goal.bytes || (goal.spares_young && order(holdings, &item, goal.young).0) {
            break;
        }
        freed += match item {
            Item::Blob(digest) => holdings.blobs.get(digest).copied().unwrap_or_default(),
            Item::Mount(name) => sizes.mounts.get(name).copied().unwrap_or_default(),
            Item::Layer(id) => size(&id),
            Item::Image(image) => release(&mut image.layers.iter().filter_map(|layer| layer.layer)),
            Item::Record(record) => release(&mut record.layers.iter().copied()),
        };
        chosen.push(item);
    }
    chosen
}

/// The plan for chosen items. A record or an image whose layers all stay makes no room: it stays.
fn useful(
    chosen: Vec<Item<'_>>,
    needed: &HashSet<LayerId>,
    users: &HashMap<LayerId, u32>,
    needed_blobs: &HashSet<String>,
) -> Plan {
    let goes = |id: &LayerId| !needed.contains(id) && users.get(id).is_none_or(|left| *left == 0);
    let (mut plan, mut layers) = (Plan::default(), BTreeSet::new());
    for item in chosen {
        match item {
            Item::Blob(digest) => plan.blobs.push(digest.to_owned()),
            Item::Mount(name) => plan.mounts.push(name.to_owned()),
            Item::Layer(id) => drop(layers.insert(id)),
            Item::Image(image) => {
                let own: Vec<LayerId> = image.layers.iter().filter_map(|layer| layer.layer).filter(goes).collect();
                if !own.is_empty() {
                    layers.extend(own);
                    plan.images.push(image.clone());
                }
            }
            Item::Record(record) => {
                let own: Vec<LayerId> = record.layers.iter().copied().filter(goes).collect();
                if !own.is_empty() {
                    layers.extend(own);
                    plan.records.push((record.id, record.turn));
                }
            }
        }
    }
    plan.blobs.extend(super::delete::only_of(&plan.images, needed_blobs));
    plan.layers = layers.into_iter().collect();
    plan
}

fn needed_layers(holdings: &Holdings, roots: &[&Image]) -> HashSet<LayerId> {
    let of_roots = roots.iter().flat_map(|image| &image.layers).filter_map(|layer| layer.layer);
    let of_containers = holdings.containers.iter().flat_map(|each| each.layers.iter().copied());
    of_roots.chain(of_containers).chain(holdings.pinned_layers.iter().copied()).collect()
}

fn needed_blobs(holdings: &Holdings, roots: &[&Image]) -> HashSet<String> {
    roots.iter().flat_map(|image| blobs_of(image)).chain(holdings.pinned_blobs.iter().cloned()).collect()
}

/// What of the cache goes until what only the cache needs takes at most so many bytes.
pub(super) fn down_to(holdings: &Holdings, sizes: &Sizes, policy: &Prune, limit: u64) -> Plan {
    let roots: Vec<&Image> = holdings.images.iter().collect();
    let (needed, needed_blobs) = (needed_layers(holdings, &roots), needed_blobs(holdings, &roots));
    let layers = sizes.layers.iter().filter(|(id, _)| !needed.contains(id)).map(|(_, bytes)| bytes);
    let blobs = holdings.blobs.iter().filter(|(digest, _)| !needed_blobs.contains(*digest)).map(|(_, bytes)| bytes);
    let total = layers.chain(blobs).chain(sizes.mounts.values()).sum::<u64>();
    let busy = HashSet::new();
    let bytes = total.saturating_sub(limit);
    least_recently_used(
        holdings,
        sizes,
        Goal { bytes, only: policy.only.as_ref(), spares_images: true, ..Goal::of(&busy) },
    )
}

/// What a policy makes go.
pub(super) fn of_policy(mut holdings: Holdings, sizes: &Sizes, policy: &Prune) -> Plan {
    let images = images_that_go(&mut holdings, policy);
    let roots: Vec<&Image> = holdings.images.iter().collect();
    let (needed, needed_blobs) = (needed_layers(&holdings, &roots), needed_blobs(&holdings, &roots));
    let selected = |id: String| policy.only.as_ref().is_none_or(|only| only.contains(&id));
    let goes = |record: &&UsedRecord| policy.cache == CachePart::All && selected(entries::of_record(record.id));
    let (gone, kept): (Vec<_>, Vec<_>) = holdings.records.iter().partition(goes);
    let layers_of = |records: &[&UsedRecord]| -> HashSet<LayerId> {
        records.iter().flat_map(|record| record.layers.iter().copied()).collect()
    };
    let (made, cached) = (layers_of(&gone), layers_of(&kept));
    let anything = policy.dangling_images || policy.unused_images || policy.cache != CachePart::Nothing;
    // A layer that a step made goes with its record, a pulled one is a part of the cache by itself.
    let goes = |id: &&LayerId| {
        let with_record = made.contains(id) && !holdings.pulled.contains(id);
        anything && !needed.contains(id) && !cached.contains(id) && (with_record || selected(entries::of_layer(**id)))
    };
    let idle = |digest: &&String| anything && !needed_blobs.contains(*digest) && selected(entries::of_blob(digest));
    let mounts = sizes.mounts.keys().filter(|name| policy.cache_mounts && selected(entries::of_mount(name)));
    Plan {
        layers: holdings.layers.iter().filter(goes).copied().collect(),
        blobs: holdings.blobs.keys().filter(idle).cloned().collect(),
        mounts: mounts.cloned().collect(),
        records: gone.iter().map(|record| (record.id, record.turn)).collect(),
        images,
    }
}

/// Takes the images that go out of the holdings.
fn images_that_go(holdings: &mut Holdings, policy: &Prune) -> Vec<Image> {
    let in_use: HashSet<Digest> = holdings.images_in_use();
    let goes = |image: &Image| {
        let kind = policy.unused_images || (policy.dangling_images && !image.is_named());
        let selected = policy.images.as_ref().is_none_or(|only| only.contains(&image.id));
        kind && selected && !in_use.contains(&image.id)
    };
    let (gone, kept) = std::mem::take(&mut holdings.images).into_iter().partition(goes);
    holdings.images = kept;
    gone
}

/// Cache mounts, least recently used first.
pub(super) fn mounts_by_use(holdings: &Holdings, sizes: &Sizes) -> Vec<String> {
    let mut names: Vec<String> = sizes.mounts.keys().cloned().collect();
    names.sort_by_cached_key(|name| holdings.mounts.get(name).map(|mount| (mount.turn, mount.used)));
    names
}
