//! Every form of a context: a directory, the standard input, repositories, web servers; and what a context from
//! outside must not do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_tests::kiln::{Answer, Kiln, answer, tool};
use kiln_tests::repository::{GitServer, Repository};
use kiln_tests::tarball::{Entry, tarball};
use kiln_tests::web::{Page, Web};

const COPY_ALL: &str = "FROM scratch\nCOPY . /\n";

/// Builds with these bytes on the standard input.
fn run_with(kiln: &Kiln, args: &[&str], input: &[u8]) -> Answer {
    let file = kiln.scratch("input").join("stdin");
    fs::write(&file, input).expect("input");
    answer(kiln.command(args).stdin(fs::File::open(&file).expect("input")))
}

/// Builds into a directory, and gives the paths that are in it.
#[track_caller]
fn built(kiln: &Kiln, args: &[&str], input: &[u8]) -> Vec<String> {
    let out = kiln.scratch("out").join("files");
    let _ = fs::remove_dir_all(&out);
    let out = out.to_str().expect("UTF-8");
    run_with(kiln, &[&["build", "-o", out], args].concat(), input).succeeded();
    let found = tool("find", &[out, "-mindepth", "1", "-not", "-type", "d", "-printf", "%P\n"]);
    let mut paths: Vec<String> = found.lines().map(str::to_owned).collect();
    paths.sort();
    paths
}

/// A directory with a Dockerfile, files, and a rule that leaves one out.
fn project(kiln: &Kiln) -> PathBuf {
    let directory = kiln.scratch("project");
    fs::create_dir_all(directory.join("sub")).expect("directory");
    let files = [
        ("Dockerfile", COPY_ALL),
        (".dockerignore", "*.md\n"),
        ("README.md", "left out"),
        ("a", "a"),
        ("sub/b", "b"),
        ("sub/Dockerfile", "FROM scratch\nCOPY a /only\n"),
    ];
    for (path, content) in files {
        fs::write(directory.join(path), content).expect("file");
    }
    directory
}

/// What of the project is in a directory's context.
const ALL: [&str; 5] = [".dockerignore", "Dockerfile", "a", "sub/Dockerfile", "sub/b"];

/// What is in a context that comes packed: an ignore file says what not to pack.
const PACKED: [&str; 6] = [".dockerignore", "Dockerfile", "README.md", "a", "sub/Dockerfile", "sub/b"];

fn archived(directory: &Path, compression: &str) -> Vec<u8> {
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(directory).args(["-c", compression, "."]).stdin(Stdio::null());
    tar.output().expect("tar").stdout
}

#[test]
fn a_directory() {
    let kiln = Kiln::new();
    let project = project(&kiln);
    let project = project.to_str().expect("UTF-8");
    assert_eq!(built(&kiln, &[project], b""), ALL);
    let named = format!("{project}/sub/Dockerfile");
    assert_eq!(built(&kiln, &["-f", &named, project], b""), ["only"]);
    fs::write(format!("{named}.dockerignore"), "a\n").expect("file");
    kiln.fails(&["build", "-f", &named, project], &["\"/a\": not found", "Dockerfile.dockerignore"]);
    kiln.fails(&["build", "no/such"], &["unable to prepare context: path \"no/such\" not found"]);
    kiln.fails(&["build", "/etc/passwd"], &["unable to prepare context", "not a directory"]);
}

#[test]
fn an_archive_on_the_standard_input_in_any_compression() {
    let kiln = Kiln::new();
    let project = project(&kiln);
    for compression in ["--no-auto-compress", "--gzip", "--bzip2", "--xz", "--zstd"] {
        let archive = archived(&project, compression);
        assert_eq!(built(&kiln, &["-"], &archive), PACKED, "{compression}");
        assert_eq!(built(&kiln, &["-f", "sub/Dockerfile", "-"], &archive), ["only"], "{compression}");
    }
    let archive = archived(&project, "--gzip");
    let again = run_with(&kiln, &["build", "-"], &archive).succeeded();
    assert!(again.stderr.contains("CACHED"), "{again}");
    let answer = run_with(&kiln, &["build", "-"], &archive[..archive.len() - 20]);
    assert!(!answer.status.success() && answer.stderr.contains("cannot unpack the archive"), "{answer}");
    let answer = run_with(&kiln, &["build", "-"], &tarball(&[Entry::file("dockerFILE", b"FROM scratch\n")]));
    assert!(answer.stderr.contains("open Dockerfile: no such file or directory"), "{answer}");
    assert!(answer.stderr.contains("there is \"dockerFILE\""), "{answer}");
}

