//! Layers that nobody honest makes: what leads out of the layer, what is no tar, what is too much. Each is refused with
//! words, or does nothing outside; as root and as a user; and the store stays sound.

mod image;
mod tar;

use std::fs;
use std::path::{Path, PathBuf};

use kiln_tests::is_root_for;
use kiln_tests::kiln::{Answer, Kiln};
use kiln_tests::tarball::{Entry, record, tarball};
use kiln_tests::user::User;

use crate::image::{layers, load, load_compressed};

/// A store, and a directory and a file outside that nobody may touch.
struct Target {
    kiln: Kiln,
    outside: PathBuf,
}

const SECRET: &str = "nobody may read or write this";

impl Target {
    /// Of root, and of a user with subordinate ids; only as who runs this where that is not root.
    fn all(test: &str) -> Vec<Target> {
        let mut kilns = vec![Kiln::new()];
        if is_root_for(&format!("{test}, as a user")) {
            kilns.push(Kiln::of(User::with_subordinate_ids()));
        }
        kilns.into_iter().map(Target::new).collect()
    }

    fn new(kiln: Kiln) -> Target {
        let outside = kiln.scratch("outside");
        fs::write(outside.join("canary"), SECRET).expect("canary");
        Target { kiln, outside }
    }

    /// The path of something outside.
    fn outside(&self, name: &str) -> String {
        text(&self.outside.join(name)).to_owned()
    }

    /// The layer is not taken, this is said, and nothing stays.
    #[track_caller]
    fn refuses(&self, name: &str, layer: &[u8], words: &[&str]) {
        let before = layers(&self.kiln);
        let answer = load(&self.kiln, name, layer);
        self.refused(name, &answer, words);
        assert_eq!(layers(&self.kiln), before, "{name}: a layer stayed");
        self.untouched(name);
    }

    #[track_caller]
    fn refused(&self, name: &str, answer: &Answer, words: &[&str]) {
        assert_eq!(answer.code(), 1, "{name}: {answer}");
        assert!(!answer.stderr.contains("panicked"), "{name}: {answer}");
        for word in words {
            assert!(answer.stderr.contains(word), "{name}: {word:?} is missing: {answer}");
        }
    }

    /// The layer is taken, and nothing outside changed.
    #[track_caller]
    fn takes(&self, name: &str, layer: &[u8]) {
        let answer = load(&self.kiln, name, layer);
        assert_eq!(answer.code(), 0, "{name}: {answer}");
        self.untouched(name);
    }

    #[track_caller]
    fn untouched(&self, name: &str) {
        let names: Vec<_> =
            fs::read_dir(&self.outside).expect("outside").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["canary"], "{name}");
        let canary = self.outside.join("canary");
        assert_eq!(fs::read_to_string(&canary).expect("canary"), SECRET, "{name}");
        use std::os::unix::fs::MetadataExt;
        let links = fs::metadata(&canary).expect("canary").nlink();
        assert_eq!(links, 1, "{name}: it got another name");
    }

    #[track_caller]
    fn sound(&self) {
        self.kiln.ok(&["system", "check", "-q"]);
    }
}

#[test]
fn paths_that_lead_out() {
    for target in Target::all("paths that lead out") {
        let climbing = ["../canary", "a/../../canary", "/../canary", "./../../../../../../canary", "a/b/../../../c"];
        for path in climbing {
            target.refuses("climbing", &tarball(&[Entry::file(path, b"evil")]), &["leads out", path]);
            target.refuses("climbing-directory", &tarball(&[Entry::directory(path)]), &["leads out"]);
            target.refuses("climbing-link", &tarball(&[Entry::symlink(path, "x")]), &["leads out"]);
        }
        target.refuses("whiteout", &tarball(&[Entry::file("../.wh.canary", b"")]), &["leads out"]);
        target.takes("absolute", &tarball(&[Entry::file(&target.outside("canary"), b"evil")]));
        target.takes("absolute-directory", &tarball(&[Entry::directory(&target.outside("new"))]));
        target.sound();
    }
}

