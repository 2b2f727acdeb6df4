//! What goes and what stays; images, containers and resolutions as they are named and used.

use kiln_oci::Platform;

use super::*;
use crate::containers::Container;
use crate::images::{ImageLayer, NewImage};
use crate::testing::{layer, metadata, store};
use crate::{Error, Key, Layer, Metadata, NewContainer, NewRecord, Store};

fn image(store: &Store, name: Option<&str>, layer: &Layer) -> Digest {
    let id = store.blobs().insert(format!("config of {name:?} {}", layer.id()).as_bytes()).unwrap().digest;
    let diff_id = Digest::of(layer.id().to_string().as_bytes());
    let layers = vec![ImageLayer { diff_id, layer: Some(layer.id()), blob: None }];
    store.images().insert(&NewImage { id: id.clone(), platform: Platform::host(), manifest: None, layers }).unwrap();
    if let Some(name) = name {
        store.images().tag(name, &id).unwrap();
    }
    id
}

fn record(store: &Store, number: u8, layers: &[&Layer], used: i64) {
    let layers = layers.iter().map(|layer| layer.id()).collect();
    let new = NewRecord { op: Key([0; 32]), lineage: String::new(), layers, inputs: vec![], effects: String::new() };
    let made = store.records().insert(&new, &[Key([number; 32])]).unwrap();
    let update = "UPDATE records SET used = ?2, turn = ?2 WHERE id = ?1";
    store.inner.database.write(|db| db.execute(update, [made.id, used])).unwrap();
}

fn container(store: &Store, id: &str, name: &str, image: &Digest, layers: &[&Layer]) -> Result<Container> {
    let layers = layers.iter().map(|layer| layer.id()).collect();
    let (id, name, image) = (id.into(), name.into(), Some(image.clone()));
    store.containers().create(&NewContainer { id, name, image, layers, value: "{}".into() })
}

#[test]
fn images_containers_and_leases_hold_what_they_need() {
    let (_directory, store) = store();
    let [named, dangling, used, cached, leased] =
        ["named", "dangling", "used", "cached", "leased"].map(|name| layer(&store, None, &format!("f {name} x")));
    image(&store, Some("docker.io/library/a:latest"), &named);
    let gone = image(&store, None, &dangling);
    let kept = image(&store, None, &used);
    container(&store, &"c".repeat(64), "box", &kept, &[&used]).unwrap();
    record(&store, 1, &[&cached, &named], 1);
    store.leases().release().unwrap();
    assert!(store.leases().pin_layers(&[leased.id()]).unwrap());
    let policy = Prune { dangling_images: true, ..Prune::default() };
    let dry = store.prune(&Prune { dry_run: true, ..policy.clone() }).unwrap();
    let freed = store.prune(&policy).unwrap();
    assert_eq!(dry, freed);
    assert_eq!(freed.images, [(gone.clone(), vec![])]);
    assert_eq!((freed.layers, freed.blobs, freed.records), (vec![dangling.id()], vec![gone], 0));
    let freed = store.prune(&Prune { cache: CachePart::All, ..Prune::default() }).unwrap();
    assert_eq!((freed.layers, freed.records), (vec![cached.id()], 1));
    store.leases().release().unwrap();
    let freed = store.prune(&Prune { unused_images: true, ..Prune::default() }).unwrap();
    assert_eq!(freed.images.len(), 1);
    assert_eq!(freed.layers, [named.id(), leased.id()]);
    assert!(store.layers().get(used.id()).unwrap().is_some());
    assert_eq!(store.images().list().unwrap().len(), 1);
}

#[test]
fn the_least_recently_used_records_go_first() {
    let (_directory, store) = store();
    let text = "x".repeat(1000);
    let layers: Vec<_> = (0..4).map(|number| layer(&store, None, &format!("f {number} {text}"))).collect();
    for (number, layer) in layers.iter().enumerate() {
        record(&store, number as u8, &[layer], [40, 10, 30, 20][number]);
    }
    store.leases().release().unwrap();
    let sizes = measure::sizes(&store.inner).unwrap().layers;
    let two = sizes[&layers[0].id()] + sizes[&layers[2].id()];
    let freed = store.prune(&Prune { cache: CachePart::DownTo(two + 500), ..Prune::default() }).unwrap();
    assert_eq!(freed.layers, [layers[1].id(), layers[3].id()]);
    let only = Some(BTreeSet::from(["record-99".to_owned()]));
    let freed = store.prune(&Prune { cache: CachePart::All, only, ..Prune::default() }).unwrap();
    assert_eq!(freed.records, 0);
    assert!(store.records().find(&Key([0; 32])).unwrap().is_some());
    let freed = store.prune(&Prune { cache: CachePart::All, ..Prune::default() }).unwrap();
    assert_eq!(freed.layers, [layers[2].id()], "the one just found is pinned");
}