#[test]
fn files_of_an_archive_keep_their_owners() {
    let kiln = Kiln::new();
    let project = project(&kiln);
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&project).args(["--owner=5", "--group=6", "-c", "a", "Dockerfile"]).stdin(Stdio::null());
    let archive = tar.output().expect("tar").stdout;
    let out = kiln.scratch("out").join("tar");
    let out = out.to_str().expect("UTF-8");
    run_with(&kiln, &["build", "-o", &format!("type=tar,dest={out}"), "-"], &archive).succeeded();
    let listed = tool("tar", &["--numeric-owner", "-tvf", out]);
    assert!(listed.lines().any(|line| line.contains(" 5/6 ") && line.ends_with(" a")), "{listed}");
}

#[test]
fn a_dockerfile_on_the_standard_input() {
    let kiln = Kiln::new();
    let project = project(&kiln);
    let project = project.to_str().expect("UTF-8");
    assert_eq!(built(&kiln, &["-"], b"FROM scratch\nCOPY <<EOF /x\nEOF\n"), ["x"]);
    let answer = run_with(&kiln, &["build", "-"], b"FROM scratch\nCOPY a /\n");
    assert!(!answer.status.success() && answer.stderr.contains("\"/a\": not found"), "{answer}");
    assert_eq!(built(&kiln, &["-f", "-", project], b"FROM scratch\nCOPY sub/b a /\n"), ["a", "b"]);
    kiln.fails(&["build", "-f", "-", "-"], &["can't use stdin for both build context and dockerfile"]);
    let answer = run_with(&kiln, &["build", "-f", "x", "-"], b"FROM scratch\n");
    assert!(!answer.status.success() && answer.stderr.contains("ambiguous Dockerfile source"), "{answer}");
}

#[test]
fn a_repository_by_the_git_protocol_and_as_a_file() {
    let kiln = Kiln::new();
    let place = kiln.scratch("repositories");
    let library = Repository::new(&place.join("library"));
    library.commit(&[("l", "l")]);
    let project = Repository::new(&place.join("project"));
    project.commit(&[("Dockerfile", COPY_ALL), ("sub/Dockerfile", COPY_ALL), ("sub/x", "1")]);
    project.git(&["tag", "v1"]);
    project.git(&["submodule", "--quiet", "add", "../library", "sub/library"]);
    project.commit(&[(".dockerignore", "*.md\n"), ("README.md", ""), ("sub/y", "2")]);
    let server = GitServer::serve(&place);
    let url = server.url("project");
    let everything = [
        ".dockerignore",
        ".gitmodules",
        "Dockerfile",
        "README.md",
        "sub/Dockerfile",
        "sub/library/l",
        "sub/x",
        "sub/y",
    ];
    assert_eq!(built(&kiln, &[&url], b""), everything);
    assert_eq!(built(&kiln, &[&format!("{url}#v1")], b""), ["Dockerfile", "sub/Dockerfile", "sub/x"]);
    assert_eq!(built(&kiln, &[&format!("{url}#main:sub")], b""), ["Dockerfile", "library/l", "x", "y"]);
    assert_eq!(built(&kiln, &[&format!("{url}?branch=main&subdir=sub")], b""), ["Dockerfile", "library/l", "x", "y"]);
    assert_eq!(built(&kiln, &["-f", "sub/Dockerfile", &format!("{url}#v1")], b"").len(), 3);
    let file = format!("file://{}", project.path().display());
    assert_eq!(built(&kiln, &[&file], b""), everything);
    let kept = built(&kiln, &["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", &url], b"");
    assert!(kept.iter().any(|path| path == ".git/HEAD"), "{kept:?}");
    kiln.fails(&["build", &format!("{url}#nope")], &["repository does not contain ref nope"]);
    kiln.fails(&["build", &format!("{url}#:nope")], &["no directory \"nope\""]);
    kiln.fails(&["build", &server.url("gone")], &["git ls-remote failed", "gone"]);
}