#[test]
fn parents_that_are_links() {
    for target in Target::all("parents that are links") {
        let outside = target.outside("");
        let deep = format!("../../../../../../../../../../../../..{outside}");
        for to in [outside.as_str(), deep.as_str(), "/proc/self/root", "/proc/self/cwd"] {
            let through = [Entry::symlink("link", to), Entry::file("link/canary", b"evil")];
            target.takes("through a link", &tarball(&through));
            let twice = [Entry::symlink("a", "b"), Entry::symlink("b", to), Entry::file("a/canary", b"evil")];
            target.takes("through two links", &tarball(&twice));
            let below = [Entry::directory("d"), Entry::symlink("d/l", to), Entry::directory("d/l/new")];
            target.takes("a directory through a link", &tarball(&below));
            let later = [Entry::file("d/x", b""), Entry::symlink("d", to), Entry::file("d/canary", b"evil")];
            target.takes("a directory that becomes a link", &tarball(&later));
            let hidden =
                [Entry::symlink("l", to), Entry::file("l/.wh.canary", b""), Entry::file("l/.wh..wh..opq", b"")];
            target.takes("whiteouts through a link", &tarball(&hidden));
        }
        let circle = [Entry::symlink("a", "b"), Entry::symlink("b", "a"), Entry::file("a/file", b"")];
        target.refuses("a circle of links", &tarball(&circle), &["symbolic links"]);
        target.refuses("a file as a parent", &tarball(&[Entry::file("f", b""), Entry::file("f/x", b"")]), &["f"]);
        target.sound();
    }
}

#[test]
fn links_and_what_is_written_to_them() {
    for target in Target::all("links that are written to") {
        let canary = target.outside("canary");
        let over = [Entry::symlink("link", &canary), Entry::file("link", b"evil")];
        target.takes("a file over a link", &tarball(&over));
        let second =
            [Entry::symlink("link", &canary), Entry::hard_link("other", "link"), Entry::file("other", b"evil")];
        target.takes("a file over another name of a link", &tarball(&second));
        for to in [canary.as_str(), "/etc/passwd", "nowhere", "etc/passwd"] {
            target.refuses("a hard link outside", &tarball(&[Entry::hard_link("h", to)]), &["hard link", to]);
        }
        target.refuses("a hard link up", &tarball(&[Entry::hard_link("h", "../../etc/passwd")]), &["leads out"]);
        let through = [Entry::symlink("s", &target.outside("")), Entry::hard_link("h", "s/canary")];
        target.refuses("a hard link through a link", &tarball(&through), &["hard link"]);
        let directory = [Entry::directory("d"), Entry::hard_link("h", "d")];
        target.refuses("a hard link to a directory", &tarball(&directory), &["d"]);
        target.refuses("a link as root", &tarball(&[Entry::symlink("./", &target.outside(""))]), &["root"]);
        target.refuses("a file as root", &tarball(&[Entry::file(".", b"x")]), &["root"]);
        target.sound();
    }
}

#[test]
fn names_that_nothing_can_have() {
    for target in Target::all("names that nothing can have") {
        let long = "n".repeat(300);
        let named = |path: &str| tarball(&[Entry::pax(&[record("path", path)]), Entry::file("x", b"")]);
        target.refuses("a name of 300 bytes", &named(&long), &["255"]);
        target.refuses("a path of 70,000 bytes", &named(&"d/".repeat(35_000)), &[]);
        target.refuses("a zero byte", &named("a\0b"), &["path"]);
        for whiteout in [".wh.", ".wh..", ".wh...", "d/.wh."] {
            target.refuses("a whiteout of nothing", &tarball(&[Entry::file(whiteout, b"")]), &["whiteout"]);
        }
        let link = |to: &str| tarball(&[Entry::pax(&[record("linkpath", to)]), Entry::symlink("l", "x")]);
        target.refuses("a target of 5,000 bytes", &link(&"t/".repeat(2500)), &["target"]);
        target.refuses("an empty target", &tarball(&[Entry::symlink("l", "")]), &["target"]);
        target.takes("two hundred directories deep", &named(&format!("{}x", "d/".repeat(200))));
        let answer = load(&target.kiln, "five thousand directories deep", &named(&format!("{}x", "d/".repeat(5000))));
        assert!([0, 1].contains(&answer.code()) && !answer.stderr.contains("panicked"), "{answer}");
        target.sound();
    }
}

