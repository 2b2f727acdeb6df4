//! `commit`, `export` and `import`: a container's files as an image and as a flat tar, a flat tar as an image.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use kiln_tests::is_root_for;
use kiln_tests::kiln::{Kiln, answer, tool};
use kiln_tests::running::wait_until;
use kiln_tests::web::{Page, Web};

/// Everything that a container can do to its image's files.
const CHANGES: &str = "rm /bin/vi && rm -r /root && mkdir -m 700 /root && echo new > /root/new && ln /root/new /second && \
    ln -s /root/new /link && mkfifo /pipe && chown 7:8 /second && chmod 4755 /second && echo more >> /etc/passwd && \
    touch -d @1000000000 /tmp && truncate -s 3M /holes";

const LISTING: &str = "find / -xdev \\( -path /dev -o -path /proc -o -path /sys -o -path /etc/hosts -o -path /etc/hostname \
    -o -path /etc/resolv.conf -o -path /etc/mtab -o -path /.dockerenv -o -path /etc \\) -prune -o \
    -exec stat -c '%n %F %a %u:%g %s %h' {} +; cat /etc/passwd; ls /etc";

fn with_busybox() -> Kiln {
    let kiln = Kiln::on_fresh_disk();
    kiln.load("busybox");
    kiln
}

/// What a container of the image finds, apart from what docker puts into every one.
fn listed(kiln: &Kiln, image: &str) -> BTreeSet<String> {
    let own = ["hosts", "hostname", "resolv.conf", "mtab"];
    let out = kiln.ok(&["run", "--rm", "--entrypoint", "/bin/sh", image, "-c", LISTING]).stdout;
    // Of a directory in an overlay the size and the links are its own.
    let plain = |line: &str| match line.split_once(" directory ") {
        Some((name, rest)) => format!("{name} directory {}", rest.rsplitn(3, ' ').last().unwrap_or_default()),
        None => line.to_owned(),
    };
    out.lines().filter(|line| !own.contains(line)).map(plain).collect()
}

#[test]
fn a_committed_image_and_an_imported_export_have_the_container_s_files() {
    if !is_root_for("commit, export and import") {
        return;
    }
    let kiln = with_busybox();
    let script = format!("{CHANGES} && {LISTING}");
    kiln.ok(&["run", "--name", "changed", "busybox", "sh", "-c", &script]);
    kiln.ok(&["commit", "changed", "committed"]);
    let committed = listed(&kiln, "committed");
    for wanted in
        ["/root/new regular file 4755 7:8 4 2", "/holes regular file 644 0:0 3145728 1", "/pipe fifo 644 0:0 0 1"]
    {
        assert!(committed.contains(wanted), "{wanted}: {committed:#?}");
    }
    assert!(!committed.iter().any(|line| line.starts_with("/bin/vi ")));
    let layers = |image: &str| kiln.ok(&["inspect", "-f", "{{len .RootFS.Layers}}", image]).stdout;
    assert_eq!((layers("busybox").as_str(), layers("committed").as_str()), ("1\n", "2\n"));

    let exported = kiln.scratch("archives").join("exported.tar");
    kiln.ok(&["export", "-o", text(&exported), "changed"]);
    let piped = answer(kiln.command(&["export", "changed"]).stdout(Stdio::piped())).succeeded();
    assert!(piped.stdout.contains("root/new"));
    for compressor in ["cat", "gzip", "zstd", "xz", "bzip2"] {
        let compressed = exported.with_extension(compressor);
        let line = format!("{compressor} < {} > {}", text(&exported), text(&compressed));
        answer(Command::new("sh").args(["-c", &line])).succeeded();
        let archive = File::open(&compressed).expect("archive");
        let name = format!("imported:{compressor}");
        answer(kiln.command(&["import", "-", &name]).stdin(archive)).succeeded();
        let differ: Vec<_> = listed(&kiln, &name).symmetric_difference(&committed).cloned().collect();
        assert!(differ.is_empty(), "{compressor}: {differ:#?}");
    }
    let diff_ids = |image: &str| kiln.ok(&["inspect", "-f", "{{json .RootFS.Layers}}", image]).stdout;
    let digest = tool("sha256sum", &[text(&exported)]);
    let hex = digest.split_whitespace().next().expect("a digest");
    assert_eq!(diff_ids("imported:gzip"), format!("[\"sha256:{hex}\"]\n"), "the bytes of the archive are the layer");
    assert_eq!(diff_ids("imported:xz"), diff_ids("imported:gzip"));
}

