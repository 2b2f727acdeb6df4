//! Which files a copy takes, and what it says where there are none.

use expect_test::{Expect, expect};
use kiln_build::{BuildError, Guess, IgnoreRule, StepProblem};

use crate::project::Project;

fn project() -> Project {
    let project = Project::new();
    for path in ["a.txt", "b.txt", "c.md", "d/x.txt", "d/e/y.txt", "d/.hidden", "Upper/z"] {
        project.write(path, path);
    }
    project
}

fn check(copy: &str, expected: Expect) {
    let shown = project().build(&format!("FROM scratch\nCOPY {copy}")).show();
    let paths = shown.lines().filter_map(|line| line.split(' ').nth(1));
    expected.assert_eq(&paths.collect::<Vec<_>>().join(" "));
}

#[test]
fn wildcards() {
    check("*.txt /", expect!["a.txt b.txt"]);
    check("[ac].* /", expect!["a.txt c.md"]);
    check("d/*/*.txt /", expect!["y.txt"]);
    check("d/* /", expect![".hidden x.txt y.txt"]);
    check("missing* /", expect![""]);
    check(r"a\.txt /", expect!["a.txt"]);
}

#[test]
fn directories_and_the_whole_context() {
    check("d /", expect![".hidden e e/y.txt x.txt"]);
    check("d /q", expect!["q q/.hidden q/e q/e/y.txt q/x.txt"]);
    check(". /q/", expect!["q q/Upper q/Upper/z q/a.txt q/b.txt q/c.md q/d q/d/.hidden q/d/e q/d/e/y.txt q/d/x.txt"]);
    check("../../d/e /", expect!["y.txt"]);
}

#[test]
fn parents_and_exclusions() {
    check("--parents d/e/y.txt /", expect!["d d/e d/e/y.txt"]);
    check("--parents ./d/./e/y.txt /", expect!["e e/y.txt"]);
    check("--exclude=*.md --exclude=d . /", expect!["Upper Upper/z a.txt b.txt"]);
    check("--exclude=**/*.txt d /", expect![".hidden e"]);
}

#[test]
fn a_link_as_source_is_followed_within_the_context() {
    let project = project();
    std::os::unix::fs::symlink("/d/x.txt", project.at("inside")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", project.at("outside")).unwrap();
    assert_eq!(project.build("FROM scratch\nCOPY inside /f").read("f"), "d/x.txt");
    let failure = project.failure("FROM scratch\nCOPY outside /f");
    assert!(failure.contains("\"/outside\": not found"), "{failure}");
}

#[test]
fn what_is_missing_comes_with_a_hint() {
    let mut project = project();
    let guess = |project: &Project, source: &str| match project.try_build(&format!("FROM scratch\nCOPY {source} /f")) {
        Err(BuildError::Step(step)) => match step.problem {
            StepProblem::MissingSource { path, guess, .. } => (path, guess.map(|guess| *guess)),
            other => panic!("{source}: {other}"),
        },
        _ => panic!("{source}: this must fail in its step"),
    };
    assert_eq!(guess(&project, "nothing"), ("nothing".into(), None));
    assert_eq!(guess(&project, "A.TXT"), ("A.TXT".into(), Some(Guess::OtherCase("a.txt".into()))));
    project.ignore = Some("*.md\n".into());
    let rule = IgnoreRule { file: ".dockerignore".into(), line: 1, text: "*.md".into() };
    assert_eq!(guess(&project, "c.md"), ("c.md".into(), Some(Guess::Ignored { path: "c.md".into(), rule })));
}

#[test]
fn ignored_files_are_not_there() {
    let mut project = project();
    project.ignore = Some("d\n!d/e\n**/*.md\nUpper\n".into());
    let shown = project.build("FROM scratch\nCOPY . /").show();
    expect![[r#"
        file a.txt 644 0:0
        file b.txt 644 0:0
        dir d 755 0:0
        dir d/e 755 0:0
        file d/e/y.txt 644 0:0
    "#]]
    .assert_eq(&shown);
}