#[test]
fn devices() {
    for target in Target::all("devices") {
        let null = Entry { kind: b'3', device: (0, 0), ..Entry::file("d", b"") };
        target.refuses("a device 0:0", &tarball(&[null]), &["0:0"]);
        let disk = Entry { kind: b'4', device: (8, 0), ..Entry::file("disk", b"") };
        let memory = Entry { kind: b'3', device: (1, 1), ..Entry::file("memory", b"") };
        let huge = Entry { kind: b'3', device: (0o7_777_777, 0o7_777_777), ..Entry::file("huge", b"") };
        target.takes("devices", &tarball(&[disk, memory]));
        target.refuses("a huge device number", &tarball(&[huge]), &["device number"]);
        target.sound();
    }
}

#[test]
fn owners_that_nobody_can_be() {
    for target in Target::all("owners that nobody can be") {
        let owned = |id: &str| tarball(&[Entry::pax(&[record("uid", id), record("gid", id)]), Entry::file("x", b"")]);
        for id in ["-1", "4294967296", "18446744073709551616", "root", "1e3"] {
            target.refuses("an owner", &owned(id), &["user id"]);
        }
        target.refuses("the owner that means none", &owned("4294967295"), &["user id"]);
        target.takes("the last owner", &owned("4294967294"));
        target.sound();
    }
}

#[test]
fn headers_that_lie() {
    for target in Target::all("headers that lie") {
        let file = || Entry::file("x", b"content");
        for size in [1 << 20, 1 << 40, u64::MAX] {
            target.refuses("a size", &tarball(&[Entry { size, ..file() }]), &["byte"]);
        }
        let with = |records: &[Vec<u8>]| tarball(&[Entry::pax(records), file()]);
        for size in ["-1", "18446744073709551615", "99999999999999999999", "x"] {
            target.refuses("a size in a record", &with(&[record("size", size)]), &["byte"]);
        }
        for time in ["x", "1.x", "--1", "99999999999999999999"] {
            target.refuses("a time", &with(&[record("mtime", time)]), &["modification time"]);
        }
        for records in [&b"5 a=b\n"[..], b"99999 a=b\n", b"x a=b\n", b"6 =bc\n", b"0 \n"] {
            target.refuses("records", &with(&[records.to_vec()]), &["extended header"]);
        }
        target.refuses("2 MiB of records", &with(&[record("comment", &"c".repeat(2 << 20))]), &["limit"]);
        let sparse = |map: &str, real: &str| {
            with(&[record("GNU.sparse.major", "0"), record("GNU.sparse.map", map), record("GNU.sparse.size", real)])
        };
        for (map, real) in [("0,9", "9"), ("5,7", "11"), ("0,7,3,0", "9"), ("18446744073709551615,7", "9"), ("x", "9")]
        {
            target.refuses("a sparse map", &sparse(map, real), &["sparse"]);
        }
        let mut wrong_sum = tarball(&[file()]);
        wrong_sum[3] ^= 1;
        target.refuses("a wrong sum", &wrong_sum, &["check sum"]);
        let whole = tarball(&[file(), Entry::file("y", &[7; 3000])]);
        for length in [100, 513, 1024 + 100, 1024 + 512 + 100] {
            target.refuses("half an archive", &whole[..length], &["truncated"]);
        }
        target.refuses("an unknown kind", &tarball(&[Entry { kind: b'Z', ..file() }]), &["type"]);
        target.sound();
    }
}

#[test]
fn sparse_files_of_a_size_that_no_disk_has() {
    for target in Target::all("enormous sparse files") {
        let sparse = |size: u64| {
            let size = size.to_string();
            let records =
                [record("GNU.sparse.major", "0"), record("GNU.sparse.map", "0,7"), record("GNU.sparse.size", &size)];
            tarball(&[Entry::pax(&records), Entry::file("x", b"content")])
        };
        target.takes("more than 1 GiB of hole", &sparse((1 << 30) + (1 << 20)));
        target.refuses("a terabyte of hole", &sparse(1 << 40), &["layer-size"]);
        target.refuses("all there is", &sparse(u64::MAX), &[]);
        let used = used(&target.kiln.root());
        assert!(used < 64 << 20, "the store takes {used} bytes");
        target.sound();
    }
}