#[test]
fn a_container_that_changed_nothing_adds_no_layer() {
    if !is_root_for("commit, export and import") {
        return;
    }
    let kiln = with_busybox();
    kiln.ok(&["run", "--name", "idle", "busybox", "true"]);
    kiln.ok(&["create", "--name", "never", "busybox", "true"]);
    for container in ["idle", "never"] {
        kiln.ok(&["commit", "-a", "me", "-m", "nothing", container, container]);
        let shown = kiln.ok(&[
            "image",
            "inspect",
            "-f",
            "{{len .RootFS.Layers}} {{.Author}} {{.Comment}} {{.Config.Cmd}}",
            container,
        ]);
        assert_eq!(shown.stdout, "1 me nothing [true]\n");
        let history = kiln.ok(&["history", "--format", "{{.CreatedBy}} {{.Size}}", container]).stdout;
        assert_eq!(history.lines().next(), Some("true 0B"));
        let ids = kiln.ok(&["history", "-q", "--no-trunc", container]).stdout;
        let id = |image: &str| kiln.ok(&["image", "inspect", "-f", "{{.Id}}", image]).stdout;
        assert!(ids.starts_with(&format!("{}{}", id(container), id("busybox"))), "{ids}");
        assert_eq!(kiln.ok(&["image", "inspect", "-f", "{{.Parent}}", container]).stdout, id("busybox"));
    }
    // Committed onto what was committed, with everything that a change can say.
    let changes = [
        "ENV A=1 B=\"$A x\"",
        "CMD [\"c\"]",
        "ENTRYPOINT [\"e\"]",
        "EXPOSE 80",
        "LABEL l=1",
        "USER 7",
        "WORKDIR /w",
        "VOLUME /v",
        "ONBUILD RUN true",
        "HEALTHCHECK CMD true",
        "STOPSIGNAL SIGUSR1",
    ];
    let mut args = vec!["commit"];
    args.extend(changes.iter().flat_map(|change| ["-c", change]));
    kiln.ok(&[args.as_slice(), &["never", "changed:1"]].concat());
    let format = "{{.Config.Cmd}} {{.Config.Entrypoint}} {{json .Config.ExposedPorts}} {{.Config.Labels.l}} {{.Config.User}} \
        {{.Config.WorkingDir}} {{json .Config.Volumes}} {{.Config.OnBuild}} {{.Config.Healthcheck.Test}} {{.Config.StopSignal}}";
    let shown = kiln.ok(&["inspect", "-f", format, "changed:1"]).stdout;
    assert_eq!(shown, "[c] [e] {\"80/tcp\":{}} 1 7 /w {\"/v\":{}} [RUN true] [CMD-SHELL true] SIGUSR1\n");
    kiln.fails(&["commit", "-c", "COPY a b", "never", "x"], &["COPY is not a valid change command"]);
    kiln.fails(&["commit", "never", "x@sha256:aa"], &["invalid reference format"]);
}

#[test]
fn a_running_container_is_paused_while_it_is_committed_and_goes_on() {
    if !is_root_for("commit, export and import") {
        return;
    }
    let kiln = with_busybox();
    let script = "echo before > /file; echo ready; while [ ! -e /go ]; do sleep 0.1; done";
    let volume = kiln.scratch("shared");
    let mount = format!("{}:/shared", text(&volume));
    let script = script.replace("/go", "/shared/go");
    let mut command = kiln.command(&["run", "--name", "busy", "-v", &mount, "busybox", "sh", "-c", &script]);
    let mut running = command.stdout(Stdio::piped()).spawn().expect("kiln");
    let mut line = String::new();
    BufReader::new(running.stdout.take().expect("its output")).read_line(&mut line).expect("its output");
    assert_eq!(line, "ready\n");
    for (image, flags) in [("paused", &[][..]), ("not:paused", &["--no-pause"]), ("not:either", &["--pause=false"])] {
        kiln.ok(&[&["commit"], flags, &["busy", image]].concat());
        assert_eq!(kiln.ok(&["run", "--rm", image, "cat", "/file"]).stdout, "before\n");
    }
    kiln.fails(&["rmi", "busybox"], &["must be forced", "is using its referenced image"]);
    std::fs::write(volume.join("go"), "").expect("the sign to end");
    assert!(running.wait().expect("its end").success(), "it did not go on");
}

