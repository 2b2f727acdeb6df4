//! Pulls and pushes whose connections are cut, at every 64 KiB: they arrive, right, and what was sent before a cut is
//! not sent again. The proxy counts.

use kiln_tests::cutting_proxy::{Cut, CuttingProxy, Through, Way};
use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::kiln::{Kiln, tool};
use kiln_tests::kiln_registry::KilnRegistry;
use kiln_tests::{full, say};
use sha2::{Digest as _, Sha256};

/// Where connections are cut.
const BOUNDARY: u64 = 64 << 10;
/// What one more request may take: its head and the head of its answer.
const HEADS: u64 = 2 << 10;

/// The boundaries below `bytes`; unless all were asked for, the first, the last, and some between.
fn boundaries(bytes: u64) -> Vec<u64> {
    let all: Vec<u64> = (1..).map(|n| n * BOUNDARY).take_while(|at| *at < bytes).collect();
    assert!(all.len() > 10, "only {bytes} bytes");
    if full() {
        return all;
    }
    let some = all.iter().enumerate().filter(|(n, _)| n % 5 == 0 || n + 1 == all.len());
    some.map(|(_, at)| *at).collect()
}

/// Pulls `name` into an empty store; returns the image, layers and all, as an archive's listing with digests.
#[track_caller]
fn pulled(name: &str) -> String {
    let kiln = Kiln::new();
    kiln.ok(&["pull", "--quiet", name]);
    let archive = kiln.scratch("saved").join("image.tar");
    let archive = archive.to_str().expect("UTF-8");
    kiln.ok(&["save", "--output", archive, name]);
    tool("sh", &["-c", &format!("tar -tvf {archive} | sort; tar -xOf {archive} | sha256sum")])
}

#[test]
fn a_pull_that_is_cut_once_anywhere_loses_nothing() {
    let registry = DockerRegistry::with(&["busybox"]);
    let proxy = CuttingProxy::before(registry.address());
    let name = format!("{}/library/busybox:latest", proxy.address());
    let whole = pulled(&name);
    let undisturbed = proxy.through().down;
    let boundaries = boundaries(undisturbed);
    let mut again = 0;
    for &at in &boundaries {
        proxy.cut(Cut::Once(Way::Down, at));
        assert_eq!(pulled(&name), whole, "cut at {at}");
        let through = proxy.through();
        assert_eq!(through.cuts, 1, "cut at {at}");
        let more = through.down - undisturbed;
        assert!(more <= HEADS, "cut at {at}: {more} bytes came again");
        again += more;
    }
    say(&format!(
        "pull of {undisturbed} bytes cut once, at {} boundaries of 64 KiB: {again} bytes more in all, {HEADS} allowed each",
        boundaries.len()
    ));
}

#[test]
fn a_pull_that_is_cut_every_64_kib_arrives() {
    let registry = DockerRegistry::with(&["busybox"]);
    let proxy = CuttingProxy::before(registry.address());
    let name = format!("{}/library/busybox:latest", proxy.address());
    let whole = pulled(&name);
    let undisturbed = proxy.through().down;
    proxy.cut(Cut::Each(Way::Down, BOUNDARY));
    assert_eq!(pulled(&name), whole);
    judge_cuts("pull, each connection cut after 64 KiB", proxy.through(), undisturbed);
}

/// A pull of `undisturbed` bytes was cut at every boundary, and only heads were sent again.
#[track_caller]
fn judge_cuts(what: &str, through: Through, undisturbed: u64) {
    assert!(through.cuts >= undisturbed / BOUNDARY, "{through:?}");
    let more = through.down - undisturbed;
    assert!(more <= through.cuts * HEADS, "{through:?} of {undisturbed}");
    say(&format!("{what}: {undisturbed} bytes, {} cuts, {more} bytes more", through.cuts));
}

/// Layers share the connections' misfortune: each gets a little further between two cuts.
#[test]
fn a_pull_of_many_layers_that_is_cut_every_64_kib_arrives() {
    let registry = DockerRegistry::with(&["busybox"]);
    let builder = Kiln::new();
    let context = builder.scratch("context");
    let mut dockerfile = format!("FROM {}/library/busybox:latest\n", registry.address());
    for layer in 0..6_u8 {
        // Bytes that hardly compress, and differ from layer to layer.
        let noise = (0..10_000_u32).flat_map(|n| Sha256::digest([n.to_le_bytes(), [layer; 4]].concat()));
        std::fs::write(context.join(format!("f{layer}")), noise.collect::<Vec<u8>>()).expect("a file");
        dockerfile.push_str(&format!("COPY f{layer} /\n"));
    }
    std::fs::write(context.join("Dockerfile"), dockerfile).expect("Dockerfile");
    let name = format!("{}/many:1", registry.address());
    builder.ok(&["build", "--push", "--tag", &name, context.to_str().expect("UTF-8")]);

    let proxy = CuttingProxy::before(registry.address());
    let name = format!("{}/many:1", proxy.address());
    let whole = pulled(&name);
    let undisturbed = proxy.through().down;
    assert!(undisturbed > 40 * BOUNDARY, "only {undisturbed} bytes");
    proxy.cut(Cut::Every(Way::Down, BOUNDARY));
    assert_eq!(pulled(&name), whole);
    judge_cuts("pull of 7 layers, cut every 64 KiB", proxy.through(), undisturbed);
}

