//! The process: its environment, its user, its output, its end.

use kiln_sandbox::{Cancellation, Error, Host, Limit, Network, Resource, Security, Status, Stream, Streams};
use kiln_store::Union;

use crate::Case;
use crate::bench::{Bench, write};

pub(crate) const CASES: &[Case] = &[
    ("output_and_exit_code_come_back", output_and_exit_code_come_back),
    ("a_step_sees_what_buildkit_shows", a_step_sees_what_buildkit_shows),
    ("a_user_has_groups_and_home", a_user_has_groups_and_home),
    ("a_signal_is_told", a_signal_is_told),
    ("what_cannot_be_executed_is_told_apart", what_cannot_be_executed_is_told_apart),
    ("background_processes_end_with_the_step", background_processes_end_with_the_step),
    ("cancelling_kills_the_whole_tree", cancelling_kills_the_whole_tree),
    ("what_is_cancelled_before_does_not_start", what_is_cancelled_before_does_not_start),
    ("no_network_but_lo", no_network_but_lo),
    ("insecure_has_more_capabilities", insecure_has_more_capabilities),
    ("limits_apply", limits_apply),
    ("input_can_be_given", input_can_be_given),
    ("empty_layers_and_repeats_do_no_harm", empty_layers_and_repeats_do_no_harm),
    ("more_layers_than_the_kernel_takes_are_refused", more_layers_than_the_kernel_takes_are_refused),
    ("without_an_upper_nothing_is_kept", without_an_upper_nothing_is_kept),
];

fn output_and_exit_code_come_back(bench: &Bench) {
    let ran = bench.run("echo out; echo err >&2; exit 3", |_| {});
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(ran.finished.status, Status::Code(3));
}

fn a_step_sees_what_buildkit_shows(bench: &Bench) {
    let script = "env; hostname; umask; cat | wc -c; grep -c localhost /etc/hosts; cat /etc/hosts | grep other; pwd
        grep -i -E 'capeff|seccomp:|nonewprivs' /proc/self/status";
    let ran = bench.run(script, |execution| {
        execution.process.env.push("A=1".into());
        execution.extra_hosts.push(Host { name: "other".into(), address: [10, 1, 2, 3].into() });
    });
    let expected = "SHLVL=1\nA=1\nHOME=/root\nPATH=/bin\nPWD=/\nbuildkitsandbox\n0022\n0\n2\n10.1.2.3\tother\n/\n\
        CapEff:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2\n";
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(String::from).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&ran.stdout), sorted(expected), "{}", ran.stderr);
    assert_eq!(ran.layer, Vec::<String>::new());
}

fn a_user_has_groups_and_home(bench: &Bench) {
    let rootfs = Union::new(vec![bench.base.clone()]).unwrap();
    let identity = bench.sandbox.identity("kiln", &rootfs).unwrap();
    let ran = bench.run("id; echo $HOME", |execution| execution.process.identity = identity);
    // With a single id everybody is root.
    let single = bench.sandbox.tier().is_single_id();
    let everybody = "uid=0(root) gid=0(root)";
    let shown = if single { everybody } else { "uid=1234(kiln) gid=2345(kiln) groups=50(staff),2345(kiln)" };
    assert_eq!(ran.stdout, format!("{shown}\n/home/kiln\n"));
    let error = bench.sandbox.identity("nobodyhere", &rootfs).unwrap_err();
    assert_eq!(error.to_string(), "unable to find user nobodyhere: no matching entries in passwd file");
}

fn a_signal_is_told(bench: &Bench) {
    let ran = bench.run("sh -c 'kill -TERM $$'; exit $?", |_| {});
    assert_eq!(ran.finished.status, Status::Code(143));
    let ran = bench.run("kill -9 $$; echo survived", |execution| execution.init = true);
    assert_eq!((ran.finished.status.exit_code(), ran.stdout.as_str()), (137, ""));
}

fn what_cannot_be_executed_is_told_apart(bench: &Bench) {
    assert_eq!(bench.failure(&["/no/such"]).exit_code(), 127);
    assert_eq!(bench.failure(&["nosuch"]).exit_code(), 127);
    assert_eq!(bench.failure(&["/etc"]).exit_code(), 126);
    assert_eq!(bench.failure(&["/etc/plain"]).exit_code(), 126);
}

fn background_processes_end_with_the_step(bench: &Bench) {
    let ran = bench.run("setsid sleep 76543 & echo $!; exit 0", |_| {});
    assert_eq!(ran.finished.status, Status::Code(0));
    assert!(!is_running("76543"));
}

