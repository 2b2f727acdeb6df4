//! What a step may take: time, memory, processors; how many run at once; and what becomes of the others when one fails.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_tests::kiln::{Answer, Kiln, answer};
use kiln_tests::running::{Running, wait_until};
use kiln_tests::steps::{executed, steps};
use kiln_tests::user::User;
use kiln_tests::{is_root_for, skip};

fn busybox() -> Kiln {
    let kiln = Kiln::new();
    kiln.load("busybox");
    kiln
}

fn context(kiln: &Kiln, dockerfile: &str) -> PathBuf {
    let context = kiln.scratch("context");
    fs::write(context.join("Dockerfile"), dockerfile).expect("Dockerfile");
    context
}

fn build(kiln: &Kiln, dockerfile: &str, flags: &[&str]) -> Answer {
    let context = context(kiln, dockerfile);
    answer(kiln.command(&["build", "--progress=plain"]).args(flags).arg(context))
}

/// The steps that ran, of a build that must succeed.
#[track_caller]
fn ran(answer: Answer) -> Vec<String> {
    let answer = answer.succeeded();
    executed(&steps(&answer.stderr)).into_iter().map(str::to_owned).collect()
}

/// Whether limits that need a control group can be had here; says that `test` is skipped otherwise.
fn limits(answer: &Answer, test: &str) -> bool {
    let none = answer.stderr.contains("no control group");
    if none {
        skip(test, "no control group can be made here");
    }
    !none
}

#[test]
fn a_step_that_takes_too_long_is_killed_with_all_that_it_started_and_is_not_kept() {
    let kiln = busybox();
    let seeds = kiln.scratch("seeds");
    let endless = "FROM busybox\nRUN echo begun; sleep 1000 & setsid sleep 1000 & sleep 1000\n";
    let answer = build(&kiln, endless, &["--step-timeout=500ms"]);
    assert_eq!(answer.code(), 1, "{answer}");
    for words in ["did not end within 500ms", ">>> RUN echo begun", "\nbegun\n", "hint: give steps more time"] {
        assert!(answer.stderr.contains(words), "{words:?}: {answer}");
    }
    // The same step, ended by itself where a file is there, runs with another limit and is then found under any.
    let patient = "FROM busybox\nCOPY --from=seeds /* /seeds/\nRUN test -e /seeds/go || sleep 1000\n";
    let given = ["--build-context", &format!("seeds={}", seeds.display())];
    let with = |flags: &[&str]| build(&kiln, patient, &[&given, flags].concat());
    fs::write(seeds.join("other"), "").expect("file");
    assert_eq!(with(&["--step-timeout=300ms"]).code(), 1);
    fs::write(seeds.join("go"), "").expect("file");
    assert!(ran(with(&["--step-timeout=5m"])).iter().any(|step| step.starts_with("RUN test")));
    assert_eq!(ran(with(&["--step-timeout=1h"])), Vec::<String>::new());
}

#[test]
fn limits_come_from_the_configuration_and_flags_win() {
    let kiln = busybox();
    let config = kiln.scratch("config").join("config.toml");
    fs::write(&config, "[build]\nstep-timeout = \"200ms\"\njobs = 2\n").expect("config");
    let context = context(&kiln, "FROM busybox\nRUN sleep 1\n");
    let build = |flags: &[&str]| answer(kiln.command(&["build"]).args(flags).arg(&context).env("KILN_CONFIG", &config));
    assert!(build(&[]).stderr.contains("did not end within 200ms"));
    build(&["--step-timeout=0"]).succeeded();
    for flags in [["--step-timeout=5"], ["--step-memory=1m"], ["--step-cpus=none"]] {
        assert_eq!(build(&flags).code(), 125, "{flags:?}");
    }
}