/// A store with an image to push.
fn pusher() -> Kiln {
    let kiln = Kiln::new();
    kiln.load("busybox");
    kiln
}

/// Pushes the image to a new registry over `kiln`'s store, cut like this. Returns what went through.
#[track_caller]
fn pushed_to_kiln(pusher: &Kiln, cut: Cut) -> kiln_tests::cutting_proxy::Through {
    let served = Kiln::new();
    let registry = KilnRegistry::start(&served, &[]);
    let proxy = CuttingProxy::before(registry.address());
    proxy.cut(cut);
    push(pusher, &proxy);
    check(registry.address());
    proxy.through()
}

#[track_caller]
fn push(pusher: &Kiln, proxy: &CuttingProxy) {
    let name = format!("{}/app:1", proxy.address());
    pusher.ok(&["tag", "busybox", &name]);
    pusher.ok(&["push", &name]);
    pusher.ok(&["rmi", &name]);
}

/// Fetches everything with another tool, which checks the digests.
#[track_caller]
fn check(registry: &str) {
    let place = tempfile::tempdir().expect("temporary directory");
    let (from, to) = (format!("docker://{registry}/app:1"), format!("dir:{}", place.path().display()));
    tool("skopeo", &["copy", "--quiet", "--src-tls-verify=false", &from, &to]);
}

#[test]
fn a_push_that_is_cut_once_anywhere_goes_on_from_there() {
    let pusher = pusher();
    let undisturbed = pushed_to_kiln(&pusher, Cut::Never).up;
    let boundaries = boundaries(undisturbed);
    let mut again = 0;
    for &at in &boundaries {
        let through = pushed_to_kiln(&pusher, Cut::Once(Way::Up, at));
        assert_eq!(through.cuts, 1, "cut at {at}");
        let more = through.up - undisturbed;
        assert!(more <= 2 * HEADS, "cut at {at}: {more} bytes went again");
        again += more;
    }
    say(&format!(
        "push of {undisturbed} bytes cut once, at {} boundaries of 64 KiB: {again} bytes more in all, {} allowed each",
        boundaries.len(),
        2 * HEADS
    ));
}

#[test]
fn a_push_that_is_cut_every_64_kib_arrives() {
    let pusher = pusher();
    let undisturbed = pushed_to_kiln(&pusher, Cut::Never).up;
    let through = pushed_to_kiln(&pusher, Cut::Each(Way::Up, BOUNDARY));
    assert!(through.cuts >= undisturbed / BOUNDARY, "{through:?}");
    let more = through.up - undisturbed;
    assert!(more <= through.cuts * 2 * HEADS, "{through:?} of {undisturbed}");
    say(&format!(
        "push of {undisturbed} bytes, each connection cut after 64 KiB: {} cuts, {more} bytes more",
        through.cuts
    ));
}

/// Docker's registry forgets an upload whose request broke: what it had is sent again, and no more than that.
#[test]
fn a_push_to_who_forgets_broken_uploads_begins_anew_once() {
    let pusher = pusher();
    let registry = DockerRegistry::start();
    let proxy = CuttingProxy::before(registry.address());
    push(&pusher, &proxy);
    let undisturbed = proxy.through().up;
    let middle = undisturbed / BOUNDARY / 2 * BOUNDARY;
    // The registry has the layer now, so another one takes the cut.
    let registry = DockerRegistry::start();
    let proxy = CuttingProxy::before(registry.address());
    proxy.cut(Cut::Once(Way::Up, middle));
    push(&pusher, &proxy);
    check(registry.address());
    let through = proxy.through();
    assert_eq!(through.cuts, 1);
    let more = through.up - undisturbed;
    assert!(more <= middle + 2 * HEADS, "{more} bytes went again after a cut at {middle}");
    say(&format!("push of {undisturbed} bytes to docker-registry, cut at {middle}: {more} bytes more"));
}
