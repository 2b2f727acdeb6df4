//! `kiln explain`: what was said of a build can be had again.

use expect_test::{expect, expect_file};
use kiln_tests::kiln::Kiln;
use serde_json::Value;

use crate::project::{Project, with_busybox};

const DOCKERFILE: &str = "FROM busybox AS build\nARG V=1\nCOPY a.txt /a\nRUN echo $V \\\n  > /v\n\
                          FROM busybox\nCOPY --from=build /v /w\n";

fn built(kiln: &Kiln) -> Project<'_> {
    let project = Project::new(kiln, "p", DOCKERFILE);
    project.write("a.txt", "1");
    project.build(&["-t", "app"]);
    project.write("a.txt", "2");
    project.build(&["-t", "app"]);
    project
}

#[test]
fn the_last_build_is_told_of_whole_or_in_part() {
    let kiln = with_busybox();
    let project = built(&kiln);
    let id = |text: &str| {
        let text = project.steady(text);
        match text.strip_prefix("build ").and_then(|rest| rest.split_once(' ')) {
            Some((_, rest)) => format!("build ID {rest}"),
            None => text,
        }
    };
    let all = kiln.ok(&["explain"]);
    expect![[r#"
        build ID of TIME: Dockerfile in /p, image app:latest
        [build 1/3] FROM docker.io/library/busybox:latest (line 1): hit
        [stage-1 1/2] FROM docker.io/library/busybox:latest (line 6): hit
        [build 2/3] COPY a.txt /a (line 3): miss:
            file a.txt changed
        [build 3/3] RUN echo 1   > /v (line 4): miss:
            step [build 2/3] COPY a.txt /a changed
        [stage-1 2/2] COPY --from=build /v /w (line 7): hit: [build 2/3] COPY a.txt /a ran again, and what this step takes is as before
        compared with the build of TIME (app:latest) in /p
    "#]].assert_eq(&id(&all.stdout));
    let copy = kiln.ok(&["explain", "Dockerfile:3"]).stdout;
    for word in ["build 2/3", "[build 2/3]", ":3", "copy a.txt", "[build 2/3] COPY a.txt /a"] {
        assert_eq!(kiln.ok(&["explain", word]).stdout, copy, "{word}");
    }
    assert_eq!(kiln.ok(&["explain", "build", "2/3"]).stdout, copy);
    let run = kiln.ok(&["explain", "Dockerfile:5"]).stdout;
    assert_eq!(run, kiln.ok(&["explain", "3/3"]).stdout);
    assert_eq!(kiln.ok(&["explain", "BUILD"]).stdout.lines().filter(|line| line.starts_with("[build")).count(), 3);
    let wrong = kiln.run(&["explain", "Dockerfile:2"]);
    assert_eq!(wrong.code(), 1, "{wrong}");
    expect![[r#"
        ERROR: no step of this build stands at line 2 of Dockerfile; its steps are:
          [build 1/3] FROM docker.io/library/busybox:latest (line 1)
          [stage-1 1/2] FROM docker.io/library/busybox:latest (line 6)
          [build 2/3] COPY a.txt /a (line 3)
          [build 3/3] RUN echo 1   > /v (line 4)
          [stage-1 2/2] COPY --from=build /v /w (line 7)
    "#]]
    .assert_eq(&wrong.stderr);
    kiln.fails(&["explain", "nonsense"], &["no step of this build is called \"nonsense\"", "[build 2/3] COPY"]);
}

#[test]
fn earlier_builds_are_listed_and_told_of() {
    let kiln = with_busybox();
    kiln.fails(&["explain"], &["no build is remembered in this store"]);
    let project = built(&kiln);
    let rows = kiln.ok(&[
        "explain",
        "--list",
        "--format",
        "{{.Image}} {{.Hits}} {{.Misses}} {{.Outcome}} {{.Dockerfile}} {{.Context}}",
    ]);
    expect![[r#"
        app:latest 2 2 done Dockerfile /p
        app:latest 1 3 done Dockerfile /p
    "#]]
    .assert_eq(&project.steady(&rows.stdout));
    let ids = kiln.ok(&["explain", "--list", "--format", "{{.ID}}"]).stdout;
    let first = ids.lines().last().expect("two builds");
    let told = kiln.ok(&["explain", "--build", first, "build 2/3"]).stdout;
    assert!(told.contains("no earlier build of this Dockerfile is known"), "{told}");
    kiln.fails(&["explain", "--build", "none"], &["no build \"none\" is remembered", "kiln explain --list"]);
    kiln.fails(&["explain", "--format", "yaml"], &["is none of text and json"]);
}

#[test]
fn a_failed_build_is_told_of() {
    let kiln = with_busybox();
    let project = Project::new(&kiln, "p", "FROM busybox AS a\nRUN echo fine\nFROM a\nRUN false\nRUN echo never\n");
    project.run(&[]);
    let told = kiln.ok(&["explain"]).stdout;
    let lines: String = told.lines().skip(1).map(|line| format!("{line}\n")).collect();
    expect![[r#"
        [a 1/2] FROM docker.io/library/busybox:latest (line 1): hit
        [a 2/2] RUN echo fine (line 2): miss:
            no earlier build of this Dockerfile is known
        [stage-1 1/2] RUN false (line 4): failed:
            no earlier build of this Dockerfile is known
        [stage-1 2/2] RUN echo never (line 5): not run
    "#]]
    .assert_eq(&project.steady(&lines));
    assert!(told.lines().next().is_some_and(|line| line.ends_with("(failed)")), "{told}");
}

#[test]
fn json_has_its_shape() {
    let kiln = with_busybox();
    let project = built(&kiln);
    let mut document: Value = serde_json::from_str(&kiln.ok(&["explain", "--format", "json"]).stdout).expect("JSON");
    project.write("a.txt", "3");
    let now = project.document(&["-t", "app"]);
    assert_eq!(now["steps"].as_array().map(Vec::len), document["steps"].as_array().map(Vec::len));
    assert_eq!(now["steps"][1]["compared_with"]["build"], document["id"]);
    // What is another each time.
    for member in ["id", "started"] {
        assert!(document[member].take().is_string(), "{member}");
    }
    for step in document["steps"].as_array_mut().expect("steps") {
        for member in ["key", "operation"] {
            assert!(step[member].take().is_string(), "{member}");
        }
        if let Some(with) = step.get_mut("compared_with") {
            assert!(with["build"].take().is_string() && with["started"].take().is_string());
        }
    }
    let text = serde_json::to_string_pretty(&document).expect("JSON") + "\n";
    expect_file!["shape.json"].assert_eq(&project.steady(&text));
    let one: Value =
        serde_json::from_str(&kiln.ok(&["explain", "--format", "json", "build 2/3"]).stdout).expect("JSON");
    assert_eq!(one["steps"][0], now["steps"][1]);
}