#[test]
fn a_step_that_needs_too_much_memory_is_told_so_and_runs_where_it_may() {
    let test = "limits of memory";
    if !is_root_for(test) {
        return;
    }
    let kiln = busybox();
    let hungry = "FROM busybox\nRUN dd if=/dev/zero of=/dev/null bs=60000000 count=1\n";
    let answer = build(&kiln, hungry, &["--step-memory=16m"]);
    if !limits(&answer, test) {
        return;
    }
    assert_eq!(answer.code(), 1, "{answer}");
    for words in ["exit code: 137", ">>> RUN dd", "needed more memory than the 16.0000 MiB that --step-memory"] {
        assert!(answer.stderr.contains(words), "{words:?}: {answer}");
    }
    assert_eq!(ran(build(&kiln, hungry, &["--step-memory=512m"])).len(), 1);
    assert_eq!(ran(build(&kiln, hungry, &["--step-memory=16m"])), Vec::<String>::new(), "no part of the key");
}

#[test]
fn what_lost_a_process_to_a_limit_and_ended_well_is_for_this_build_only() {
    let test = "results of limited steps";
    if !is_root_for(test) {
        return;
    }
    let kiln = busybox();
    let lossy = "FROM busybox\nRUN (dd if=/dev/zero of=/dev/null bs=60000000 count=1; echo $? > /code); true\n\
                 RUN cat /code\n";
    let answer = build(&kiln, lossy, &["--step-memory=16m"]);
    if !limits(&answer, test) {
        return;
    }
    let answer = answer.succeeded();
    assert!(answer.stderr.contains("its result is not kept for later builds"), "{answer}");
    assert!(answer.stderr.contains(" 137\n"), "{answer}");
    let answer = build(&kiln, lossy, &[]);
    assert!(answer.stderr.contains(" 0\n"), "{answer}");
    assert_eq!(ran(answer).len(), 2);
    assert_eq!(ran(build(&kiln, lossy, &["--step-memory=16m"])), Vec::<String>::new());
}

#[test]
fn a_step_gets_its_share_of_the_processors() {
    let test = "limits of processors";
    if !is_root_for(test) {
        return;
    }
    let kiln = busybox();
    let waiting =
        "FROM busybox\nRUN --mount=type=cache,target=/c echo here; until test -e /c/go; do usleep 20000; done\n";
    let context = context(&kiln, waiting);
    let mut build = Running::start(kiln.command(&["build", "--progress=plain", "--step-cpus=0.37"]).arg(&context));
    build.wait_for_words("here");
    let quota = find(Path::new("/sys/fs/cgroup"), 6, &|path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        matches!(path.file_name().and_then(|name| name.to_str()), Some("cpu.cfs_quota_us" | "cpu.max"))
            && text.split_whitespace().next() == Some("37000")
    });
    let caches = kiln.root().join("cache-mounts");
    let directory = fs::read_dir(&caches).expect("cache mounts").flatten().next().expect("a cache mount").path();
    fs::write(directory.join("go"), "").expect("go");
    let (status, said) = build.end();
    assert!(status.success(), "{said}");
    if said.contains("no control group") {
        return skip(test, "no control group can be made here");
    }
    assert!(quota.is_some(), "no group has the quota");
}

#[test]
fn who_may_make_no_control_group_is_told_and_builds_all_the_same() {
    if !is_root_for("limits of an ordinary user") {
        return;
    }
    let kiln = Kiln::of(User::with_subordinate_ids());
    kiln.load("busybox");
    let answer = build(&kiln, "FROM busybox\nRUN true\n", &["--step-memory=64m", "--step-cpus=1"]).succeeded();
    let told = answer.stderr.matches("no control group, so the limit of memory and processors is not kept").count();
    assert_eq!(told, 1, "{answer}");
    let late = build(&kiln, "FROM busybox\nRUN sleep 1000\n", &["--step-timeout=500ms"]);
    assert!(late.code() == 1 && late.stderr.contains("did not end within 500ms"), "{late}");
}

