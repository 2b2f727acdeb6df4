//! ADD of files from web servers and of git repositories: what is fetched, when it is fetched again, and what a
//! hostile one must not do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_tests::is_root_for;
use kiln_tests::kiln::{Kiln, tool};
use kiln_tests::repository::{GitServer, Repository};
use kiln_tests::tarball::{Entry, tarball};
use kiln_tests::user::User;
use kiln_tests::web::{Page, Web};

/// A context with this Dockerfile.
fn context(kiln: &Kiln, dockerfile: &str) -> PathBuf {
    let context = kiln.scratch("context");
    fs::write(context.join("Dockerfile"), dockerfile).expect("Dockerfile");
    context
}

/// Which of the steps came from the cache, in order.
#[track_caller]
fn cached(kiln: &Kiln, dockerfile: &str) -> Vec<bool> {
    let steps = kiln.build(&context(kiln, dockerfile), &[]);
    steps.iter().map(|step| step.cached).collect()
}

/// Builds into a directory.
#[track_caller]
fn out(kiln: &Kiln, dockerfile: &str) -> PathBuf {
    let out = kiln.scratch("out").join("files");
    let _ = fs::remove_dir_all(&out);
    kiln.build(&context(kiln, dockerfile), &["-o", out.to_str().expect("UTF-8")]);
    out
}

