//! Binds and volumes.

use std::os::unix::fs::MetadataExt;

use kiln_engine::CreateOptions;

use crate::Case;
use crate::bench::{Bench, options};

pub(crate) const CASES: &[Case] = &[
    ("a_directory_of_the_host_is_bound", a_directory_of_the_host_is_bound),
    ("a_named_volume_is_filled_once_and_kept", a_named_volume_is_filled_once_and_kept),
    ("anonymous_volumes_go_with_their_container", anonymous_volumes_go_with_their_container),
    ("wrong_mounts_leave_nothing", wrong_mounts_leave_nothing),
];

fn with(volumes: &[&str], script: &str) -> CreateOptions {
    CreateOptions {
        volumes: volumes.iter().map(ToString::to_string).collect(),
        auto_remove: true,
        ..options(&["sh", "-c", script])
    }
}

fn a_directory_of_the_host_is_bound(bench: &Bench) {
    let host = bench.directory.join("new/directory");
    let value = format!("{}:/v", host.display());
    assert_eq!(bench.run(&with(&[&value], "echo data > /v/f")).unwrap().code, 0);
    assert_eq!(std::fs::read_to_string(host.join("f")).unwrap(), "data\n");
    let read_only = format!("{value}:ro");
    let ran = bench.run(&with(&[&read_only], "cat /v/f; touch /v/g")).unwrap();
    assert_eq!((ran.code, ran.stdout.as_str()), (1, "data\n"));
    assert!(ran.stderr.contains("Read-only file system"));
}

fn a_named_volume_is_filled_once_and_kept(bench: &Bench) {
    let ran = bench.run(&with(&["vol:/seed"], "cat /seed/link; rm /seed/link; echo mine > /seed/new")).unwrap();
    assert_eq!(ran.stdout, "from the image\n", "{}", ran.stderr);
    let volume = bench.engine.volumes().unwrap().remove(0);
    assert_eq!(volume.name, "vol");
    let beside = std::fs::read_dir(volume.mountpoint.parent().unwrap()).unwrap().count();
    assert_eq!(beside, 1);
    let directory = std::fs::metadata(volume.mountpoint.join("d")).unwrap();
    assert_eq!((directory.mode() & 0o7777, directory.mtime()), (0o750, 1_700_000_000));
    let ran = bench.run(&with(&["vol:/seed:ro"], "ls /seed")).unwrap();
    assert_eq!(ran.stdout, "d\nnew\n");
    let ran = bench.run(&with(&["empty:/seed:nocopy"], "ls /seed")).unwrap();
    assert_eq!(ran.stdout, "");
}

fn anonymous_volumes_go_with_their_container(bench: &Bench) {
    let kept = CreateOptions { auto_remove: false, ..with(&["/extra"], "cat /anonymous/f; echo x > /extra/f") };
    let made = bench.engine.create(&kept).unwrap();
    assert_eq!(bench.start(&made.id).unwrap().stdout, "seeded\n");
    assert_eq!(bench.engine.volumes().unwrap().len(), 2);
    bench.engine.remove(&made.id, false, true).unwrap();
    assert!(bench.engine.volumes().unwrap().is_empty());
}

fn wrong_mounts_leave_nothing(bench: &Bench) {
    let check = |value: &str, want: &str| {
        let error = bench.run(&with(&[value], "true")).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
        assert_eq!(error.run_exit_code(), 125);
    };
    check("/no/such:/x:banana", "invalid mode: banana");
    check("../up:/x", "includes invalid characters for a local volume name");
    assert!(bench.engine.containers().unwrap().is_empty());
    assert!(bench.engine.volumes().unwrap().is_empty());
}