fn made(mode: u32) -> Result<Metadata, Error> {
    Ok(metadata(mode))
}

#[test]
fn cache_mounts_in_use_stay() {
    let (_directory, store) = store();
    let mounts = store.cache_mounts();
    let used = mounts.directory("used", |_| made(0o700)).unwrap();
    let idle = mounts.directory("idle/../..", |_| made(0o755)).unwrap();
    assert_eq!(mounts.directory("used", |_| made(0o755)).unwrap(), used);
    assert_eq!(idle.parent(), used.parent());
    let lock = store.locks().try_acquire(mounts.lock_key("used"), Sharing::Shared).unwrap();
    let (first, _one) = mounts.private("mine", |_| made(0o755)).unwrap();
    let (second, _two) = mounts.private("mine", |_| made(0o755)).unwrap();
    assert_ne!(first, second);
    let freed = store.prune(&Prune { cache_mounts: true, ..Prune::default() }).unwrap();
    assert_eq!(freed.cache_mounts, 1);
    assert!(used.exists() && !idle.exists() && first.exists());
    drop(lock);
}

#[test]
fn images_are_found_by_name_and_by_unambiguous_id() {
    let (_directory, store) = store();
    let [one, two] = ["1", "2"].map(|name| layer(&store, None, &format!("f {name} x")));
    let (first, second) = (image(&store, Some("a:1"), &one), image(&store, None, &two));
    let images = store.images();
    let id = |name: &str| images.resolve(name).unwrap().map(|image| image.id);
    assert_eq!(id("a:1"), Some(first.clone()));
    assert_eq!(id(&second.to_string()), Some(second.clone()));
    assert_eq!(id(second.short()), Some(second.clone()));
    assert_eq!(id(&format!("sha256:{}", first.short())), Some(first.clone()));
    assert_eq!(id("no:such"), None);
    assert_eq!(id("*"), None);
    assert!(matches!(images.resolve("sha256:"), Ok(None)));
    assert_eq!(images.tag("a:1", &second).unwrap(), Some(first.clone()));
    assert!(images.get(&first).unwrap().unwrap().names.is_empty());
    assert_eq!(images.untag("a:1").unwrap(), Some(second.clone()));
    assert!(matches!(images.tag("b", &Digest::of(b"?")), Err(Error::MissingImage(_))));
    assert_eq!(images.list().unwrap()[0].id, second);
    container(&store, "abc", "box", &first, &[&one]).unwrap();
    assert!(matches!(images.remove(&first, false), Err(Error::ImageInUse { .. })));
    images.remove(&first, true).unwrap();
    assert_eq!(images.list().unwrap().len(), 1);
}

#[test]
fn a_name_has_an_image_for_each_platform() {
    let (_directory, store) = store();
    let one = layer(&store, None, "f 1 x");
    let platforms = ["linux/s390x", "linux/arm/v6"].map(|text| text.parse::<Platform>().unwrap());
    let [s390x, arm] = platforms.clone().map(|platform| {
        let id = store.blobs().insert(platform.to_string().as_bytes()).unwrap().digest;
        let new = NewImage { id: id.clone(), platform, manifest: None, layers: Vec::new() };
        store.images().insert(&new).unwrap();
        id
    });
    let host = image(&store, None, &one);
    let images = store.images();
    images.tag_all("a:1", &[s390x.clone(), host.clone(), arm.clone()]).unwrap();
    assert_eq!(images.resolve("a:1").unwrap().unwrap().id, host);
    let ids: Vec<Digest> = images.platforms("a:1").unwrap().into_iter().map(|image| image.id).collect();
    assert_eq!(ids, [host.clone(), s390x.clone(), arm.clone()]);
    let resolved = |name: &str, platform: &str| {
        images.resolve_for(name, &platform.parse().unwrap()).unwrap().map(|image| image.id)
    };
    assert_eq!(resolved("a:1", "linux/s390x"), Some(s390x.clone()));
    assert_eq!(resolved("a:1", "linux/arm/v7"), Some(arm.clone()));
    assert_eq!(resolved("a:1", "linux/arm/v5"), None);
    assert_eq!(resolved(s390x.short(), "linux/s390x"), Some(s390x.clone()));
    assert_eq!(resolved(s390x.short(), "linux/arm"), None);
    let named = images.get(&arm).unwrap().unwrap();
    assert!(named.names.is_empty() && named.names_by_platform == ["a:1"]);
    let dangling = Prune { dangling_images: true, ..Prune::default() };
    assert_eq!(store.prune(&dangling).unwrap().images, []);
    images.remove(&host, false).unwrap();
    assert_eq!(images.resolve("a:1").unwrap().unwrap().names, ["a:1"]);
    let host = image(&store, None, &one);
    images.tag_all("a:1", &[s390x.clone(), host.clone(), arm]).unwrap();
    assert_eq!(images.tag("a:1", &s390x).unwrap(), Some(host));
    assert_eq!(store.prune(&dangling).unwrap().images.len(), 2);
    assert_eq!(images.list().unwrap().len(), 1);
}

