//! What is wrong is said clearly, with its place; the exit code is docker's; the store stays usable.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use kiln_tests::is_root_for;
use kiln_tests::kiln::{Answer, Kiln, answer, fixture, tool};
use kiln_tests::registry::Registry;
use kiln_tests::running::Running;
use kiln_tests::tarball::{Entry, tarball};
use kiln_tests::user::User;
use rustix::process::Signal;

/// A kiln that has busybox.
fn kiln() -> Kiln {
    let kiln = Kiln::new();
    kiln.load("busybox");
    kiln
}

/// A build of this Dockerfile, in a context with one file `here`, fails with code 1 and says all the words.
#[track_caller]
fn fails(kiln: &Kiln, dockerfile: &str, words: &[&str]) -> Answer {
    let context = kiln.scratch("context");
    fs::write(context.join("Dockerfile"), dockerfile).expect("Dockerfile");
    fs::write(context.join("here"), "here").expect("here");
    let answer = kiln.fails(&["build", "--progress", "plain", text(&context)], words);
    assert_eq!(answer.code(), 1, "{answer}");
    answer
}

/// The message points to this line of the Dockerfile.
#[track_caller]
fn at_line(answer: &Answer, line: u32) {
    let said = &answer.stderr;
    let ways = [format!("Dockerfile:{line}"), format!("line {line}"), format!("line {line}:")];
    assert!(ways.iter().any(|way| said.contains(way)), "no line {line} in: {answer}");
}

/// After whatever happened, an ordinary build works.
#[track_caller]
fn still_works(kiln: &Kiln) {
    let context = kiln.scratch("ordinary");
    fs::write(context.join("Dockerfile"), "FROM busybox\nRUN echo fine > /fine\n").expect("Dockerfile");
    kiln.build(&context, &["-t", "fine"]);
    assert_eq!(kiln.ok(&["run", "--rm", "fine", "cat", "/fine"]).stdout, "fine\n");
}

#[test]
fn dockerfile_missing_or_empty() {
    let kiln = kiln();
    let context = kiln.scratch("without");
    let answer = kiln.fails(&["build", text(&context)], &["Dockerfile"]);
    assert_eq!(answer.code(), 1, "{answer}");
    fails(&kiln, "", &["Dockerfile"]);
    fails(&kiln, "# only a comment\n", &["Dockerfile"]);
    kiln.fails(&["build", "/no/such/context"], &["/no/such/context"]);
}

#[test]
fn unknown_instruction() {
    let kiln = kiln();
    let answer = fails(&kiln, "FROM busybox\n\nRNU true\n", &["RNU", "RUN"]);
    at_line(&answer, 3);
    assert!(answer.stderr.to_lowercase().contains("did you mean"), "{answer}");
}

#[test]
fn unterminated_heredoc() {
    at_line(&fails(&kiln(), "FROM busybox\nRUN <<EOF\necho\n", &["heredoc"]), 2);
}

#[test]
fn stages_that_do_not_exist_yet_or_at_all() {
    let kiln = kiln();
    fails(&kiln, "FROM busybox AS a\nCOPY --from=b /x /x\nFROM busybox AS b\nCOPY --from=a /x /x\n", &["b"]);
    fails(&kiln, "FROM busybox AS a\nCOPY --from=a /x /x\n", &["a"]);
    let context = kiln.scratch("context");
    kiln.fails(&["build", "--target", "nosuch", text(&context)], &["nosuch"]);
}

#[test]
fn file_missing_in_the_context() {
    let answer = fails(&kiln(), "FROM busybox\nCOPY here /\nCOPY absent.txt /\n", &["absent.txt", "not found"]);
    at_line(&answer, 3);
}

#[test]
fn path_that_escapes_the_context() {
    let kiln = kiln();
    let secret = kiln.scratch("secret");
    fs::write(secret.join("key"), "top secret").expect("secret");
    fails(&kiln, "FROM busybox\nCOPY ../secret/key /\n", &["secret/key"]);
    let context = kiln.scratch("context");
    let link = context.join("link");
    std::os::unix::fs::symlink("../secret/key", &link).expect("link");
    fails(&kiln, "FROM busybox\nCOPY link /key\n", &["not found"]);
}

#[test]
fn registry_that_does_not_answer() {
    let kiln = kiln();
    let answer = fails(&kiln, "FROM 127.0.0.1:1/some/image:tag\n", &["127.0.0.1:1"]);
    at_line(&answer, 1);
    let answer = kiln.fails(&["run", "--rm", "127.0.0.1:1/some/image:tag"], &["127.0.0.1:1"]);
    assert_eq!(answer.code(), 125);
    kiln.fails(&["pull", "127.0.0.1:1/some/image:tag"], &["127.0.0.1:1"]);
}

