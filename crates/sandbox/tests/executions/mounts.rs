//! Mounts, and what of them gets into the layer: nothing.

use kiln_sandbox::{Error, Mount, Secret, Source};

use crate::Case;
use crate::bench::{Bench, metadata, write};

pub(crate) const CASES: &[Case] = &[
    ("mount_points_are_removed_with_their_parents", mount_points_are_removed_with_their_parents),
    ("a_tree_of_other_layers_can_be_bound", a_tree_of_other_layers_can_be_bound),
    ("names_that_a_layer_hides_for_nothing_are_not_listed", names_that_a_layer_hides_for_nothing_are_not_listed),
    ("writes_to_a_bound_tree_are_thrown_away", writes_to_a_bound_tree_are_thrown_away),
    ("links_in_a_bound_tree_stay_inside_it", links_in_a_bound_tree_stay_inside_it),
    ("a_missing_path_of_a_tree_is_named", a_missing_path_of_a_tree_is_named),
    ("a_missing_source_is_named", a_missing_source_is_named),
    ("content_has_mode_and_owner", content_has_mode_and_owner),
    ("a_directory_of_the_host_keeps_what_is_written", a_directory_of_the_host_keeps_what_is_written),
    ("only_what_the_step_wrote_is_in_the_layer", only_what_the_step_wrote_is_in_the_layer),
    ("a_read_only_root_refuses_writes", a_read_only_root_refuses_writes),
    ("shm_has_the_size_asked_for", shm_has_the_size_asked_for),
];

fn mount(target: &str, source: Source, read_only: bool) -> Mount {
    Mount { target: target.into(), source, read_only }
}

fn content(bytes: &[u8], mode: u32) -> Source {
    Source::Content { bytes: Secret(bytes.to_vec()), mode, uid: 0, gid: 0 }
}

fn tmpfs() -> Source {
    Source::Tmpfs { size: Some(1 << 20), mode: None }
}

fn mount_points_are_removed_with_their_parents(bench: &Bench) {
    let host = tempfile::tempdir().unwrap();
    let tree = bench.base.clone();
    let ran = bench.run("ls -d /a/b/c /run/secrets/s /cache/x /tree/y", |execution| {
        execution.mounts = vec![
            mount("/a/b/c", tmpfs(), false),
            mount("/run/secrets/s", content(b"s", 0o400), true),
            mount("/cache/x", Source::Host(host.path().into()), false),
            mount("/tree/y", Source::Layers { layers: vec![tree], path: "etc".into() }, true),
        ];
    });
    assert_eq!(ran.stdout, "/a/b/c\n/cache/x\n/run/secrets/s\n/tree/y\n", "{}", ran.stderr);
    assert_eq!(ran.layer, Vec::<String>::new());
    assert!(ran.finished.left_mount_points.is_empty());
}

fn a_tree_of_other_layers_can_be_bound(bench: &Bench) {
    let over = bench.layer(|writer| {
        write(writer, "etc/over", 0o644, b"over\n");
        writer.whiteout("etc/group").unwrap();
    });
    let layers = vec![bench.base.clone(), over];
    let ran = bench.run("ls /m; cat /f; touch /m/x || echo refused", |execution| {
        execution.mounts = vec![
            mount("/m", Source::Layers { layers: layers.clone(), path: "/etc".into() }, true),
            mount("/f", Source::Layers { layers, path: "etc/over".into() }, true),
        ];
    });
    assert_eq!(ran.stdout, "over\npasswd\nplain\nover\nrefused\n", "{}", ran.stderr);
}

fn names_that_a_layer_hides_for_nothing_are_not_listed(bench: &Bench) {
    let made = bench.layer(|writer| {
        write(writer, "own/deep/real", 0o644, b"");
        writer.whiteout("own/deep/ghost").unwrap();
        writer.whiteout("own/ghost").unwrap();
        writer.whiteout("ghost").unwrap();
    });
    let layers = vec![bench.base.clone(), made];
    let list = "for d in / /own /own/deep /m /m/own /m/own/deep; do cd $d; echo *; done";
    let ran = bench.run(list, |execution| {
        execution.layers = layers.clone();
        execution.mounts = vec![mount("/m", Source::Layers { layers: layers.clone(), path: "/".into() }, true)];
    });
    let own: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("deep") || line.contains("real")).collect();
    assert_eq!(own, ["deep", "real", "deep", "real"], "{}", ran.stdout);
    assert!(!ran.stdout.contains("ghost"), "{}", ran.stdout);
}

