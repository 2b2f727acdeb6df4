//! Made, started, shown, started again, removed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use kiln_engine::{CachePrune, CreateOptions, Error, ImagePrune, Network, Phase, SystemPrune, Tier, Which};

use crate::Case;
use crate::bench::{self, Bench, Ran, options};

pub(crate) const CASES: &[Case] = &[
    ("output_and_exit_code_come_back", output_and_exit_code_come_back),
    ("the_process_sees_what_docker_shows", the_process_sees_what_docker_shows),
    ("flags_of_run_apply", flags_of_run_apply),
    ("auto_remove_leaves_nothing", auto_remove_leaves_nothing),
    ("changes_survive_until_removal", changes_survive_until_removal),
    ("a_failed_start_is_told_and_kept", a_failed_start_is_told_and_kept),
    ("names_are_unique_and_checked", names_are_unique_and_checked),
    ("containers_are_listed_as_ps_does", containers_are_listed_as_ps_does),
    ("inspect_has_dockers_members", inspect_has_dockers_members),
    ("input_is_handed_on", input_is_handed_on),
    ("a_terminal_has_size_and_both_streams", a_terminal_has_size_and_both_streams),
    ("a_container_whose_runner_died_is_exited", a_container_whose_runner_died_is_exited),
    ("what_removes_itself_does_so_after_its_runner_died", what_removes_itself_does_so_after_its_runner_died),
    ("a_running_container_is_not_removed_or_started_again", a_running_container_is_not_removed_or_started_again),
    ("users_come_from_what_the_container_changed", users_come_from_what_the_container_changed),
    ("prune_takes_what_does_not_run", prune_takes_what_does_not_run),
];

fn output_and_exit_code_come_back(bench: &Bench) {
    let ran = bench.script("echo out; echo err >&2; exit 3");
    assert_eq!(ran, Ran { code: 3, stdout: "out\n".into(), stderr: "err\n".into() });
    assert_eq!(bench.script("kill -9 $$; sleep 0; exec false").code, 1);
}

fn the_process_sees_what_docker_shows(bench: &Bench) {
    let made = bench.engine.create(&options(&["env"])).unwrap();
    let short = made.short_id().to_owned();
    let expected = format!("PATH=/bin\nHOSTNAME={short}\nFROM_IMAGE=yes\nHOME=/root\n");
    assert_eq!(bench.start(&made.id).unwrap().stdout, expected);
    assert_eq!(bench.script("cat /etc/hostname").stdout.len(), 13);
    // With a single id there are no further groups.
    let groups = if bench.engine.tier().is_single_id() { "" } else { " groups=0(root),10(wheel)" };
    assert_eq!(bench.script("id").stdout, format!("uid=0(root) gid=0(root){groups}\n"));
}

fn flags_of_run_apply(bench: &Bench) {
    let mut options = options(&[
        "sh",
        "-c",
        "echo $A-$B-$FROM_IMAGE; pwd; id -u; hostname; ls /sys/class/net; touch /x || echo refused",
    ]);
    options.env = vec!["A=1".into(), "FROM_IMAGE".into()];
    options.working_dir = Some("/made/here".into());
    options.user = Some("65534".into());
    options.hostname = Some("myhost".into());
    options.network = Network::None;
    options.read_only = true;
    let ran = bench.run(&options).unwrap();
    let user = if bench.engine.tier().is_single_id() { 0 } else { 65534 };
    assert_eq!(ran.stdout, format!("1--\n/made/here\n{user}\nmyhost\nlo\nrefused\n"), "{}", ran.stderr);
    let relative = CreateOptions { working_dir: Some("x".into()), ..bench::options(&["true"]) };
    let error = bench.run(&relative).unwrap_err();
    assert_eq!(error.to_string(), "the working directory 'x' is invalid, it needs to be an absolute path");
}

fn auto_remove_leaves_nothing(bench: &Bench) {
    assert_eq!(bench.script("echo x > /x").code, 0);
    assert!(bench.engine.containers().unwrap().is_empty());
    assert!(bench.engine.volumes().unwrap().is_empty());
    let left = std::fs::read_dir(bench.engine.store().root().join("containers")).unwrap().count();
    assert_eq!(left, 0);
}

fn changes_survive_until_removal(bench: &Bench) {
    let script = "test -e /x && echo again; echo x > /x";
    let named = CreateOptions { name: Some("keeper".into()), ..options(&["sh", "-c", script]) };
    assert_eq!(bench.run(&named).unwrap().stdout, "");
    assert_eq!(bench.start("keeper").unwrap().stdout, "again\n");
    bench.engine.remove("keeper", false, true).unwrap();
    assert_eq!(bench.engine.container("keeper").unwrap_err().to_string(), "No such container: keeper");
    assert_eq!(bench.run(&named).unwrap().stdout, "");
}

