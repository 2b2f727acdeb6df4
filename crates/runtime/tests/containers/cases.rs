//! What the command is and sees: exit codes, identity, rights, limits, names.

use kiln_runtime::oci::{
    LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder, PosixRlimitBuilder, PosixRlimitType,
};
use kiln_runtime::spec::Network;
use kiln_runtime::{Errno, Overlay, Rootfs, StartError, Status, Tier, start};

use crate::Case;
use crate::bench::{Bench, list};

pub(crate) const CASES: &[Case] = &[
    ("exit_codes_are_the_commands", exit_codes_are_the_commands),
    ("a_missing_command_is_127", a_missing_command_is_127),
    ("what_cannot_be_executed_is_126", what_cannot_be_executed_is_126),
    ("a_failed_start_leaves_nothing", a_failed_start_leaves_nothing),
    ("environment_names_and_umask", environment_names_and_umask),
    ("root_has_dockers_rights", root_has_dockers_rights),
    ("a_user_has_no_capabilities", a_user_has_no_capabilities),
    ("the_filter_refuses_what_docker_refuses", the_filter_refuses_what_docker_refuses),
    ("a_single_id_fakes_owners", a_single_id_fakes_owners),
    ("resource_limits_are_clamped", resource_limits_are_clamped),
    ("an_own_network_has_only_loopback", an_own_network_has_only_loopback),
    ("memory_is_limited_or_said_not_to_be", memory_is_limited_or_said_not_to_be),
    ("a_control_group_lies_where_it_was_asked_for", a_control_group_lies_where_it_was_asked_for),
    ("too_many_layers_is_an_error_of_its_own", too_many_layers_is_an_error_of_its_own),
    ("descriptors_do_not_leak", descriptors_do_not_leak),
    ("the_binary_is_out_of_reach", the_binary_is_out_of_reach),
    ("many_start_at_once", many_start_at_once),
    ("the_working_directory_is_made", the_working_directory_is_made),
    ("wrong_specifications_are_refused", wrong_specifications_are_refused),
];

fn exit_codes_are_the_commands(bench: &Bench) {
    for code in [0, 1, 7, 255] {
        let ended = bench.run(bench.script(&format!("exit {code}"))).unwrap();
        assert_eq!(ended.exit.status, Status::Code(code));
    }
}

fn a_missing_command_is_127(bench: &Bench) {
    for (program, searched) in [("nope", true), ("/bin/nope", false), ("/etc/name/x", false)] {
        let error = bench.run(bench.launch(bench.spec(&[program]))).err().unwrap();
        let expected = StartError::NotFound { program: program.to_owned(), searched };
        assert_eq!((error.exit_code(), error), (127, expected));
    }
}

fn what_cannot_be_executed_is_126(bench: &Bench) {
    let cases = [("/bin", libc::EISDIR), ("/etc/data", libc::EACCES)];
    for (program, number) in cases {
        let error = bench.run(bench.launch(bench.spec(&[program]))).err().unwrap();
        let expected = StartError::NotExecutable { program: program.to_owned(), errno: Errno(number) };
        assert_eq!((error.exit_code(), error), (126, expected));
    }
}

fn a_failed_start_leaves_nothing(bench: &Bench) {
    let overlay = bench.overlay();
    let mut launch = bench.launch(bench.spec(&["nope"]));
    launch.rootfs = Rootfs::Overlay(overlay.clone());
    launch.mounts = vec![kiln_runtime::Mount {
        target: "/made/for/it".into(),
        kind: kiln_runtime::MountKind::Tmpfs { size: None, mode: Some(0o755), read_only: false },
    }];
    assert!(start(launch).is_err());
    assert_eq!(list(&overlay.upper), ["dev", "proc", "sys"]);
}

fn environment_names_and_umask(bench: &Bench) {
    let output = bench.output("echo $GREETING; hostname; umask; echo $$; cat /etc/name");
    assert_eq!(output, "hello\nbench\n0022\n1\nbase\n");
}

const STATUS: &str = "sed -n -e 's/^\\(Cap...\\|Groups\\|NoNewPrivs\\|Seccomp\\):\\s*/\\1 /p' /proc/self/status";

fn root_has_dockers_rights(bench: &Bench) {
    let output = bench.output(STATUS);
    for line in [
        "CapInh 0000000000000000",
        "CapPrm 00000000a80425fb",
        "CapEff 00000000a80425fb",
        "CapBnd 00000000a80425fb",
        "CapAmb 0000000000000000",
        "NoNewPrivs 0",
        "Seccomp 2",
    ] {
        assert!(output.lines().any(|one| one.trim() == line), "{line} is not in\n{output}");
    }
}