#[test]
fn an_archive_and_a_dockerfile_on_a_web_server() {
    let kiln = Kiln::new();
    let project = project(&kiln);
    let web = Web::serve();
    web.put("/c.tar.gz", Page::of(&archived(&project, "--gzip")));
    web.put("/c.tar", Page::of(&archived(&project, "--no-auto-compress")));
    web.put("/Dockerfile", Page::of(b"FROM scratch\nCOPY <<EOF /x\nEOF\n"));
    assert_eq!(built(&kiln, &[&web.url("/c.tar.gz")], b""), PACKED);
    assert_eq!(built(&kiln, &["-f", "sub/Dockerfile", &web.url("/c.tar")], b""), ["only"]);
    assert_eq!(built(&kiln, &[&web.url("/Dockerfile")], b""), ["x"]);
    let project = project.to_str().expect("UTF-8");
    assert_eq!(built(&kiln, &["-f", &web.url("/Dockerfile"), project], b""), ["x"]);
    web.requests();
    assert_eq!(built(&kiln, &[&web.url("/c.tar.gz")], b""), PACKED);
    assert_eq!(web.requests().iter().map(|request| request.status).collect::<Vec<_>>(), [304]);
    kiln.fails(&["build", &web.url("/missing")], &["/missing: invalid response status 404"]);
    kiln.fails(&["build", &web.url("/missing.git")], &["/missing.git: git ls-remote failed"]);
}

#[test]
fn further_contexts_of_every_form() {
    let kiln = Kiln::new();
    let place = kiln.scratch("repositories");
    Repository::new(&place.join("r")).commit(&[("f", "1"), (".dockerignore", "left\n"), ("left", "")]);
    let server = GitServer::serve(&place);
    let web = Web::serve();
    web.put("/c.tar", Page::of(&tarball(&[Entry::file("g", b"2")])));
    web.put("/text", Page::of(b"text"));
    let directory = kiln.scratch("directory");
    fs::write(directory.join("h"), "3").expect("file");
    let dockerfile = b"FROM scratch\nCOPY --from=git . /git/\nCOPY --from=web . /web/\nCOPY --from=dir . /dir/\n";
    let git = format!("git={}#main", server.url("r"));
    let (archive, local) = (format!("web={}", web.url("/c.tar")), format!("dir={}", directory.display()));
    let flags = ["--build-context", &git, "--build-context", &archive, "--build-context", &local, "-"];
    assert_eq!(built(&kiln, &flags, dockerfile), ["dir/h", "git/.dockerignore", "git/f", "git/left", "web/g"]);
    let fails = |source: &str, words: &[&str]| {
        kiln.fails(&["build", "--build-context", &format!("x={source}"), directory.to_str().expect("UTF-8")], words);
    };
    fails("target:base", &["bake files"]);
    fails("s3://bucket", &["this kind of source is not known"]);
    fails("no/such", &["is no directory"]);
    fs::write(directory.join("Dockerfile"), "FROM scratch\nCOPY --from=x . /\n").expect("file");
    fails(&web.url("/text"), &["build context \"x\"", "it is no archive"]);
}

#[test]
fn archives_that_lead_out_of_the_context_change_nothing_there() {
    let kiln = Kiln::new();
    let outside = kiln.scratch("outside");
    let (target, dockerfile) = (outside.to_str().expect("UTF-8"), Entry::file("Dockerfile", COPY_ALL.as_bytes()));
    let up = format!("{}{target}/up", "../".repeat(20));
    let archive = tarball(&[dockerfile, Entry::file(&up, b"x"), Entry::file("/absolute", b"x")]);
    let paths = built(&kiln, &["-"], &archive);
    assert!(paths.contains(&"absolute".to_owned()) && paths.iter().any(|path| path.ends_with("/up")), "{paths:?}");
    let dockerfile = Entry::file("Dockerfile", COPY_ALL.as_bytes());
    let archive = tarball(&[dockerfile, Entry::symlink("link", target), Entry::file("link/evil", b"x")]);
    let answer = run_with(&kiln, &["build", "-"], &archive);
    assert!(!answer.status.success() && answer.stderr.contains("link/evil"), "{answer}");
    // A Dockerfile that is a link is looked for in the context, not here.
    let archive = tarball(&[Entry::symlink("Dockerfile", "/etc/passwd")]);
    let answer = run_with(&kiln, &["build", "-"], &archive);
    assert!(!answer.status.success() && !answer.stderr.contains("root:"), "{answer}");
    assert_eq!(fs::read_dir(&outside).expect("directory").count(), 0);
}