#[test]
fn digest_that_the_registry_does_not_have() {
    let kiln = Kiln::new();
    let registry = Registry::serve(&["busybox"]);
    let name = format!("{}/library/busybox", registry.address());
    let absent = format!("{name}@sha256:{}", "0".repeat(64));
    kiln.fails(&["pull", &absent], &["not found"]);
    kiln.ok(&["pull", &format!("{name}:latest")]);
    assert_eq!(kiln.ok(&["run", "--rm", &format!("{name}:latest"), "echo", "pulled"]).stdout, "pulled\n");
}

#[test]
fn corrupt_archive() {
    let kiln = kiln();
    let place = kiln.scratch("archives");
    let layout = place.join("layout");
    tool("cp", &["-r", text(&fixture("busybox")), text(&layout)]);
    let blobs = fs::read_dir(layout.join("blobs/sha256")).expect("blobs").flatten();
    let layer = blobs.max_by_key(|blob| blob.metadata().expect("blob").len()).expect("blob");
    let mut bytes = fs::read(layer.path()).expect("layer");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(layer.path(), &bytes).expect("layer");
    let archive = place.join("flipped.tar");
    tool("tar", &["-C", text(&layout), "-cf", text(&archive), "."]);
    kiln.fails(&["load", "-i", text(&archive)], &[&layer.file_name().to_string_lossy()]);

    let whole = fs::read(&archive).expect("archive");
    fs::write(place.join("short.tar"), &whole[..whole.len() / 3]).expect("archive");
    kiln.fails(&["load", "-i", text(&place.join("short.tar"))], &[]);
    fs::write(place.join("none.tar"), "no archive at all").expect("archive");
    kiln.fails(&["load", "-i", text(&place.join("none.tar"))], &[]);
    kiln.fails(&["load", "-i", text(&place.join("absent.tar"))], &["absent.tar"]);
    still_works(&kiln);
}

#[test]
fn tar_that_reaches_outside() {
    let kiln = kiln();
    let context = kiln.scratch("context");
    let clamped = tarball(&[Entry::file("../../up", b"up"), Entry::file("/abs", b"abs")]);
    fs::write(context.join("clamped.tar"), clamped).expect("archive");
    fs::write(
        context.join("Dockerfile"),
        "FROM busybox\nADD clamped.tar /a/b/c/\nRUN find / -name up -o -name abs | grep -v ^/proc > /list\n",
    )
    .expect("Dockerfile");
    kiln.build(&context, &["-t", "clamped"]);
    let list = kiln.ok(&["run", "--rm", "clamped", "cat", "/list"]).stdout;
    assert!(list.lines().all(|line| line.starts_with("/a/b/c/")) && list.lines().count() == 2, "{list}");
    assert!(!Path::new("/abs").exists());

    let through = tarball(&[Entry::symlink("way", "/etc"), Entry::file("way/planted", b"x")]);
    fs::write(context.join("through.tar"), through).expect("archive");
    fails(&kiln, "FROM busybox\nADD through.tar /a/\n", &["through.tar"]);
    assert!(!Path::new("/etc/planted").exists());
    still_works(&kiln);
}

#[test]
fn tar_whose_header_promises_too_much() {
    let kiln = kiln();
    let place = kiln.scratch("archives");
    let entries = [
        Entry { size: 1 << 60, ..Entry::file("huge", b"x") },
        Entry { kind: b'x', size: 8 << 30, ..Entry::file("records", b"30 path=x\n") },
        Entry { kind: b'L', size: 8 << 30, ..Entry::file("name", b"x") },
    ];
    for entry in entries {
        let archive = place.join(format!("{}.tar", String::from_utf8_lossy(&entry.path)));
        fs::write(&archive, tarball(&[entry])).expect("archive");
        // An allocation of the promised size would end the process.
        let mut command = Command::new("prlimit");
        command.arg("--as=3000000000").arg(kiln.program()).args(["load", "-i", text(&archive)]);
        let answer = answer(command.envs(kiln.environment()).stdin(Stdio::null()));
        assert!(!answer.status.success() && answer.code() < 128, "{answer}");
        assert!(!answer.stderr.contains("panicked") && !answer.stderr.contains("allocation"), "{answer}");
    }
    still_works(&kiln);
}

