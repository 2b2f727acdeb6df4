//! The rootfs, mounts and mount points.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use kiln_runtime::{BindSource, Mount, MountKind, MountPoints, Overlay, Rootfs, StartError};

use crate::Case;
use crate::bench::{Bench, list};

pub(crate) const CASES: &[Case] = &[
    ("the_upper_holds_what_the_command_did", the_upper_holds_what_the_command_did),
    ("an_empty_rootfs_can_be_given", an_empty_rootfs_can_be_given),
    ("a_directory_is_used_in_place", a_directory_is_used_in_place),
    ("a_read_only_root_refuses_writes", a_read_only_root_refuses_writes),
    ("devices_are_dockers", devices_are_dockers),
    ("masked_and_read_only_paths", masked_and_read_only_paths),
    ("binds_of_files_and_directories", binds_of_files_and_directories),
    ("a_tmpfs_has_size_and_mode", a_tmpfs_has_size_and_mode),
    ("made_mount_points_are_removed", made_mount_points_are_removed),
    ("mount_points_with_content_stay", mount_points_with_content_stay),
    ("mount_targets_stay_beneath_the_root", mount_targets_stay_beneath_the_root),
    ("a_missing_source_is_named", a_missing_source_is_named),
    ("a_missing_layer_is_named", a_missing_layer_is_named),
];

fn on(bench: &Bench, overlay: &Overlay, script: &str, mounts: Vec<Mount>) -> String {
    let mut launch = bench.script(script);
    launch.rootfs = Rootfs::Overlay(overlay.clone());
    launch.mounts = mounts;
    bench.run(launch).unwrap().output
}

fn bind(target: &str, source: BindSource, read_only: bool) -> Mount {
    Mount { target: target.into(), kind: MountKind::Bind { source, read_only, recursive: true } }
}

fn tmpfs(target: &str) -> Mount {
    let kind = MountKind::Tmpfs { size: Some(1 << 20), mode: Some(0o1777), read_only: false };
    Mount { target: target.into(), kind }
}

fn the_upper_holds_what_the_command_did(bench: &Bench) {
    let overlay = bench.overlay();
    let script = "echo new > /home/file; chmod 640 /home/file; rm /etc/name; rm -r /tmp; mkdir /tmp; ln -s x /etc/l";
    assert_eq!(on(bench, &overlay, script, Vec::new()), "");
    let upper = &overlay.upper;
    assert_eq!(list(upper), ["dev", "etc", "etc/l", "etc/name", "home", "home/file", "proc", "sys", "tmp"]);
    assert_eq!(fs::metadata(upper.join("home/file")).unwrap().mode() & 0o7777, 0o640);
    let whiteout = fs::metadata(upper.join("etc/name")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
}

fn an_empty_rootfs_can_be_given(bench: &Bench) {
    let overlay = Overlay { lowers: Vec::new(), ..bench.overlay() };
    fs::copy(bench.base().join("bin/busybox"), overlay.upper.join("sh")).unwrap();
    let mut launch = bench.launch(bench.spec(&["/sh", "-c", "echo alone; echo > /new"]));
    launch.rootfs = Rootfs::Overlay(overlay.clone());
    assert_eq!(bench.run(launch).unwrap().output, "alone\n");
    assert_eq!(list(&overlay.upper), ["dev", "new", "proc", "sh", "sys"]);
}

fn a_directory_is_used_in_place(bench: &Bench) {
    let directory = bench.fresh("rootfs");
    fs::copy(bench.base().join("bin/busybox"), directory.join("sh")).unwrap();
    let mut launch = bench.launch(bench.spec(&["/sh", "-c", "echo > /here"]));
    launch.rootfs = Rootfs::Directory(directory.clone());
    assert_eq!(bench.run(launch).unwrap().code(), 0);
    assert_eq!(list(&directory), ["dev", "here", "proc", "sh", "sys"]);
}

fn a_read_only_root_refuses_writes(bench: &Bench) {
    let script = "touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo allowed";
    let mut spec = bench.spec(&["sh", "-c", script]);
    let mut root = spec.root().clone().unwrap();
    root.set_readonly(Some(true));
    spec.set_root(Some(root));
    assert_eq!(bench.run(bench.launch(spec)).unwrap().output, "refused\nallowed\n");
}

fn devices_are_dockers(bench: &Bench) {
    let output = bench.output("ls /dev | tr '\\n' ' '; echo lost > /dev/null; head -c 3 /dev/urandom | wc -c");
    let expected = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero 3\n";
    assert_eq!(output.replace("core ", ""), expected);
    let size = bench.output("stat -f -c '%S %b' /dev/shm");
    let numbers: Vec<u64> = size.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers[0] * numbers[1], 64 << 20);
}

fn masked_and_read_only_paths(bench: &Bench) {
    let script = "cat /proc/keys /proc/timer_list 2>/dev/null; ls /sys/firmware /proc/acpi 2>/dev/null \
                  | sed '/^[/]/d;/^$/d'; (echo x > /proc/sys/kernel/hostname) 2>/dev/null || echo refused";
    assert_eq!(bench.output(script), "refused\n");
}