fn cancelling_kills_the_whole_tree(bench: &Bench) {
    let staged = bench.stage();
    let cancellation = Cancellation::new();
    let mut execution = bench.step(&staged, &["sh", "-c", "setsid sleep 87654 & echo up; trap '' TERM; sleep 87654"]);
    execution.cancellation = cancellation.clone();
    let mut seen = Vec::new();
    let result = bench.sandbox.run(execution, &mut |_, bytes| {
        seen.extend_from_slice(bytes);
        cancellation.cancel();
    });
    assert!(matches!(result, Err(Error::Cancelled)));
    assert_eq!(seen, b"up\n");
    assert!(!is_running("87654"));
}

fn what_is_cancelled_before_does_not_start(bench: &Bench) {
    let staged = bench.stage();
    let mut execution = bench.step(&staged, &["touch", "/x"]);
    execution.cancellation = Cancellation::new();
    execution.cancellation.cancel();
    assert!(matches!(bench.sandbox.run(execution, &mut |_, _| {}), Err(Error::Cancelled)));
    assert!(!staged.fs_path().join("x").exists());
}

fn no_network_but_lo(bench: &Bench) {
    let ran = bench.run("ls /sys/class/net", |execution| execution.network = Network::None);
    assert_eq!(ran.stdout, "lo\n");
}

fn insecure_has_more_capabilities(bench: &Bench) {
    let ran = bench.run("grep -i capeff /proc/self/status; grep Seccomp: /proc/self/status", |execution| {
        execution.security = Security::Insecure;
    });
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap().to_owned();
    // With a single id a filter answers for changes of owner.
    let filters = if bench.sandbox.tier().is_single_id() { 2 } else { 0 };
    assert_eq!(ran.stdout, format!("CapEff:\t{own}\nSeccomp:\t{filters}\n"));
}

fn limits_apply(bench: &Bench) {
    let ran = bench.run("ulimit -n", |execution| {
        execution.limits.push(Limit { resource: Resource::RlimitNofile, soft: 77, hard: 77 });
    });
    assert_eq!(ran.stdout, "77\n");
}

fn input_can_be_given(bench: &Bench) {
    let staged = bench.stage();
    let mut execution = bench.step(&staged, &["cat"]);
    execution.streams = Streams::CapturedWithInput;
    let mut running = bench.sandbox.start(execution).unwrap();
    let input = std::fs::File::from(running.take_input().unwrap());
    std::io::Write::write_all(&mut &input, b"given").unwrap();
    drop(input);
    let mut seen = Vec::new();
    running.stream(&mut |stream: Stream, bytes| seen.push((stream, bytes.to_vec()))).unwrap();
    assert_eq!(running.wait().unwrap().status, Status::Code(0));
    assert_eq!(seen, [(Stream::Stdout, b"given".to_vec())]);
}

fn empty_layers_and_repeats_do_no_harm(bench: &Bench) {
    let empty = bench.layer(|_| {});
    let extra = bench.layer(|writer| write(writer, "etc/extra", 0o644, b"extra\n"));
    let ran = bench.run("cat /etc/extra", |execution| {
        execution.layers = vec![empty.clone(), bench.base.clone(), extra.clone(), bench.base.clone(), extra, empty];
    });
    assert_eq!(ran.stdout, "extra\n", "{}", ran.stderr);
}

fn more_layers_than_the_kernel_takes_are_refused(bench: &Bench) {
    let staged = bench.stage();
    let mut execution = bench.step(&staged, &["true"]);
    let extra = (0..500).map(|n| bench.layer(|writer| write(writer, &format!("f{n}"), 0o644, b"")));
    execution.layers.extend(extra);
    let error = bench.sandbox.run(execution, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, Error::TooManyLayers { count: 501, limit: 500 }), "{error}");
}

fn without_an_upper_nothing_is_kept(bench: &Bench) {
    let staged = bench.stage();
    let mut execution = bench.step(&staged, &["sh", "-c", "echo x > /x && cat /x"]);
    execution.upper = None;
    let mut seen = Vec::new();
    bench.sandbox.run(execution, &mut |_, bytes| seen.extend_from_slice(bytes)).unwrap();
    assert_eq!(seen, b"x\n");
    drop(staged);
    assert_eq!(bench.scratch(), Vec::<String>::new());
}

fn is_running(argument: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.into_iter().any(|line| line.split(|b| *b == 0).any(|word| word == argument.as_bytes()))
}