#[track_caller]
fn fails(kiln: &Kiln, dockerfile: &str, words: &[&str]) {
    let context = context(kiln, dockerfile);
    kiln.fails(&["build", context.to_str().expect("UTF-8")], words);
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn statuses(web: &Web) -> Vec<u16> {
    web.requests().iter().map(|request| request.status).collect()
}

#[test]
fn a_download_that_did_not_change_is_not_fetched_again() {
    let kiln = Kiln::new();
    let web = Web::serve();
    web.put("/f.txt", Page::of(b"one"));
    let dockerfile = format!("FROM scratch\nADD {} /\nCOPY Dockerfile /\n", web.url("/f.txt?x=1"));
    assert_eq!(cached(&kiln, &dockerfile), [false, false]);
    assert_eq!(statuses(&web), [200]);
    assert_eq!(cached(&kiln, &dockerfile), [true, true]);
    assert_eq!(statuses(&web), [304]);
    web.put("/f.txt", Page::of(b"two"));
    assert_eq!(cached(&kiln, &dockerfile), [false, false]);
    assert_eq!(statuses(&web), [200]);
    // The bytes count, not what the server says of them.
    web.put("/f.txt", Page { etag: None, ..Page::of(b"two") });
    assert_eq!(cached(&kiln, &dockerfile), [true, true]);
    let made = out(&kiln, &dockerfile).join("f.txt");
    assert_eq!(read(made.clone()), "two");
    assert_eq!(tool("stat", &["-c", "%a %Y", made.to_str().expect("UTF-8")]).trim(), "600 1704103200");
}

#[test]
fn a_checksum_is_compared_and_then_replaces_the_network() {
    let kiln = Kiln::new();
    let web = Web::serve();
    web.put("/f", Page::of(b"one"));
    let (one, two) = (
        "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
        "sha256:3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3",
    );
    let dockerfile = |sum: &str| format!("FROM scratch\nADD --checksum={sum} {} /\n", web.url("/f"));
    fails(&kiln, &dockerfile(two), &["digest mismatch", one, two]);
    assert_eq!(cached(&kiln, &dockerfile(one)), [false]);
    web.requests();
    web.put("/f", Page::of(b"two"));
    assert_eq!(cached(&kiln, &dockerfile(one)), [true]);
    assert_eq!(statuses(&web), [0u16; 0]);
    assert_eq!(read(out(&kiln, &dockerfile(one)).join("f")), "one");
    fails(&kiln, &dockerfile(&two.replace('3', "4")), &["digest mismatch"]);
}

#[test]
fn redirects_are_followed_and_broken_downloads_begun_anew() {
    let kiln = Kiln::new();
    let web = Web::serve();
    let content = vec![b'x'; 3_000_000];
    web.put("/real", Page { breaks: 2, ..Page::of(&content) });
    web.put("/name", Page { moved_to: Some("/real".into()), ..Page::default() });
    web.put("/loop", Page { moved_to: Some("/loop".into()), ..Page::default() });
    web.put("/ftp", Page { moved_to: Some("ftp://h/x".into()), ..Page::default() });
    let made = out(&kiln, &format!("FROM scratch\nADD {} /d/\n", web.url("/name")));
    assert!(fs::read(made.join("d/name")).expect("download") == content);
    fails(&kiln, &format!("FROM scratch\nADD {} /\n", web.url("/loop")), &["in circles"]);
    fails(&kiln, &format!("FROM scratch\nADD {} /\n", web.url("/ftp")), &["it is no HTTP address"]);
    fails(&kiln, &format!("FROM scratch\nADD {} /\n", web.url("/none")), &["invalid response status 404"]);
    fails(&kiln, "FROM scratch\nADD http://127.0.0.1:1/x /\n", &["cannot reach 127.0.0.1:1"]);
}

#[test]
fn an_archive_from_a_web_server_is_unpacked_only_on_demand() {
    let kiln = Kiln::new();
    let web = Web::serve();
    web.put("/a.tar", Page::of(&tarball(&[Entry::file("in", b"side")])));
    let url = web.url("/a.tar");
    assert!(out(&kiln, &format!("FROM scratch\nADD {url} /\n")).join("a.tar").is_file());
    assert_eq!(read(out(&kiln, &format!("FROM scratch\nADD --unpack {url} /d/\n")).join("d/in")), "side");
}

#[test]
fn who_asks_is_told_to_the_server_and_to_nobody_else() {
    let kiln = Kiln::new();
    let web = Web::serve();
    web.put("/f", Page::of(b"one"));
    let address = web.address();
    let dockerfile = format!("FROM scratch\nADD http://me:sesame@{address}/f /\n");
    let context = context(&kiln, &dockerfile);
    let context = context.to_str().expect("UTF-8");
    let built = kiln.ok(&["build", "-t", "x", "--explain", context]);
    let asked = web.requests();
    assert_eq!(asked[0].headers.get("authorization").map(String::as_str), Some("Basic bWU6c2VzYW1l"));
    let history = kiln.ok(&["history", "--no-trunc", "x"]);
    assert!(history.stdout.contains("xxxxx:xxxxx@"), "{history}");
    fs::write(format!("{context}/Dockerfile"), format!("FROM scratch\nADD http://me:sesame@{address}/none /\n"))
        .expect("Dockerfile");
    let failed = kiln.fails(&["build", context], &["404", "xxxxx:xxxxx@"]);
    for answer in [&built, &history, &failed] {
        assert!(!answer.stdout.contains("sesame") && !answer.stderr.contains("sesame"), "{answer}");
    }
    let kept = Command::new("grep").args(["-r", "-l", "sesame"]).arg(kiln.root()).output().expect("grep");
    assert_eq!(String::from_utf8_lossy(&kept.stdout), "", "kept in the store");
}

#[test]
fn a_token_from_the_secrets_is_sent_and_shown_nowhere() {
    let kiln = Kiln::new();
    let web = Web::serve();
    let context = context(&kiln, &format!("FROM scratch\nADD {} /\n", web.url("/r.git")));
    let mut command =
        kiln.command(&["build", "--secret", "id=GIT_AUTH_TOKEN,env=TOKEN", context.to_str().expect("UTF-8")]);
    let answer = kiln_tests::kiln::answer(command.env("TOKEN", "sesame"));
    // The server has no repository, but it was asked in the right way.
    assert!(!answer.status.success() && !answer.stderr.contains("sesame"), "{answer}");
    let asked = web.requests();
    let authorization = asked.iter().find_map(|request| request.headers.get("authorization"));
    assert_eq!(authorization.map(String::as_str), Some("basic eC1hY2Nlc3MtdG9rZW46c2VzYW1l"), "{asked:?}");
}

#[test]
fn a_repository_is_copied_again_when_its_commit_changes() {
    let kiln = Kiln::new();
    let place = kiln.scratch("repositories");
    let repository = Repository::new(&place.join("r"));
    let first = repository.commit(&[("f", "1"), ("sub/g", "1")]);
    repository.git(&["branch", "same"]);
    repository.git(&["tag", "--annotate", "--message", "x", "v1"]);
    let server = GitServer::serve(&place);
    let dockerfile = |of: &str| format!("FROM scratch\nADD {}{of} /r\n", server.url("r"));
    assert_eq!(cached(&kiln, &dockerfile("#main")), [false]);
    assert_eq!(cached(&kiln, &dockerfile("#main")), [true]);
    repository.commit(&[("f", "2")]);
    assert_eq!(cached(&kiln, &dockerfile("#main")), [false]);
    assert_eq!(read(out(&kiln, &dockerfile("")).join("r/f")), "2");
    for of in
        [&format!("#{first}"), "#same", "#v1", "?tag=v1", "#refs/heads/same", &format!("?branch=same&checksum={first}")]
    {
        let made = out(&kiln, &dockerfile(of));
        assert_eq!(read(made.join("r/f")), "1", "{of}");
    }
    assert!(!out(&kiln, &dockerfile("#main")).join("r/.git").exists());
    assert_eq!(read(out(&kiln, &dockerfile("#main:sub")).join("r/g")), "1");
    let wrong = format!("FROM scratch\nADD --checksum={first} {}#main /r\n", server.url("r"));
    fails(&kiln, &wrong, &["expected checksum to match", &first]);
}

#[test]
fn a_commit_that_is_named_in_full_needs_no_network_once_it_is_known() {
    let kiln = Kiln::new();
    let place = kiln.scratch("repositories");
    let commit = Repository::new(&place.join("r")).commit(&[("f", "1"), ("sub/g", "2")]);
    let server = GitServer::serve(&place);
    let url = server.url("r");
    assert_eq!(cached(&kiln, &format!("FROM scratch\nADD {url}#{commit} /r\n")), [false]);
    fs::remove_dir_all(place.join("r")).expect("the repository goes");
    assert_eq!(cached(&kiln, &format!("FROM scratch\nADD {url}#{commit} /r\n")), [true]);
    assert_eq!(read(out(&kiln, &format!("FROM scratch\nADD {url}#{commit}:sub /r\n")).join("r/g")), "2");
    fails(&kiln, &format!("FROM scratch\nADD {url}#main /r\n"), &["git ls-remote failed"]);
}

#[test]
fn a_kept_git_directory_is_a_repository_and_submodules_are_files() {
    let kiln = Kiln::new();
    let place = kiln.scratch("repositories");
    let inner = Repository::new(&place.join("inner"));
    inner.commit(&[("i", "inner")]);
    let library = Repository::new(&place.join("library"));
    library.git(&["submodule", "--quiet", "add", "../inner", "deep/inner"]);
    library.commit(&[("l", "library")]);
    let repository = Repository::new(&place.join("r"));
    repository.git(&["submodule", "--quiet", "add", "../library", "lib"]);
    let commit = repository.commit(&[("f", "1")]);
    // What a submodule was at that commit counts, not what it is now.
    library.commit(&[("l", "changed")]);
    let server = GitServer::serve(&place);
    let url = server.url("r");
    let made = out(&kiln, &format!("FROM scratch\nADD --keep-git-dir=true {url}#main /r\n")).join("r");
    assert_eq!(read(made.join("lib/l")), "library");
    assert_eq!(read(made.join("lib/deep/inner/i")), "inner");
    let path = made.to_str().expect("UTF-8");
    let git = |args: &[&str]| tool("git", &[&["-c", "safe.directory=*", "-C", path], args].concat()).trim().to_owned();
    assert_eq!(git(&["rev-parse", "HEAD"]), commit);
    assert_eq!(git(&["remote", "get-url", "origin"]), url);
    assert_eq!(git(&["status", "--porcelain", "--ignore-submodules"]), "");
    assert_eq!(read(out(&kiln, &format!("FROM scratch\nADD {url}#main:lib/deep /d\n")).join("d/inner/i")), "inner");
}

/// A git that is killed leaves lock files, and perhaps a repository without the commit.
#[test]
fn what_a_killed_fetch_leaves_is_no_obstacle() {
    let kiln = Kiln::new();
    let place = kiln.scratch("repositories");
    let repository = Repository::new(&place.join("r"));
    repository.commit(&[("f", "1")]);
    let server = GitServer::serve(&place);
    let dockerfile = format!("FROM scratch\nADD {}#main /r\n", server.url("r"));
    assert_eq!(read(out(&kiln, &dockerfile).join("r/f")), "1");
    let kept: Vec<_> = fs::read_dir(kiln.root().join("repositories")).expect("repositories").collect();
    assert_eq!(kept.len(), 1);
    for entry in kept {
        let path = entry.expect("entry").path();
        for name in ["shallow.lock", "HEAD.lock", "config.lock", "objects/pack/tmp_pack_x"] {
            fs::write(path.join(name), "").expect("lock");
        }
    }
    repository.commit(&[("f", "2")]);
    assert_eq!(read(out(&kiln, &dockerfile).join("r/f")), "2");
    kiln.ok(&["builder", "prune", "--all", "--force"]);
    assert_eq!(fs::read_dir(kiln.root().join("repositories")).expect("repositories").count(), 0);
    assert_eq!(read(out(&kiln, &dockerfile).join("r/f")), "2");
}

/// Nothing of this may run a program or touch a file of the host.
#[test]
fn hostile_repositories_run_nothing_and_lead_nowhere() {
    let kiln = Kiln::new();
    let place = kiln.scratch("repositories");
    let touched = kiln.scratch("touched").join("by-git");
    let touch = format!("ext::sh -c touch% {}", touched.display());
    let repository = Repository::new(&place.join("r"));
    repository.commit(&[("f", "1"), (".gitattributes", "* filter=evil\n")]);
    std::os::unix::fs::symlink("/etc", repository.path().join("link")).expect("link");
    repository.commit(&[]);
    hook(repository.path(), &touched);
    let server = GitServer::serve(&place);
    let url = server.url("r");
    let add = |source: &str| format!("FROM scratch\nADD {source} /r\n");
    fails(&kiln, &add(&format!("{url}#--upload-pack=touch")), &["invalid git ref", "begins with a dash"]);
    fails(&kiln, &add(&format!("{url}#main:link")), &["no directory \"link\""]);
    fails(&kiln, &add(&format!("{url}#main:../../etc")), &["no directory"]);
    fails(&kiln, &add("git://-oProxyCommand=touch/x"), &["invalid repository"]);
    fails(&kiln, &add("ssh://-oProxyCommand=touch/x"), &["invalid repository"]);
    let made = out(&kiln, &add(&url)).join("r");
    assert_eq!(fs::read_link(made.join("link")).expect("link"), Path::new("/etc"));
    for address in [touch.as_str(), "file:///etc", "/etc"] {
        let evil = Repository::new(&place.join("evil"));
        submodule(&evil, address);
        fails(&kiln, &add(&server.url("evil")), &["submodule \"sub\"", "not allowed"]);
        fs::remove_dir_all(evil.path()).expect("the repository goes");
    }
    let evil = Repository::new(&place.join("dot-git"));
    git_directory_as_link(&evil);
    fails(&kiln, &add(&server.url("dot-git")), &["git checkout failed", ".git"]);
    assert!(!touched.exists(), "something ran");
}

/// Makes a hook that a checkout would run.
fn hook(repository: &Path, touches: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let hook = repository.join(".git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().expect("hooks")).expect("hooks");
    fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", touches.display())).expect("hook");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("mode");
}

/// Commits a submodule with this address.
fn submodule(repository: &Repository, address: &str) {
    let commit = repository.commit(&[("f", "1")]);
    repository.git(&["config", "--file", ".gitmodules", "submodule.sub.path", "sub"]);
    repository.git(&["config", "--file", ".gitmodules", "submodule.sub.url", address]);
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},sub")]);
    repository.git(&["add", ".gitmodules"]);
    repository.git(&["commit", "--quiet", "--message", "evil"]);
}

/// Commits a tree whose `.git` is a link, as git itself never would.
fn git_directory_as_link(repository: &Repository) {
    repository.commit(&[("target", "/etc")]);
    let blob = repository.git(&["rev-parse", "HEAD:target"]);
    let entry = repository.path().join("entry");
    let raw = (0..20).map(|at| u8::from_str_radix(&blob[at * 2..at * 2 + 2], 16).expect("hexadecimal"));
    fs::write(&entry, [&b"120000 .git\0"[..], &raw.collect::<Vec<u8>>()].concat()).expect("tree");
    let tree = repository.git(&["hash-object", "-t", "tree", "--literally", "-w", entry.to_str().expect("UTF-8")]);
    let commit = repository.git(&["commit-tree", "-m", "evil", &tree]);
    repository.git(&["update-ref", "refs/heads/main", &commit]);
}

/// ssh itself is another's; what it is started with, and that the forwarded agent answers it, is seen by a program in
/// its place.
#[test]
fn a_repository_over_ssh_is_asked_with_the_forwarded_agent_and_without_the_users_settings() {
    use std::os::unix::fs::PermissionsExt;
    let kiln = Kiln::new();
    let place = kiln.scratch("keys");
    let key = place.join("key");
    tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().expect("UTF-8")]);
    let programs = kiln.scratch("programs");
    let seen = programs.join("seen");
    let script = format!("#!/bin/sh\n{{ echo \"$@\"; ssh-add -L; env; }} > {} 2>&1\nexit 1\n", seen.display());
    fs::write(programs.join("ssh"), script).expect("program");
    fs::set_permissions(programs.join("ssh"), fs::Permissions::from_mode(0o755)).expect("mode");
    let context = context(&kiln, "FROM scratch\nADD git@host.invalid:owner/r.git /r\n");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("PATH"));
    let ssh = format!("default={}", key.display());
    let mut command = kiln.command(&["build", "--ssh", &ssh, context.to_str().expect("UTF-8")]);
    let answer = kiln_tests::kiln::answer(command.env("PATH", path).env("GIT_SSH_COMMAND", "touch /nothing"));
    assert!(!answer.status.success() && answer.stderr.contains("git ls-remote failed"), "{answer}");
    let seen = read(seen);
    let public = read(place.join("key.pub"));
    assert!(seen.contains(public.split(' ').nth(1).expect("public key")), "{seen}");
    for words in ["-F /dev/null", "BatchMode=yes", "IdentityFile=none", "git@host.invalid git-upload-pack"] {
        assert!(seen.contains(words), "{words}: {seen}");
    }
    assert!(!seen.contains("touch /nothing"), "{seen}");
}

#[test]
fn an_ordinary_user_adds_from_servers_and_repositories_too() {
    if !is_root_for("sources of an ordinary user") {
        return;
    }
    let kiln = Kiln::of(User::with_subordinate_ids());
    let place = kiln.scratch("repositories");
    Repository::new(&place.join("r")).commit(&[("f", "1")]);
    let server = GitServer::serve(&place);
    let web = Web::serve();
    web.put("/d", Page::of(b"2"));
    let dockerfile = format!("FROM scratch\nADD {}#main /r\nADD {} /\n", server.url("r"), web.url("/d"));
    let made = out(&kiln, &dockerfile);
    assert_eq!((read(made.join("r/f")), read(made.join("d"))), ("1".into(), "2".into()));
    assert_eq!(cached(&kiln, &dockerfile), [true, true]);
}
