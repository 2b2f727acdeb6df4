//! Unions against real mounts of the same layers, and paths that want out.

use proptest::prelude::*;

use super::*;
use crate::testing::{in_overlay, layer, root, store, union};

/// Paths of everything that shows, in order.
fn paths(found: &[Found<'_>]) -> Vec<String> {
    found.iter().map(|found| String::from_utf8_lossy(found.entry.path()).into_owned()).collect()
}

#[test]
fn upper_layers_hide_lower_ones() {
    let (_directory, store) = store();
    let bottom = layer(&store, None, "d a\n f a/1 x\n f a/2 x\n d b\n f b/1 x\n d c\n f c/1 x\n f e x");
    let top = layer(&store, None, "d a\n w a/1\n f a/3 y\n d b\n o b\n f b/2 y\n f c y\n w e");
    let union = union(&[&bottom, &top]);
    assert_eq!(paths(&union.walk("")), ["", "a", "a/2", "a/3", "b", "b/2", "c"]);
    assert_eq!(paths(&union.children("a")), ["a/2", "a/3"]);
    assert_eq!(paths(&union.children("c")), [""; 0]);
    assert!(union.lookup("b/1").is_none());
    assert!(union.lookup("c/1").is_none());
    assert!(union.lookup("e").is_none());
    assert_eq!(union.lookup("a/2").unwrap().layer, 0);
    assert_eq!(union.lookup("c").unwrap().layer, 1);
}

#[test]
fn a_whiteout_hides_only_what_is_below_it() {
    let (_directory, store) = store();
    let bottom = layer(&store, None, "d a\n f a/1 x");
    let middle = layer(&store, None, "w a");
    let top = layer(&store, None, "d a\n f a/2 y");
    assert_eq!(paths(&union(&[&bottom, &middle, &top]).walk("a")), ["a", "a/2"]);
}

#[test]
fn links_stay_beneath_the_root() {
    let (_directory, store) = store();
    let bottom =
        layer(&store, None, "d usr\n d usr/lib\n f usr/lib/x 1\n l lib usr/lib\n l up ../../..\n l abs /lib/x");
    let top = layer(&store, None, "l loop loop\n l far lib/../lib/x\n l dangling /no/where");
    let union = union(&[&bottom, &top]);
    let resolve = |path: &str| String::from_utf8(union.resolve(path, true).unwrap().path).unwrap();
    assert_eq!(resolve("/lib/x"), "usr/lib/x");
    assert_eq!(resolve("lib/../x"), "usr/x");
    assert_eq!(resolve("../../etc"), "etc");
    assert_eq!(resolve("up/up/lib/x"), "usr/lib/x");
    assert_eq!(resolve("abs"), "usr/lib/x");
    assert_eq!(resolve("far"), "usr/lib/x");
    assert_eq!(resolve("dangling/file"), "no/where/file");
    assert_eq!(resolve("no/such/../thing"), "no/thing");
    assert_eq!(union.resolve("lib", false).unwrap().path, b"lib");
    assert_eq!(union.resolve("lib/", false).unwrap().path, b"usr/lib");
    assert!(matches!(union.resolve("loop", true), Err(Error::SymlinkLoop { .. })));
    assert_eq!(union.read_small("abs", 10).unwrap().unwrap(), b"1");
    assert!(matches!(union.read_small("abs", 0), Err(Error::TooLarge { .. })));
    assert!(union.read_small("no", 10).unwrap().is_none());
    assert!(matches!(union.read_small("usr", 10), Err(Error::WrongKind { .. })));
}

#[test]
fn the_root_is_the_one_that_a_layer_sets() {
    let (_directory, store) = store();
    let staged = store.layers().stage(&crate::testing::metadata(0o700)).unwrap();
    let writer = staged.writer().unwrap();
    writer.directory("", &crate::testing::metadata(0o711)).unwrap();
    let bottom = writer.commit().unwrap();
    let top = layer(&store, None, "f a x");
    assert_eq!(union(&[&bottom, &top]).lookup("").unwrap().entry.mode(), 0o711);
}

#[test]
fn damage_is_named_when_a_file_is_opened() {
    let (_directory, store) = store();
    let only = layer(&store, None, "f a hello\n f b hello");
    std::fs::write(only.fs_path().join("a"), "hell").unwrap();
    std::fs::remove_file(only.fs_path().join("b")).unwrap();
    let union = union(&[&only]);
    for (path, what) in [("a", "its size differs"), ("b", "it is missing")] {
        let error = union.open(&union.lookup(path).unwrap()).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

/// A layer's lines: entries of few names, so that they collide.
fn lines() -> impl Strategy<Value = String> {
    let path = "([abc]/){0,2}[abc]";
    let line = (0u8..12, path).prop_map(|(kind, path)| match kind {
        0..4 => format!("f {path} x"),
        4..7 => format!("d {path}"),
        7..9 => format!("w {path}"),
        9 => format!("o {path}"),
        10 => format!("l {path} a"),
        _ => format!("f {path} yy"),
    });
    prop::collection::vec(line, 0..8).prop_map(|lines| {
        // A line whose parent would not be a directory is left out: the writer refuses it or follows a link.
        let mut kinds: std::collections::HashMap<String, char> = std::collections::HashMap::new();
        let mut kept = Vec::new();
        for line in lines {
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let parents: Vec<String> = path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect();
            if parents.iter().all(|parent| matches!(kinds.get(parent), None | Some('d' | 'o'))) {
                // Only a directory keeps what is below it.
                if !line.starts_with(['d', 'o']) {
                    kinds.retain(|each, _| !each.starts_with(&format!("{path}/")));
                }
                kinds.extend(parents.into_iter().map(|parent| (parent, 'd')));
                kinds.insert(path, line.chars().next().unwrap_or('?'));
                kept.push(line);
            }
        }
        kept.join("\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_union_shows_what_a_mount_shows(layers in prop::collection::vec(lines(), 1..4)) {
        if !root("comparing a union with a real overlay") {
            return Ok(());
        }
        let (_directory, store) = store();
        let mut union = Union::default();
        for lines in &layers {
            let next = layer(&store, Some(&union), lines);
            union = Union::new(union.layers().iter().cloned().chain([next]).collect()).unwrap();
        }
        let mut mounted: Vec<String> = in_overlay(&union, None, "find . -mindepth 1 -printf '%P %y %m %s\\n'")
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| if line.contains(" d ") { line.rsplit_once(' ').unwrap().0.into() } else { line.to_owned() })
            .collect();
        mounted.sort();
        let mut found: Vec<String> = union.walk("").iter().skip(1).map(|found| {
            let (entry, path) = (found.entry, String::from_utf8_lossy(found.entry.path()));
            match entry.kind() {
                Kind::Directory => format!("{path} d {:o}", entry.mode()),
                Kind::Symlink => format!("{path} l {:o} {}", entry.mode(), entry.target().len()),
                _ => format!("{path} f {:o} {}", entry.mode(), entry.size()),
            }
        }).collect();
        found.sort();
        prop_assert_eq!(&found, &mounted);
        for line in &found {
            let path = line.split(' ').next().unwrap();
            prop_assert!(union.lookup(path).is_some(), "{}", path);
        }
    }
}