#[test]
fn held_processes_stand_still_until_nobody_holds_them() {
    let kiln = Kiln::new();
    let mut shell = Command::new("sh").args(["-c", "sleep 600 & sleep 600 & wait"]).spawn().expect("sh");
    let first = shell.id();
    let states = || states_of_descendants(first);
    wait_until("the children of the shell", || states().len() == 3);
    let mut command = kiln.command(&["hold-processes", &first.to_string()]);
    let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("kiln");
    let mut word = [0; 8];
    holder.stdout.take().expect("its output").read_exact(&mut word).expect("its word");
    assert_eq!((&word, states().as_str()), (b"stopped\n", "TTT"));
    drop(holder.stdin.take());
    assert!(holder.wait().expect("its end").success());
    wait_until("all of them go on", || states().chars().all(|state| state != 'T'));
    for pid in descendants(first) {
        tool("kill", &["-KILL", &pid.to_string()]);
    }
    shell.wait().expect("its end");
}

/// The process, and those that it started.
fn descendants(first: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap_or_default();
    std::iter::once(first).chain(children.split_whitespace().map(|pid| pid.parse().expect("a number"))).collect()
}

/// A letter for each, as the kernel writes them.
fn states_of_descendants(first: u32) -> String {
    let state = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        text.rsplit_once(") ")?.1.chars().next()
    };
    descendants(first).into_iter().filter_map(state).collect()
}

#[test]
fn what_is_no_archive_leaves_nothing() {
    if !is_root_for("commit, export and import") {
        return;
    }
    let kiln = with_busybox();
    let garbage = kiln.scratch("archives").join("garbage");
    std::fs::write(&garbage, "this is no archive, and it is longer than nothing at all".repeat(40)).expect("garbage");
    kiln.fails(&["import", text(&garbage), "x:1"], &["Error response from daemon"]);
    kiln.fails(&["import", "nosuch.tar"], &["open nosuch.tar: no such file or directory"]);
    kiln.fails(&["import", text(&garbage), "BAD"], &["must be lowercase"]);
    kiln.fails(&["export", "nosuch"], &["No such container: nosuch"]);
    kiln.fails(
        &["export", "-o", "/nosuch/place", "x"],
        &["failed to export container: invalid output path: stat /nosuch"],
    );
    kiln.fails(&["save", "-o", "/", "busybox"], &["failed to save image: cannot write to a directory"]);
    assert_eq!(kiln.ok(&["images", "--format", "{{.Repository}}"]).stdout, "busybox\n");
}

#[test]
fn an_archive_comes_from_the_web() {
    if !is_root_for("commit, export and import") {
        return;
    }
    let kiln = with_busybox();
    kiln.ok(&["create", "--name", "box", "busybox"]);
    let archive = kiln.scratch("archives").join("box.tar");
    kiln.ok(&["export", "-o", text(&archive), "box"]);
    let web = Web::serve();
    web.put("/box.tar", Page::of(&std::fs::read(&archive).expect("archive")));
    let address = web.url("/box.tar");
    let said =
        kiln.ok(&["import", "-c", "CMD [\"echo\", \"hi\"]", "--platform", "linux/amd64", &address, "web:1"]).stdout;
    assert!(said.starts_with(&format!("Downloading from {address}\nsha256:")), "{said}");
    assert_eq!(kiln.ok(&["run", "--rm", "web:1"]).stdout, "hi\n");
    let comment = kiln.ok(&["history", "--format", "{{.Comment}}", "web:1"]).stdout;
    assert_eq!(comment, format!("Imported from {address}\n"));
    kiln.fails(&["import", &web.url("/missing.tar")], &["404"]);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}
