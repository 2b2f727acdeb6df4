//! Files of the context.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use expect_test::expect;
use kiln_tests::kiln::Kiln;
use kiln_tests::running::{Running, wait_until};

use crate::project::{Project, with_busybox};

#[test]
fn files_are_named_with_what_became_of_them() {
    let kiln = Kiln::new();
    let project = Project::new(&kiln, "p", "FROM scratch\nCOPY . /\n");
    for name in ["changed", "dir/gone", "dir/mode", "dir/kind"] {
        project.write(name, name);
    }
    symlink("changed", project.directory.join("link")).expect("symlink");
    project.build(&[]);
    project.write("changed", "CHANGED");
    project.write("dir/new", "new");
    let path = |name: &str| project.directory.join(name);
    fs::set_permissions(path("dir/mode"), fs::Permissions::from_mode(0o755)).expect("mode");
    fs::remove_file(path("dir/gone")).expect("gone");
    project.explains(
        &[],
        expect![[r#"
        [1/1] COPY . / (line 2): miss:
            file changed changed
            file dir/mode changed (permissions)
            file dir/new added
            file dir/gone removed
        compared with the build of TIME in /p
    "#]],
    );
    fs::remove_file(path("dir/kind")).expect("file");
    fs::create_dir(path("dir/kind")).expect("directory");
    fs::remove_file(path("link")).expect("link");
    symlink("dir", path("link")).expect("symlink");
    project.explains(
        &[],
        expect![[r#"
        [1/1] COPY . / (line 2): miss:
            file dir/kind changed (type)
            file link changed
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn many_files_are_counted_beyond_the_first() {
    let kiln = Kiln::new();
    let project = Project::new(&kiln, "p", "FROM scratch\nCOPY src /src\n");
    let count = if std::env::var_os("KILN_TEST_FULL").is_some() { 25_000 } else { 1_200 };
    for number in 0..count {
        project.write(&format!("src/d{}/{number}", number % 50), "x");
    }
    project.build(&[]);
    project.write(&format!("src/d49/{}", count - 1), "y");
    let last = project.document(&[]);
    let reasons = &last["steps"][0]["reasons"];
    assert_eq!(reasons.as_array().map(Vec::len), Some(1), "{reasons}");
    assert_eq!(reasons[0]["path"], format!("src/d49/{}", count - 1), "{reasons}");
    fs::rename(project.directory.join("src/d7"), project.directory.join("src/moved")).expect("rename");
    let renamed = project.document(&[]);
    let reasons = renamed["steps"][0]["reasons"].as_array().expect("reasons");
    let more = reasons.last().expect("a count");
    let named = |kind: &str| reasons.iter().filter(|reason| reason["kind"] == kind).count() as u64;
    let each = count / 50 + 1;
    assert_eq!(more["added"].as_u64(), Some(each - named("file_added")), "{more}");
    assert_eq!(more["removed"].as_u64(), Some(each - named("file_removed")), "{more}");
    assert_eq!(named("file_added") + named("file_removed"), 5);
}

#[test]
fn what_is_not_selected_does_not_count() {
    let kiln = Kiln::new();
    let project = Project::new(&kiln, "p", "FROM scratch\nCOPY --exclude=*.md src /src\nCOPY other /\n");
    project.write("src/a.c", "a");
    project.write("src/a.md", "a");
    project.write("other", "o");
    project.write("unused", "u");
    project.build(&[]);
    project.write("src/a.md", "b");
    project.write("unused", "v");
    project.explains(&[], expect![[r#""#]]);
    project.write("other", "p");
    project.explains(
        &[],
        expect![[r#"
        [2/2] COPY other / (line 3): miss:
            file other changed
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn files_of_named_contexts_and_of_mounts() {
    let kiln = with_busybox();
    let dockerfile = "FROM busybox\nCOPY --from=docs guide /\nRUN --mount=type=bind,target=/src cat /src/input\n";
    let project = Project::new(&kiln, "p", dockerfile);
    project.write("input", "1");
    let docs = Project::new(&kiln, "docs", "");
    docs.write("guide", "1");
    let context = format!("docs={}", docs.directory.display());
    let flags = ["--build-context", &context];
    project.build(&flags);
    project.write("input", "2");
    project.explains(
        &flags,
        expect![[r#"
        [3/3] RUN --mount=type=bind,target=/src cat /src/input (line 3): miss:
            file input changed
        compared with the build of TIME in /p
    "#]],
    );
    docs.write("guide", "2");
    project.explains(
        &flags,
        expect![[r#"
        [2/3] COPY --from=docs guide / (line 2): miss:
            file guide of context docs changed
        [3/3] RUN --mount=type=bind,target=/src cat /src/input (line 3): miss:
            step [2/3] COPY --from=docs guide / changed
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn a_file_that_changes_while_the_build_runs() {
    let kiln = with_busybox();
    let wait = "RUN --mount=type=cache,id=notes,target=/n touch /n/began; until test -e /n/go; do usleep 20000; done";
    let project = Project::new(&kiln, "p", "FROM busybox\nRUN true\nCOPY moving /\n");
    project.write("moving", "1");
    project.build(&[]);
    project.write("Dockerfile", &format!("FROM busybox\n{wait}\nCOPY moving /\n"));
    project.write("moving", "22");
    let directory = project.directory.to_str().expect("UTF-8");
    let build = Running::start(&mut kiln.command(&["build", "-q", "--explain", directory]));
    let mounts = kiln.root().join("cache-mounts");
    let notes = || {
        fs::read_dir(&mounts).ok()?.find_map(|entry| Some(entry.ok()?.path()).filter(|at| at.join("began").exists()))
    };
    wait_until("the first step runs", || notes().is_some());
    project.write("moving", "333");
    fs::write(notes().expect("notes").join("go"), "").expect("go");
    let (status, said) = build.end();
    assert!(status.success(), "{said}");
    let copied = said.split("COPY moving").nth(1).expect("the copy");
    assert!(copied.contains("files changed while they were copied"), "{said}");
    assert!(copied.contains("file moving changed"), "{said}");
}
