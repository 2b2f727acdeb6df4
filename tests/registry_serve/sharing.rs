//! One store for images and registry: nothing is there twice, and neither's collector takes what the other needs.

use std::collections::BTreeSet;
use std::fs;

use kiln_tests::kiln::Kiln;
use kiln_tests::kiln_registry::KilnRegistry;

/// Digits of all blobs.
fn blobs(kiln: &Kiln) -> BTreeSet<String> {
    let entries = fs::read_dir(kiln.root().join("blobs/sha256")).expect("blobs");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn an_image_of_the_same_store_is_pushed_without_a_copy_and_outlives_its_name() {
    let kiln = Kiln::new();
    kiln.load("busybox");
    let served = KilnRegistry::start(&kiln, &[]);
    let name = format!("{}/lib/busybox:1", served.address());
    kiln.ok(&["tag", "busybox", &name]);
    kiln.ok(&["push", &name]);
    let other = format!("{}/other:2", served.address());
    kiln.ok(&["tag", &name, &other]);
    let (pushed, uploads) = (blobs(&kiln), kiln.root().join("uploads"));
    kiln.ok(&["push", &other]);
    assert_eq!(blobs(&kiln), pushed, "the second push made blobs");
    assert_eq!(fs::read_dir(&uploads).expect("uploads").count(), 0);

    kiln.ok(&["rmi", "-f", &name, &other, "busybox"]);
    kiln.ok(&["system", "prune", "-a", "-f"]);
    let pulled = Kiln::new();
    pulled.ok(&["pull", &name]);
    pulled.ok(&["pull", &other]);
    let listed = kiln.ok(&["registry", "ls", "-q"]).stdout;
    assert_eq!(listed, "lib/busybox\nother\n");
    let tags = kiln.ok(&["registry", "ls", "other"]).stdout;
    assert!(tags.starts_with("TAG") && tags.contains("\n2 ") && tags.contains("sha256:"), "{tags}");
}

#[test]
fn what_is_collected_is_what_nothing_leads_to_also_while_others_are_served() {
    let kiln = Kiln::new();
    let from = Kiln::new();
    from.load("busybox");
    let served = KilnRegistry::start(&kiln, &[]);
    let names = [format!("{}/one:1", served.address()), format!("{}/two:1", served.address())];
    for name in &names {
        from.ok(&["tag", "busybox", name]);
        from.ok(&["push", name]);
    }
    let all = blobs(&kiln);
    let tag = kiln.ok(&["registry", "ls", "one"]).stdout;
    let digest = tag.split_whitespace().find(|word| word.starts_with("sha256:")).expect("a digest").to_owned();
    let target = format!("/v2/one/manifests/{digest}");
    assert_eq!(served.server().send(&kiln_tests::http::Request::new("DELETE", &target)).status, 202);
    let dry = kiln.ok(&["registry", "gc", "--keep-younger", "0", "--dry-run"]).stdout;
    assert!(dry.contains("blob would be deleted: one@sha256:") && dry.contains("Reclaimable space: 0B"), "{dry}");
    kiln.ok(&["registry", "gc", "--keep-younger", "0"]);
    assert_eq!(blobs(&kiln), all, "the other repository needs them");
    let target = format!("/v2/two/manifests/{digest}");
    assert_eq!(served.server().send(&kiln_tests::http::Request::new("DELETE", &target)).status, 202);
    let young = kiln.ok(&["registry", "gc"]).stdout;
    assert_eq!(young, "Total reclaimed space: 0B\n");
    let gone = kiln.ok(&["registry", "gc", "--keep-younger", "0"]).stdout;
    assert!(gone.contains("blob deleted: two@sha256:"), "{gone}");
    assert_eq!(blobs(&kiln), BTreeSet::new());
    kiln.ok(&["system", "check", "-q"]);
}