fn a_failed_start_is_told_and_kept(bench: &Bench) {
    let check = |command: &str, code: u8, words: &str| {
        let made = bench.engine.create(&options(&[command])).unwrap();
        let error = bench.start(&made.id).unwrap_err();
        assert_eq!(error.run_exit_code(), code, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        let state = bench.engine.container(&made.id).unwrap().state;
        assert_eq!((state.phase, state.exit_code), (Phase::Created, code));
        assert!(state.error.contains(words));
    };
    check("/no/such", 127, "no such file or directory");
    check("nosuch", 127, "executable file not found");
    check("/etc", 126, "exec: \"/etc\"");
    let nobody = CreateOptions { user: Some("nobodyhere".into()), auto_remove: true, ..options(&["true"]) };
    let error = bench.run(&nobody).unwrap_err();
    assert_eq!(error.run_exit_code(), 125);
    assert!(error.to_string().contains("unable to find user nobodyhere: no matching entries in passwd file"));
}

fn names_are_unique_and_checked(bench: &Bench) {
    let named = CreateOptions { name: Some("rb".into()), ..options(&["true"]) };
    let first = bench.engine.create(&named).unwrap();
    let expected = format!(
        "Conflict. The container name \"/rb\" is already in use by container \"{}\". You have to remove (or rename) \
         that container to be able to reuse that name.",
        first.id
    );
    assert_eq!(bench.engine.create(&named).unwrap_err().to_string(), expected);
    let bad = CreateOptions { name: Some("bad/name".into()), ..named };
    assert!(matches!(bench.engine.create(&bad), Err(Error::InvalidName(_))));
    assert_eq!(bench.engine.container(first.short_id()).unwrap().id, first.id);
    let missing = CreateOptions { image: "nosuch/image".into(), ..options(&[]) };
    assert_eq!(bench.engine.create(&missing).unwrap_err().to_string(), "No such image: nosuch/image:latest");
}

fn containers_are_listed_as_ps_does(bench: &Bench) {
    let named = |name: &str, command: &[&str]| CreateOptions { name: Some(name.into()), ..options(command) };
    assert_eq!(bench.run(&named("p2", &["sh", "-c", "exit 2"])).unwrap().code, 2);
    bench.engine.create(&named("p3", &["true"])).unwrap();
    let list = bench.engine.list(true).unwrap();
    let shown: Vec<_> = list.iter().map(|row| (row.name.as_str(), row.image.as_str(), row.command.as_str())).collect();
    assert_eq!(shown, [("p3", "box", "true"), ("p2", "box", "sh -c 'exit 2'")]);
    assert_eq!(list[0].status, "Created");
    assert!(list[1].status.starts_with("Exited (2) ") && list[1].status.ends_with(" ago"), "{}", list[1].status);
    assert!(bench.engine.list(false).unwrap().is_empty());
}

fn inspect_has_dockers_members(bench: &Bench) {
    let labels = [("a".to_owned(), "b".to_owned())].into();
    let made = CreateOptions { name: Some("p1".into()), labels, ..options(&["sh", "-c", "exit 2"]) };
    bench.run(&made).unwrap();
    let shown = bench.engine.inspect_container("p1").unwrap();
    assert_eq!(shown["State"]["Status"], "exited");
    assert_eq!((&shown["State"]["ExitCode"], &shown["State"]["Running"]), (&2.into(), &false.into()));
    assert_eq!((&shown["Name"], &shown["Path"]), (&"/p1".into(), &"sh".into()));
    assert_eq!(shown["Args"], serde_json::json!(["-c", "exit 2"]));
    assert_eq!(shown["Config"]["Labels"]["a"], "b");
    assert_eq!(shown["Config"]["Env"], serde_json::json!(["PATH=/bin", "FROM_IMAGE=yes"]));
    assert_eq!(shown["Image"], bench.image.to_string());
    assert_eq!(shown["Mounts"][0]["Type"], "volume");
}

fn input_is_handed_on(bench: &Bench) {
    let made = bench.engine.create(&CreateOptions { open_stdin: true, ..options(&["cat"]) }).unwrap();
    let (read, write) = std::io::pipe().unwrap();
    let sent = vec![b'x'; 300_000];
    let copy = sent.clone();
    let writer = std::thread::spawn(move || {
        let mut write = write;
        write.write_all(&copy).unwrap()
    });
    let mut seen = Vec::new();
    let started = bench.engine.start(&made.id, None).unwrap();
    let code = started.run(Some(read.into()), &mut |_, bytes| seen.extend_from_slice(bytes)).unwrap();
    writer.join().unwrap();
    assert_eq!((code, seen.len()), (0, sent.len()));
}

fn a_terminal_has_size_and_both_streams(bench: &Bench) {
    let script = "stty size; echo err >&2; env | tr '\\n' ' '; exit 4";
    let made = bench.engine.create(&CreateOptions { tty: true, ..options(&["sh", "-c", script]) }).unwrap();
    let ran = bench.start(&made.id).unwrap();
    assert_eq!((ran.code, ran.stderr.as_str()), (4, ""));
    assert!(ran.stdout.starts_with("24 80\r\nerr\r\n") && ran.stdout.contains("TERM=xterm "), "{}", ran.stdout);
}

/// The role of the runner: says that the container runs, and waits.
pub(crate) fn run_until_killed(directory: &Path, tier: Tier, container: &str) -> ! {
    let engine = bench::open(directory, tier);
    let attached = engine.start(container, None).unwrap();
    let code = attached.run(None, &mut |_, bytes| std::io::stdout().write_all(bytes).unwrap());
    std::process::exit(i32::from(code.unwrap()))
}

/// Starts a container in another process and returns when it says `up`.
fn run_elsewhere(bench: &Bench, container: &str) -> std::process::Child {
    let mut runner = Command::new(std::env::current_exe().unwrap())
        .arg("--run")
        .arg(&bench.directory)
        .arg(container)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(runner.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    runner
}

fn a_container_whose_runner_died_is_exited(bench: &Bench) {
    let named = CreateOptions { name: Some("orphan".into()), ..options(&["sh", "-c", "echo up; sleep 65432"]) };
    let made = bench.engine.create(&named).unwrap();
    let mut runner = run_elsewhere(bench, "orphan");
    let running = bench.engine.container("orphan").unwrap().state;
    assert_eq!(running.phase, Phase::Running);
    runner.kill().unwrap();
    runner.wait().unwrap();
    // The helper lets go of the lock when the last process is gone.
    let key = bench.engine.store().containers().lock_key(&made.id);
    drop(bench.engine.store().locks().acquire(key, kiln_store::Sharing::Exclusive, &|| false).unwrap());
    let state = bench.engine.container("orphan").unwrap().state;
    assert_eq!((state.phase, state.exit_code, state.pid), (Phase::Exited, 137, 0));
    assert!(!Path::new(&format!("/proc/{}", running.pid)).exists());
    bench.engine.remove("orphan", false, true).unwrap();
}

fn what_removes_itself_does_so_after_its_runner_died(bench: &Bench) {
    let named = CreateOptions {
        auto_remove: true,
        name: Some("short".into()),
        ..options(&["sh", "-c", "echo up; sleep 65434"])
    };
    let made = bench.engine.create(&named).unwrap();
    let mut runner = run_elsewhere(bench, &made.id);
    runner.kill().unwrap();
    runner.wait().unwrap();
    let key = bench.engine.store().containers().lock_key(&made.id);
    drop(bench.engine.store().locks().acquire(key, kiln_store::Sharing::Exclusive, &|| false).unwrap());
    let again = bench.engine.create(&named).unwrap();
    let ids: Vec<String> = bench.engine.list(true).unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(ids, [again.id]);
    assert!(!bench.engine.store().containers().directory(&made.id).exists());
    assert_eq!(bench.engine.volumes().unwrap().len(), 1);
}

fn a_running_container_is_not_removed_or_started_again(bench: &Bench) {
    let named = CreateOptions { name: Some("busy".into()), ..options(&["sh", "-c", "echo up; sleep 65433"]) };
    bench.engine.create(&named).unwrap();
    let mut runner = run_elsewhere(bench, "busy");
    let expected =
        "cannot remove container \"busy\": container is running: stop the container before removing or force remove";
    assert_eq!(bench.engine.remove("busy", false, false).unwrap_err().to_string(), expected);
    assert!(matches!(bench.engine.start("busy", None), Err(Error::AlreadyRunning(_))));
    assert!(bench.engine.list(false).unwrap()[0].status.starts_with("Up "));
    bench.engine.remove("busy", true, true).unwrap();
    assert!(bench.engine.containers().unwrap().is_empty());
    assert_eq!(runner.wait().unwrap().code(), Some(137));
}

fn users_come_from_what_the_container_changed(bench: &Bench) {
    let script = "echo 'kiln:x:77:88::/new:' > /etc/passwd; id -u; echo $HOME";
    let made =
        bench.engine.create(&CreateOptions { user: Some("0".into()), ..options(&["sh", "-c", script]) }).unwrap();
    assert_eq!(bench.start(&made.id).unwrap().stdout, "0\n/root\n");
    // Root is in no passwd file any more.
    assert_eq!(bench.start(&made.id).unwrap().stdout, "0\n/\n");
}

fn prune_takes_what_does_not_run(bench: &Bench) {
    bench.run(&options(&["true"])).unwrap();
    let all = SystemPrune {
        containers: Which::All,
        images: Some(ImagePrune::default()),
        cache: Some(CachePrune::default()),
        dry_run: false,
    };
    let dry = bench.engine.prune(&SystemPrune { dry_run: true, ..all.clone() }).unwrap();
    assert_eq!(dry.containers.len(), 1);
    assert_eq!(bench.engine.containers().unwrap().len(), 1);
    assert_eq!(bench.engine.prune(&all).unwrap(), dry);
    assert!(bench.engine.containers().unwrap().is_empty());
    assert_eq!(bench.engine.images().unwrap().len(), 1);
}