/// Bytes that a directory takes on the disk.
fn used(path: &Path) -> u64 {
    let text = kiln_tests::kiln::tool("du", &["-s", "-B1", text(path)]);
    text.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn decompression_bombs() {
    for target in Target::all("decompression bombs") {
        let tar = tarball(&[Entry::file("zeros", &vec![0; 4 << 20])]);
        for compressor in ["gzip", "zstd", "xz", "bzip2", "cat"] {
            let bomb = tar::filtered(compressor, &tar);
            let load = |name: &str, limits: &str| {
                let name = format!("{name}-{compressor}");
                load_compressed(&target.kiln, &name, &bomb, &tar, &[("KILN_LIMITS", limits)])
            };
            let before = layers(&target.kiln);
            let answer = load("too-large", "layer-size=2MB");
            target.refused(compressor, &answer, &["layer-size", "2097152"]);
            assert_eq!(layers(&target.kiln), before);
            target.untouched(compressor);
            load("allowed", "layer-size=8MB").succeeded();
            target.kiln.ok(&["image", "prune", "-af"]);
        }
        let answer = load_compressed(&target.kiln, "nonsense", &tar, &tar, &[("KILN_LIMITS", "layer-size=much")]);
        target.refused("nonsense", &answer, &["KILN_LIMITS"]);
        target.sound();
    }
}

/// More than 1 GiB of zeros, for which zstd needs less than 100 kB, by the limits that hold unless others are set.
#[test]
fn a_bomb_is_refused_unless_it_is_allowed() {
    let target = Target::new(Kiln::new());
    let (bomb, head) = tar::bomb((1 << 30) + (64 << 20));
    let answer = load_compressed(&target.kiln, "bomb", &bomb, &head, &[]);
    target.refused("bomb", &answer, &["layer-expansion", "500"]);
    assert_eq!(layers(&target.kiln), 0);
    target.sound();
}

/// The archive around the layers may be the bomb as well, and so may one for `import`.
#[test]
fn archives_that_are_bombs_themselves() {
    let target = Target::new(Kiln::new());
    let place = target.kiln.scratch("bombs");
    let with =
        |limits: &str, args: &[&str]| kiln_tests::kiln::answer(target.kiln.command(args).env("KILN_LIMITS", limits));
    let zeros = tarball(&[Entry::file("zeros", &vec![0; 4 << 20])]);
    for compressor in ["gzip", "zstd", "xz", "bzip2"] {
        let path = place.join(compressor);
        fs::write(&path, tar::filtered(compressor, &zeros)).expect("bomb");
        for args in [&["load", "-i", text(&path)][..], &["import", text(&path)]] {
            target.refused(compressor, &with("layer-size=2MB", args), &[]);
        }
        with("layer-size=8MB", &["import", text(&path)]).succeeded();
        target.kiln.ok(&["image", "prune", "-af"]);
    }
    let records =
        [record("GNU.sparse.major", "0"), record("GNU.sparse.map", "0,7"), record("GNU.sparse.size", "99999999")];
    let sparse = tarball(&[Entry::pax(&records), Entry::file("layer.tar", b"content")]);
    fs::write(place.join("sparse"), sparse).expect("bomb");
    target.refused("sparse", &with("layer-size=2MB", &["load", "-i", text(&place.join("sparse"))]), &["layer-size"]);
    let (bomb, _) = tar::bomb((1 << 30) + (64 << 20));
    fs::write(place.join("large"), bomb).expect("bomb");
    target.refused("large", &with("", &["load", "-i", text(&place.join("large"))]), &["layer-expansion"]);
    assert_eq!(layers(&target.kiln), 0);
    target.sound();
}

#[test]
fn a_layer_that_is_larger_than_the_disk() {
    if !is_root_for("a layer that is larger than the disk") {
        return;
    }
    let kiln = Kiln::on_disk_of("48M");
    let place = tempfile::TempDir::with_prefix("kiln-large-").expect("temporary directory");
    fs::write(place.path().join("zeros"), vec![7; 64 << 20]).expect("content");
    fs::write(place.path().join("Dockerfile"), "FROM scratch\nADD zeros.tar.gz /\n").expect("Dockerfile");
    let archive = place.path().join("zeros.tar.gz");
    kiln_tests::kiln::tool("tar", &["-C", text(place.path()), "-czf", text(&archive), "zeros"]);
    for args in [&["import", text(&archive)][..], &["build", "-q", text(place.path())]] {
        let answer = kiln.run(args);
        assert_eq!(answer.code(), 1, "{answer}");
        assert!(answer.stderr.contains("No space left") || answer.stderr.contains("the disk of"), "{answer}");
    }
    assert_eq!(layers(&kiln), 0);
    kiln.ok(&["system", "check", "-q"]);
    load(&kiln, "small", &tarball(&[Entry::file("small", b"fits")])).succeeded();
}

#[test]
fn too_many_entries() {
    for target in Target::all("too many entries") {
        let names: Vec<String> = (0..500).map(|number| format!("f{number}")).collect();
        let many: Vec<Entry<'_>> = names.iter().map(|name| Entry::file(name, b"")).collect();
        let tar = tarball(&many);
        let limited = |limits: &str| load_compressed(&target.kiln, "many", &tar, &tar, &[("KILN_LIMITS", limits)]);
        target.refused("many", &limited("layer-entries=499"), &["layer-entries", "499"]);
        assert_eq!(layers(&target.kiln), 0);
        limited("layer-entries=500").succeeded();
        let long = record("SCHILY.xattr.user.long", &"x".repeat(200_000));
        let fat = tarball(&[Entry::pax(&[long]), Entry::file("x", b"")]);
        let answer = load_compressed(&target.kiln, "fat", &fat, &fat, &[("KILN_LIMITS", "layer-entries=100")]);
        target.refused("fat", &answer, &["layer-entries"]);
        target.sound();
    }
}

#[test]
fn the_configuration_file_sets_limits() {
    let target = Target::new(Kiln::new());
    let config = target.kiln.home().join("config.toml");
    fs::write(&config, "[limits]\nlayer-entries = 1\n").expect("configuration");
    let tar = tarball(&[Entry::file("a", b""), Entry::file("b", b"")]);
    let answer = load_compressed(&target.kiln, "two", &tar, &tar, &[("KILN_CONFIG", text(&config))]);
    target.refused("two", &answer, &["layer-entries", "more than 1 entries"]);
    let context = target.kiln.scratch("context");
    fs::write(context.join("two.tar"), &tar).expect("archive");
    fs::write(context.join("Dockerfile"), "FROM scratch\nADD two.tar /\n").expect("Dockerfile");
    let mut command = target.kiln.command(&["build", "-q", text(&context)]);
    let answer = kiln_tests::kiln::answer(command.env("KILN_CONFIG", &config));
    target.refused("ADD", &answer, &["layer-entries"]);
    target.kiln.ok(&["build", "-q", text(&context)]);
}

#[test]
fn streams_that_are_damaged() {
    for target in Target::all("damaged streams") {
        let tar = tarball(&[Entry::file("noise", &noise(300_000))]);
        for compressor in ["gzip", "zstd", "xz", "bzip2"] {
            let whole = tar::filtered(compressor, &tar);
            let load = |name: &str, blob: &[u8]| {
                load_compressed(&target.kiln, &format!("{name}-{compressor}"), blob, &tar, &[])
            };
            load("whole", &whole).succeeded();
            target.kiln.ok(&["image", "prune", "-af"]);
            load(
                "two-in-one",
                &[tar::filtered(compressor, &tar[..5000]), tar::filtered(compressor, &tar[5000..])].concat(),
            )
            .succeeded();
            target.kiln.ok(&["image", "prune", "-af"]);
            for length in [7, whole.len() / 2, whole.len() - 3] {
                target.refused("cut", &load("cut", &whole[..length]), &[]);
            }
            let mut flipped = whole.clone();
            flipped[whole.len() / 2] ^= 0x10;
            target.refused("flipped", &load("flipped", &flipped), &[]);
        }
        assert_eq!(layers(&target.kiln), 0);
        target.sound();
    }
}

/// Bytes that no compressor makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}