#[test]
fn what_is_known_of_an_image_only_grows() {
    let (_directory, store) = store();
    let one = layer(&store, None, "f 1 x");
    let id = image(&store, None, &one);
    let diff_id = Digest::of(one.id().to_string().as_bytes());
    let bare = ImageLayer { diff_id, layer: None, blob: None };
    let manifest = Some(Digest::of(b"manifest"));
    let again = NewImage { id, platform: Platform::host(), manifest: manifest.clone(), layers: vec![bare] };
    let image = store.images().insert(&again).unwrap();
    assert_eq!((image.layers[0].layer, image.manifest), (Some(one.id()), manifest));
}

#[test]
fn containers_have_unique_names_and_a_directory() {
    let (_directory, store) = store();
    let one = layer(&store, None, "f 1 x");
    let image = image(&store, None, &one);
    let containers = store.containers();
    let made = container(&store, "abc1", "box", &image, &[&one]).unwrap();
    let taken = container(&store, "abc2", "box", &image, &[&one]).unwrap_err();
    assert!(matches!(&taken, Error::NameTaken { by, .. } if by == "abc1"), "{taken}");
    assert!(!containers.directory("abc2").exists());
    container(&store, "abd", "crate", &image, &[&one]).unwrap();
    assert_eq!(containers.find("abc").unwrap(), Some(made.clone()));
    assert!(matches!(containers.find("ab"), Err(Error::Ambiguous { .. })));
    assert_eq!(containers.find("box").unwrap().unwrap().layers, [one.id()]);
    containers.update("abc1", "{\"a\":1}").unwrap();
    containers.rename("abc1", "bin").unwrap();
    assert!(matches!(containers.rename("abc1", "crate"), Err(Error::NameTaken { .. })));
    assert!(matches!(containers.update("none", ""), Err(Error::MissingContainer(_))));
    assert_eq!(containers.find("bin").unwrap().unwrap().value, "{\"a\":1}");
    let names: Vec<_> = containers.list().unwrap().into_iter().map(|each| each.name).collect();
    assert_eq!(names, ["crate", "bin"]);
    containers.remove("abc1").unwrap();
    assert!(!containers.directory("abc1").exists());
    assert!(containers.find("bin").unwrap().is_none());
}

#[test]
fn resolutions_and_logs_are_kept() {
    let (_directory, store) = store();
    let digest = Digest::of(b"index");
    store.resolutions().set("busybox", &Digest::of(b"old")).unwrap();
    store.resolutions().set("busybox", &digest).unwrap();
    assert_eq!(store.resolutions().get("busybox").unwrap().unwrap().digest, digest);
    assert_eq!(store.resolutions().list().unwrap().len(), 1);
    let mut log = store.logs().create("../build", "1/2 RUN x").unwrap();
    std::io::Write::write_all(&mut log, b"output\n").unwrap();
    assert!(log.path().starts_with(store.root().join("logs")));
    assert!(log.path().ends_with(".._build/1_2_RUN_x.log"));
    assert!(store.logs().directory("..").ends_with("_.."));
    assert!(store.disk_use(&store.root().join("logs")).unwrap() > 0);
    let old = std::time::Duration::from_secs(UNWRITTEN_KEEP as u64 + 60);
    let directory = store.logs().directory("../build");
    store.prune(&Prune { cache: CachePart::All, ..Prune::default() }).unwrap();
    assert!(directory.exists());
    let opened = std::fs::File::open(&directory).unwrap();
    opened.set_modified(std::time::SystemTime::now() - old).unwrap();
    store.prune(&Prune { cache: CachePart::All, ..Prune::default() }).unwrap();
    assert!(!directory.exists());
}