fn a_user_has_no_capabilities(bench: &Bench) {
    let script = format!("id -u; id -g; {STATUS}");
    let spec = bench.spec_for(&["sh", "-c", &script], 1000, &[7, 8], Network::Host);
    let mut launch = bench.launch(spec);
    let notes = start_notes(bench, &mut launch);
    let ended = bench.run(launch).unwrap();
    if bench.tier.is_single_id() {
        assert!(ended.output.starts_with("0\n0\n"), "{}", ended.output);
        assert!(notes.iter().any(|note| note.contains("1000")), "{notes:?}");
        return;
    }
    assert!(ended.output.starts_with("1000\n1000\n"), "{}", ended.output);
    for line in ["CapPrm 0000000000000000", "CapEff 0000000000000000", "CapBnd 00000000a80425fb", "Groups 7 8"] {
        assert!(ended.output.lines().any(|one| one.trim() == line), "{line} is not in\n{}", ended.output);
    }
}

/// The notes of the same launch, started once more elsewhere.
fn start_notes(bench: &Bench, launch: &mut kiln_runtime::Launch) -> Vec<String> {
    let mut container = start(bench.launch(launch.spec.clone())).unwrap();
    let notes = container.notes().iter().map(|note| note.0.clone()).collect();
    container.wait().unwrap();
    notes
}

fn the_filter_refuses_what_docker_refuses(bench: &Bench) {
    let ended = bench.run(bench.script("mount -t tmpfs none /tmp && echo mounted")).unwrap();
    assert_ne!(ended.code(), 0);
    assert!(!ended.output.contains("mounted"), "{}", ended.output);
}

fn a_single_id_fakes_owners(bench: &Bench) {
    let output = bench.output("touch /f; chown 5:6 /f && stat -c %u:%g /f");
    let expected = if bench.tier.is_single_id() { "0:0\n" } else { "5:6\n" };
    assert_eq!(output, expected);
}

fn resource_limits_are_clamped(bench: &Bench) {
    let mut spec = bench.spec(&["sh", "-c", "ulimit -Sn; ulimit -Hn"]);
    let limit = |soft: u64, hard: u64| {
        PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).soft(soft).hard(hard).build().unwrap()
    };
    let mut process = spec.process().clone().unwrap();
    process.set_rlimits(Some(vec![limit(100, 200)]));
    spec.set_process(Some(process.clone()));
    assert_eq!(bench.run(bench.launch(spec.clone())).unwrap().output, "100\n200\n");
    process.set_rlimits(Some(vec![limit(100, 1 << 40)]));
    spec.set_process(Some(process));
    let output = bench.run(bench.launch(spec)).unwrap().output;
    assert!(output.starts_with("100\n"), "{output}");
}

fn an_own_network_has_only_loopback(bench: &Bench) {
    let script = "ls /sys/class/net; cat /sys/class/net/lo/flags; touch /sys/x 2>/dev/null || echo read-only";
    let spec = bench.spec_for(&["sh", "-c", script], 0, &[], Network::None);
    // 0x9: up, loopback.
    assert_eq!(bench.run(bench.launch(spec)).unwrap().output, "lo\n0x9\nread-only\n");
}

fn memory_is_limited_or_said_not_to_be(bench: &Bench) {
    let mut spec = bench.spec(&["sh", "-c", "dd if=/dev/zero of=/dev/null bs=100000000 count=1"]);
    let resources = LinuxResourcesBuilder::default()
        .memory(LinuxMemoryBuilder::default().limit(20_000_000i64).build().unwrap())
        .pids(LinuxPidsBuilder::default().limit(50i64).build().unwrap())
        .devices(Vec::new())
        .build()
        .unwrap();
    let mut linux = spec.linux().clone().unwrap();
    linux.set_resources(Some(resources));
    spec.set_linux(Some(linux));
    let mut container = start(bench.launch(spec)).unwrap();
    let unlimited = container.notes().iter().any(|note| note.0.contains("no control group"));
    let exit = container.wait().unwrap();
    assert_ne!(unlimited, exit.out_of_memory, "{:?}, {exit:?}", container.notes());
    if bench.tier == Tier::Root && unlimited {
        println!("skipped: {:?}", container.notes());
    }
    let pid = std::process::id();
    let left = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    assert!(!left.into_iter().any(|entry| entry.path().join(format!("kiln-{pid}")).exists()));
}