fn writes_to_a_bound_tree_are_thrown_away(bench: &Bench) {
    let tree = bench.layer(|writer| write(writer, "d/f", 0o644, b"old\n"));
    let source = || Source::Layers { layers: vec![tree.clone()], path: "d".into() };
    let ran = bench.run("echo new > /m/f; rm -r /m/none; echo x > /m/g; cat /m/f /m/g", |execution| {
        execution.mounts = vec![mount("/m", source(), false)];
    });
    assert_eq!(ran.stdout, "new\nx\n", "{}", ran.stderr);
    assert_eq!(ran.layer, Vec::<String>::new());
    let ran = bench.run("cat /m/*", |execution| execution.mounts = vec![mount("/m", source(), false)]);
    assert_eq!(ran.stdout, "old\n");
}

fn links_in_a_bound_tree_stay_inside_it(bench: &Bench) {
    let tree = bench.layer(|writer| {
        write(writer, "etc/hostname", 0o644, b"of the tree\n");
        writer.symlink("absolute", b"/etc/hostname", &metadata(0o777)).unwrap();
        writer.symlink("up", b"../../../../etc/hostname", &metadata(0o777)).unwrap();
    });
    for path in ["absolute", "up"] {
        let source = Source::Layers { layers: vec![tree.clone()], path: path.into() };
        let ran = bench.run("cat /m", |execution| execution.mounts = vec![mount("/m", source, true)]);
        assert_eq!(ran.stdout, "of the tree\n", "{path}");
    }
}

fn failure(bench: &Bench, source: Source) -> Error {
    let staged = bench.stage();
    let mut execution = bench.step(&staged, &["true"]);
    execution.mounts = vec![mount("/m", source, true)];
    bench.sandbox.run(execution, &mut |_, _| {}).unwrap_err()
}

fn a_missing_path_of_a_tree_is_named(bench: &Bench) {
    let error = failure(bench, Source::Layers { layers: vec![bench.base.clone()], path: "no/such".into() });
    assert_eq!(error.to_string(), "cannot mount no/such at /m: No such file or directory (os error 2)");
}

fn a_missing_source_is_named(bench: &Bench) {
    let error = failure(bench, Source::Host("/no/such/directory".into()));
    assert_eq!(error.to_string(), "cannot mount /no/such/directory at /m: No such file or directory (os error 2)");
}

fn content_has_mode_and_owner(bench: &Bench) {
    let ran = bench.run(
        "cat /run/secrets/s; stat -c '%a %u %g' /run/secrets/s; stat -c %a /run/secrets /script; /script",
        |execution| {
            let owned = Source::Content { bytes: Secret(b"hush\n".to_vec()), mode: 0o400, uid: 12, gid: 34 };
            execution.mounts = vec![
                mount("/run/secrets/s", owned, true),
                mount("/script", content(b"#!/bin/sh\necho script\n", 0o755), true),
            ];
        },
    );
    let owner = if bench.sandbox.tier().is_single_id() { "0 0" } else { "12 34" };
    assert_eq!(ran.stdout, format!("hush\n400 {owner}\n755\n755\nscript\n"), "{}", ran.stderr);
    let shown = format!("{:?}", Secret(b"hush".to_vec()));
    assert!(!shown.contains("hush") && !shown.contains("104"), "{shown}");
}

fn a_directory_of_the_host_keeps_what_is_written(bench: &Bench) {
    let host = tempfile::tempdir().unwrap();
    let ran = bench.run("echo kept > /cache/f", |execution| {
        execution.mounts = vec![mount("/cache", Source::Host(host.path().into()), false)];
    });
    assert_eq!(std::fs::read_to_string(host.path().join("f")).unwrap(), "kept\n");
    assert_eq!(ran.layer, Vec::<String>::new());
}

fn only_what_the_step_wrote_is_in_the_layer(bench: &Bench) {
    let script = "echo 1.2.3.4 h >> /etc/hosts; echo x > /etc/resolv.conf; echo y > /etc/hostname; echo > /dev/shm/f; mkdir /new";
    let ran = bench.run(script, |_| {});
    assert_eq!(ran.layer, ["etc", "etc/hostname", "new"], "{}", ran.stderr);
}

fn a_read_only_root_refuses_writes(bench: &Bench) {
    let ran =
        bench.run("touch /x || echo refused; touch /dev/shm/y && echo allowed", |execution| execution.read_only = true);
    assert_eq!(ran.stdout, "refused\nallowed\n");
}

fn shm_has_the_size_asked_for(bench: &Bench) {
    let ran = bench.run("stat -f -c '%S %b' /dev/shm", |execution| execution.shm_size = Some(8 << 20));
    let numbers: Vec<u64> = ran.stdout.split_whitespace().map(|word| word.parse().unwrap()).collect();
    assert_eq!(numbers.iter().product::<u64>(), 8 << 20);
}