fn binds_of_files_and_directories(bench: &Bench) {
    let overlay = bench.overlay();
    let source = bench.fresh("source");
    fs::write(source.join("file"), "content\n").unwrap();
    let opened = fs::File::open(source.join("file")).unwrap();
    let mounts = vec![
        bind("/rw", BindSource::Path(source.clone()), false),
        bind("/ro", BindSource::Path(source.clone()), true),
        bind("/etc/name", BindSource::Descriptor(opened.into()), true),
    ];
    let script = "cat /etc/name /ro/file; echo 1 > /rw/one; cat /ro/one; \
                  (echo 2 > /ro/two) 2>/dev/null || echo refused; (echo 3 > /etc/name) 2>/dev/null || echo refused";
    let output = on(bench, &overlay, script, mounts);
    assert_eq!(output, "content\ncontent\n1\nrefused\nrefused\n");
    assert_eq!(list(&source), ["file", "one"]);
    assert_eq!(list(&overlay.upper), ["dev", "proc", "sys"]);
}

fn a_tmpfs_has_size_and_mode(bench: &Bench) {
    let overlay = bench.overlay();
    let script = "stat -c %a /scratch; stat -f -c '%S %b' /scratch; echo x > /scratch/x";
    assert_eq!(on(bench, &overlay, script, vec![tmpfs("/scratch")]), "1777\n4096 256\n");
    assert_eq!(list(&overlay.upper), ["dev", "proc", "sys"]);
}

fn made_mount_points_are_removed(bench: &Bench) {
    let file = bench.fresh("source").join("file");
    fs::write(&file, "").unwrap();
    let overlay = bench.overlay();
    let mounts = vec![tmpfs("/etc/a/b/c"), bind("/etc/f/file", BindSource::Path(file.clone()), true), tmpfs("/home")];
    assert_eq!(on(bench, &overlay, "echo > /etc/a/b/c/x; echo ok", mounts), "ok\n");
    assert_eq!(list(&overlay.upper), ["dev", "etc", "proc", "sys"]);
    let modified = |path: std::path::PathBuf| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.mtime(), metadata.mtime_nsec())
    };
    assert_eq!(modified(overlay.upper.join("etc")), modified(bench.base().join("etc")));

    let overlay = bench.overlay();
    let mut launch = bench.script("true");
    launch.rootfs = Rootfs::Overlay(overlay.clone());
    launch.mounts = vec![tmpfs("/a/b"), bind("/f", BindSource::Path(file), true)];
    launch.mount_points = MountPoints::Keep;
    bench.run(launch).unwrap();
    assert_eq!(list(&overlay.upper), ["a", "a/b", "dev", "f", "proc", "sys"]);
}

fn mount_points_with_content_stay(bench: &Bench) {
    let overlay = bench.overlay();
    let mut launch = bench.script("echo > /a/beside");
    launch.rootfs = Rootfs::Overlay(overlay.clone());
    launch.mounts = vec![tmpfs("/a/b")];
    let ended = bench.run(launch).unwrap();
    assert_eq!(ended.exit.left_mount_points, [std::path::Path::new("/a")]);
    assert_eq!(list(&overlay.upper), ["a", "a/beside", "dev", "proc", "sys"]);
}

fn mount_targets_stay_beneath_the_root(bench: &Bench) {
    let outside = bench.fresh("outside");
    let hostile = bench.fresh("layer");
    std::os::unix::fs::symlink(&outside, hostile.join("absolute")).unwrap();
    std::os::unix::fs::symlink("../../../../..", hostile.join("up")).unwrap();
    let overlay = Overlay { lowers: vec![hostile, bench.base()], ..bench.overlay() };
    let mounts = vec![tmpfs("/absolute/made"), tmpfs("/up/clamped"), tmpfs("/../../dots")];
    let script = "for place in /absolute/made /clamped /dots; do stat -f -c %T $place; done";
    assert_eq!(on(bench, &overlay, script, mounts), "tmpfs\ntmpfs\ntmpfs\n");
    assert!(list(&outside).is_empty());
    // `tmp` was copied up to hold the mount point that the absolute symlink asks for.
    assert_eq!(list(&overlay.upper), ["dev", "proc", "sys", "tmp"]);
}

fn a_missing_source_is_named(bench: &Bench) {
    let mut launch = bench.script("true");
    launch.mounts = vec![bind("/x", BindSource::Path("/no/such/source".into()), true)];
    let error = bench.run(launch).err().unwrap();
    assert_eq!(error.to_string(), "cannot mount /no/such/source at /x: No such file or directory");
}

fn a_missing_layer_is_named(bench: &Bench) {
    let mut launch = bench.script("true");
    let lowers = vec![bench.base().join("no-such-layer")];
    launch.rootfs = Rootfs::Overlay(Overlay { lowers, ..bench.overlay() });
    let error = bench.run(launch).err().unwrap();
    assert!(matches!(&error, StartError::Overlay { lowers: 1, .. }), "{error}");
    assert!(error.to_string().contains("no-such-layer"), "{error}");
}
