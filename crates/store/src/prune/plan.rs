//! What shall go: decided from one snapshot, without touching anything.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};

use kiln_oci::Digest;

use super::Prune;
use super::holdings::{Holdings, UsedRecord, blobs_of};
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
    let is_root = |image: &&Image| image.is_named() || in_use.contains(&image.id);
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

/// What a policy makes go, at a time given in seconds since 1970.
pub(super) fn of_policy(mut holdings: Holdings, sizes: &Sizes, policy: &Prune, now: i64) -> Plan {
    let oldest = policy.unused_for.map_or(i64::MAX, |time| now - i64::try_from(time.as_secs()).unwrap_or(now));
    let images = images_that_go(&mut holdings, policy, oldest);
    let roots: Vec<&Image> = holdings.images.iter().collect();
    let needed = needed_layers(&holdings, &roots);
    let needed_blobs = needed_blobs(&holdings, &roots);
    let records = records_that_go(&holdings, sizes, policy, oldest, &needed);
    let gone: HashSet<i64> = records.iter().map(|(id, _)| *id).collect();
    let kept = holdings.records.iter().filter(|record| !gone.contains(&record.id));
    let cached: HashSet<LayerId> = kept.flat_map(|record| record.layers.iter().copied()).collect();
    let made: HashSet<LayerId> = holdings.records.iter().flat_map(|record| record.layers.iter().copied()).collect();
    let anything = policy.dangling_images || policy.unused_images || policy.cache_to.is_some();
    let selected = |id: &LayerId| match &policy.only {
        Some(only) => {
            only.contains(&super::entries::of_layer(*id)) || (made.contains(id) && !only_named(id, &holdings))
        }
        None => true,
    };
    let young = |id: &LayerId| holdings.recency.get(id).is_some_and(|(_, used)| *used > oldest);
    let unnamed = |id: &&LayerId| {
        anything && !needed.contains(id) && !cached.contains(id) && selected(id) && (made.contains(id) || !young(id))
    };
    let idle = |digest: &&String| {
        let selected = policy.only.as_ref().is_none_or(|only| only.contains(&super::entries::of_blob(digest)));
        anything && selected && !needed_blobs.contains(*digest)
    };
    let mounts = holdings.mounts.iter().filter(|(_, mount)| mount.used <= oldest).map(|(name, _)| name.clone());
    let unknown = sizes.mounts.keys().filter(|name| !holdings.mounts.contains_key(*name)).cloned();
    let selected =
        |name: &String| policy.only.as_ref().is_none_or(|only| only.contains(&super::entries::of_mount(name)));
    Plan {
        layers: holdings.layers.iter().filter(unnamed).copied().collect(),
        blobs: holdings.blobs.keys().filter(idle).cloned().collect(),
        mounts: mounts.chain(unknown).filter(|name| policy.cache_mounts && selected(name)).collect(),
        images,
        records,
    }
}

/// Whether a layer is listed by itself: it was pulled.
fn only_named(id: &LayerId, holdings: &Holdings) -> bool {
    holdings.pulled.contains(id)
}

/// Takes the images that go out of the holdings.
fn images_that_go(holdings: &mut Holdings, policy: &Prune, oldest: i64) -> Vec<Image> {
    let in_use: HashSet<Digest> = holdings.images_in_use();
    let goes = |image: &Image| {
        let kind = policy.unused_images || (policy.dangling_images && !image.is_named());
        let selected = policy.images.as_ref().is_none_or(|only| only.contains(&image.id));
        kind && selected && !in_use.contains(&image.id) && image.created.seconds <= oldest
    };
    let (gone, kept) = std::mem::take(&mut holdings.images).into_iter().partition(goes);
    holdings.images = kept;
    gone
}

/// Which records go: all that the policy means, or the least recently used of them until what only the cache needs
/// is small enough.
fn records_that_go(
    holdings: &Holdings,
    sizes: &Sizes,
    policy: &Prune,
    oldest: i64,
    needed: &HashSet<LayerId>,
) -> Vec<(i64, i64)> {
    let Some(limit) = policy.cache_to else { return Vec::new() };
    let meant = |record: &&UsedRecord| {
        let selected = policy.only.as_ref().is_none_or(|only| only.contains(&super::entries::of_record(record.id)));
        record.used <= oldest && selected
    };
    let mut users: HashMap<LayerId, u64> = HashMap::new();
    for layer in holdings.records.iter().flat_map(|record| &record.layers) {
        *users.entry(*layer).or_default() += 1;
    }
    let size = |layer: &LayerId| sizes.layers.get(layer).copied().unwrap_or(0);
    let mut total: u64 = users.keys().filter(|layer| !needed.contains(layer)).map(size).sum();
    let mut gone = Vec::new();
    for record in holdings.records.iter().filter(meant) {
        if limit > 0 && total <= limit {
            break;
        }
        gone.push((record.id, record.turn));
        for layer in &record.layers {
            let left = users.entry(*layer).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 && !needed.contains(layer) {
                total = total.saturating_sub(size(layer));
            }
        }
    }
    gone
}

/// Cache mounts, least recently used first.
pub(super) fn mounts_by_use(holdings: &Holdings, sizes: &Sizes) -> Vec<String> {
    let mut names: Vec<String> = sizes.mounts.keys().cloned().collect();
    names.sort_by_cached_key(|name| holdings.mounts.get(name).map(|mount| (mount.turn, mount.used)));
    names
}