#[test]
fn stages_that_do_not_need_what_failed_finish_when_asked_for() {
    let kiln = busybox();
    let dockerfile = "FROM busybox AS a\nRUN echo last words; exit 3\nRUN echo never\nFROM busybox AS b\n\
                      RUN sleep 0.5; echo one\nRUN echo two\nFROM busybox AS c\nRUN sleep 0.2; exit 4\n\
                      FROM scratch\nCOPY --from=a / /a\nCOPY --from=b / /b\nCOPY --from=c / /c\n";
    let answer = build(&kiln, dockerfile, &["--keep-going"]);
    assert_eq!(answer.code(), 1, "{answer}");
    let end = answer.stderr.rsplit("ERROR: ").next().expect("an end");
    let mut lines: Vec<&str> = end.lines().collect();
    assert!(lines[0] == "2 steps failed:" && lines.len() == 3, "{answer}");
    // They are listed as they happened, which is a matter of chance here.
    lines[1..].sort_unstable();
    assert!(lines[1].contains("RUN echo last words; exit 3: ") && lines[1].ends_with("exit code: 3"), "{answer}");
    assert!(lines[2].contains("RUN sleep 0.2; exit 4: ") && lines[2].ends_with("exit code: 4"), "{answer}");
    for words in [">>> RUN echo last words", "\nlast words\n", ">>> RUN sleep 0.2"] {
        assert!(answer.stderr.contains(words), "{words:?}: {answer}");
    }
    assert!(!answer.stderr.contains("] RUN echo never"), "{answer}");
    // What finished is kept.
    let context = context(&kiln, dockerfile);
    assert_eq!(executed(&kiln.build(&context, &["--target=b"])), Vec::<&str>::new());
}

/// Steps that find out whether they run beside one another.
fn lonely_steps(count: usize) -> String {
    let mount = "--mount=type=cache,id=c,target=/c";
    let stage = |number: usize| {
        format!(
            "FROM busybox AS s{number}\nRUN {mount} mkdir /c/busy && usleep 30000 && rmdir /c/busy && touch /{number}\n"
        )
    };
    let copies = (0..count).map(|number| format!("COPY --from=s{number} /{number} /\n"));
    (0..count).map(stage).chain(["FROM scratch\n".into()]).chain(copies).collect()
}

#[test]
fn no_more_run_at_once_than_jobs_say() {
    let kiln = busybox();
    build(&kiln, &lonely_steps(12), &["--jobs=1"]).succeeded();
    assert_eq!(build(&kiln, &lonely_steps(12), &["--jobs=0"]).code(), 125);
}

#[test]
fn where_memory_is_short_one_runs_at_a_time_and_the_user_is_told_once() {
    let test = "builds with little memory";
    if !is_root_for(test) {
        return;
    }
    let Some(poor) = Poor::new(160 << 20) else { return skip(test, "no control group can limit memory here") };
    let kiln = busybox();
    let context = context(&kiln, &lonely_steps(8));
    let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", poor.0.display());
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script, "sh"]).arg(kiln.program()).args(["build", "--progress=plain"]).arg(context);
    shell.envs(kiln.environment());
    let answer = answer(&mut shell);
    wait_until("the end of the group's last process", || {
        fs::read_to_string(poor.0.join("cgroup.procs")).is_ok_and(|pids| pids.is_empty())
    });
    drop(poor);
    let answer = answer.succeeded();
    assert_eq!(answer.stderr.matches("memory is short").count(), 1, "{answer}");
}

/// A control group with little memory; it goes with the value.
struct Poor(PathBuf);

impl Poor {
    fn new(bytes: u64) -> Option<Poor> {
        let hierarchies = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        hierarchies.into_iter().find_map(|(hierarchy, limit)| {
            let poor = Poor(Path::new(hierarchy).join(format!("kiln-test-short-{}", std::process::id())));
            fs::create_dir(&poor.0).ok()?;
            fs::metadata(poor.0.join(limit)).and_then(|_| fs::write(poor.0.join(limit), bytes.to_string())).ok()?;
            Some(poor)
        })
    }
}

impl Drop for Poor {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A file somewhere below a directory, for which `fits` holds.
fn find(directory: &Path, depth: usize, fits: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    entries.map(|entry| entry.path()).find_map(|path| match path.is_dir() && !path.is_symlink() {
        true => {
            if depth > 0 {
                find(&path, depth - 1, fits)
            } else {
                None
            }
        }
        false => fits(&path).then_some(path),
    })
}