#[test]
fn command_that_does_not_exist_or_fails() {
    let kiln = kiln();
    at_line(&fails(&kiln, "FROM busybox\nRUN nosuchcommand\n", &["nosuchcommand", "127"]), 2);
    at_line(&fails(&kiln, "FROM busybox\nRUN [\"/no/such\"]\n", &["/no/such"]), 2);
    let answer = fails(&kiln, "FROM busybox\nRUN echo last words; exit 7\n", &["last words", "7"]);
    let log = answer.stderr.split_whitespace().find(|word| word.contains("/logs/")).expect("path of the full log");
    let log = log.trim_matches(|c: char| !c.is_alphanumeric() && c != '/');
    assert!(fs::read_to_string(log).expect("log").contains("last words"));
}

#[test]
fn unknown_user() {
    let kiln = kiln();
    at_line(&fails(&kiln, "FROM busybox\nUSER nosuchuser\nRUN true\n", &["nosuchuser"]), 3);
    let answer = kiln.fails(&["run", "--rm", "-u", "nosuchuser", "busybox", "true"], &["nosuchuser"]);
    assert!([125, 126].contains(&answer.code()), "{answer}");
}

#[test]
fn what_is_not_supported_yet_is_said() {
    let kiln = kiln();
    kiln.fails(&["run", "-d", "busybox", "true"], &["not supported yet"]);
    kiln.fails(&["run", "--rm", "-p", "80:80", "busybox", "true"], &["not supported yet"]);
}

#[test]
fn full_disk() {
    if !is_root_for("full disk") {
        return;
    }
    let kiln = Kiln::on_disk_of("96M");
    kiln.load("busybox");
    let elsewhere = tempfile::tempdir().expect("context");
    let large = fs::File::create(elsewhere.path().join("large")).expect("large");
    let mut noise = fs::File::open("/dev/urandom").map(|noise| std::io::Read::take(noise, 200 << 20)).expect("noise");
    std::io::copy(&mut noise, &mut &large).expect("large");
    fs::write(elsewhere.path().join("Dockerfile"), "FROM busybox\nCOPY large /\n").expect("Dockerfile");
    kiln.fails(&["build", text(elsewhere.path())], &["No space left on device"]);
    still_works(&kiln);
}

#[test]
fn disk_that_is_read_only() {
    if !is_root_for("read-only disk") {
        return;
    }
    let kiln = Kiln::on_disk_of("96M");
    kiln.load("busybox");
    let disk = text(kiln.disk().expect("disk")).to_owned();
    let context = tempfile::tempdir().expect("context");
    fs::write(context.path().join("Dockerfile"), "FROM busybox\nRUN true\n").expect("Dockerfile");
    tool("mount", &["-o", "remount,ro", &disk]);
    let answer = kiln.run(&["build", text(context.path())]);
    tool("mount", &["-o", "remount,rw", &disk]);
    assert!(!answer.status.success(), "{answer}");
    let said = answer.stderr.to_lowercase();
    assert!(said.contains("read-only") || said.contains("readonly"), "{answer}");
    still_works(&kiln);
}

#[test]
fn files_without_permission() {
    if !is_root_for("files without permission, as another user") {
        return;
    }
    let kiln = Kiln::of(User::with_single_id());
    kiln.load("busybox");
    let context = kiln.scratch("context");
    fs::write(context.join("Dockerfile"), "FROM busybox\nCOPY private /\n").expect("Dockerfile");
    fs::write(context.join("private"), "private").expect("private");
    tool("chmod", &["0600", text(&context.join("private"))]);
    kiln.fails(&["build", text(&context)], &["private", "ermission denied"]);
    tool("chmod", &["0600", text(&context.join("Dockerfile"))]);
    kiln.fails(&["build", text(&context)], &["Dockerfile", "ermission denied"]);
}

#[test]
fn control_c() {
    let kiln = kiln();
    let context = kiln.scratch("context");
    fs::write(context.join("Dockerfile"), "FROM busybox\nRUN echo in the middle; sleep 1000\n").expect("Dockerfile");
    let mut command = kiln.command(&["build", "--progress", "plain", text(&context)]);
    let mut build = Running::start(&mut command);
    build.wait_for_words("in the middle");
    let (status, said) = build.signal(Signal::INT);
    assert!(!status.success(), "{said}");
    still_works(&kiln);
}

fn text(path: &(impl AsRef<Path> + ?Sized)) -> &str {
    path.as_ref().to_str().expect("path in UTF-8")
}