fn a_control_group_lies_where_it_was_asked_for(bench: &Bench) {
    let parent = format!("kiln-test-{}", std::process::id());
    let mut spec = bench.spec(&["cat", "/proc/self/cgroup"]);
    let mut linux = spec.linux().clone().unwrap();
    linux.set_cgroups_path(Some(format!("/../{parent}/inner").into()));
    spec.set_linux(Some(linux));
    let ran = bench.run(bench.launch(spec)).unwrap();
    let refused = ran.notes.iter().any(|note| note.contains("no control group"));
    assert_ne!(refused, ran.output.contains(&format!("/{parent}/inner/kiln-")), "{:?}, {}", ran.notes, ran.output);
    if bench.tier == Tier::Root && refused {
        println!("skipped: {:?}", ran.notes);
    }
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    assert!(!hierarchies.into_iter().any(|entry| entry.path().join(&parent).exists()));
    assert!(!std::path::Path::new("/sys/fs/cgroup").join(&parent).exists());
}

fn too_many_layers_is_an_error_of_its_own(bench: &Bench) {
    let layers = bench.fresh("layers");
    let paths: Vec<_> = (0..501).map(|number| layers.join(number.to_string())).collect();
    for (number, path) in paths.iter().enumerate() {
        std::fs::create_dir(path).unwrap();
        std::fs::write(path.join("top"), number.to_string()).unwrap();
    }
    let with = |lowers: Vec<_>| {
        let mut launch = bench.script("cat /top");
        let lowers = lowers.into_iter().chain([bench.base(), bench.base()]).collect();
        launch.rootfs = Rootfs::Overlay(Overlay { lowers, ..bench.overlay() });
        bench.run(launch)
    };
    // The base is there twice, which the kernel would refuse; 499 others are the most.
    assert_eq!(with(paths[..499].to_vec()).unwrap().output, "0");
    let error = with(paths).err().unwrap();
    assert_eq!(error, StartError::TooManyLayers { count: 502, limit: 500 });
}

fn descriptors_do_not_leak(bench: &Bench) {
    let (reader, _writer) = std::io::pipe().unwrap();
    // Without the flag that closes it on exec, as a careless library would leave it.
    rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::empty()).unwrap();
    let held = std::fs::File::open("/dev/null").unwrap();
    let mut launch = bench.script("for fd in /proc/self/fd/*; do echo ${fd##*/}; done");
    launch.held = vec![held.into()];
    // The shell itself has the directory open while it expands.
    assert_eq!(bench.run(launch).unwrap().output, "0\n1\n2\n3\n");
}

fn the_binary_is_out_of_reach(bench: &Bench) {
    let container = start(bench.script("sleep 1000")).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
    let helper = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    let binary = std::fs::File::open(format!("/proc/{helper}/exe")).unwrap();
    let mount = rustix::fs::fstatvfs(&binary).unwrap();
    assert!(mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    let own = std::fs::File::open("/proc/self/exe").unwrap();
    let inode = |file: &std::fs::File| std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
    assert_eq!(inode(&binary), inode(&own));
}

fn many_start_at_once(bench: &Bench) {
    let launches: Vec<_> = (0..24).map(|number| bench.script(&format!("exit {number}"))).collect();
    std::thread::scope(|scope| {
        let runs: Vec<_> =
            launches.into_iter().map(|launch| scope.spawn(|| start(launch).unwrap().wait().unwrap().status)).collect();
        for (number, run) in (0..).zip(runs) {
            assert_eq!(run.join().unwrap(), Status::Code(number));
        }
    });
}

fn the_working_directory_is_made(bench: &Bench) {
    let overlay = bench.overlay();
    let mut spec = bench.spec(&["sh", "-c", "pwd; stat -c %a:%u ."]);
    let mut process = spec.process().clone().unwrap();
    process.set_cwd("/link/new/place".into());
    spec.set_process(Some(process));
    let mut launch = bench.launch(spec);
    launch.rootfs = Rootfs::Overlay(overlay.clone());
    assert_eq!(bench.run(launch).unwrap().output, "/home/new/place\n755:0\n");
    assert!(overlay.upper.join("home/new/place").is_dir());

    let mut spec = bench.spec(&["true"]);
    let mut process = spec.process().clone().unwrap();
    process.set_cwd("/etc/name".into());
    spec.set_process(Some(process));
    let error = bench.run(bench.launch(spec)).err().unwrap();
    let expected = StartError::WorkingDirectory { path: "/etc/name".into(), errno: Errno(libc::ENOTDIR) };
    assert_eq!(error, expected);
}

fn wrong_specifications_are_refused(bench: &Bench) {
    let field = |spec| match bench.run(bench.launch(spec)).err() {
        Some(StartError::Spec { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(bench.spec(&[])), "process.args");
    let mut spec = bench.spec(&["true"]);
    let mut linux = spec.linux().clone().unwrap();
    linux.set_namespaces(Some(Vec::new()));
    spec.set_linux(Some(linux));
    assert_eq!(field(spec), "linux.namespaces");
}
