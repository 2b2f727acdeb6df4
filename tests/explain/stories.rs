//! With which earlier build, and with which of its steps, a step is compared.

use expect_test::expect;
use kiln_tests::kiln::Kiln;

use crate::project::{Project, with_busybox};

#[test]
fn two_projects_with_the_same_names_in_one_store() {
    let kiln = with_busybox();
    let one = Project::new(&kiln, "one", "FROM busybox\nCOPY main.c /\nRUN echo one\nRUN echo built\n");
    let two = Project::new(&kiln, "two", "FROM busybox\nCOPY lib.c /\nRUN echo two\nRUN echo tested\n");
    one.write("main.c", "1");
    two.write("lib.c", "1");
    one.build(&["-t", "one"]);
    two.explains(
        &["-t", "two"],
        expect![[r#"
        [2/4] COPY lib.c / (line 2): miss:
            no earlier build of this Dockerfile is known
        [3/4] RUN echo two (line 3): miss:
            no earlier build of this Dockerfile is known
        [4/4] RUN echo tested (line 4): miss:
            no earlier build of this Dockerfile is known
    "#]],
    );
    one.write("main.c", "2");
    two.write("lib.c", "2");
    one.explains(
        &["-t", "one"],
        expect![[r#"
        [2/4] COPY main.c / (line 2): miss:
            file main.c changed
        [3/4] RUN echo one (line 3): miss:
            step [2/4] COPY main.c / changed
        [4/4] RUN echo built (line 4): miss:
            step [2/4] COPY main.c / changed
        compared with the build of TIME (one:latest) in /one
    "#]],
    );
    two.explains(
        &["-t", "two"],
        expect![[r#"
        [2/4] COPY lib.c / (line 2): miss:
            file lib.c changed
        [3/4] RUN echo two (line 3): miss:
            step [2/4] COPY lib.c / changed
        [4/4] RUN echo tested (line 4): miss:
            step [2/4] COPY lib.c / changed
        compared with the build of TIME (two:latest) in /two
    "#]],
    );
}

#[test]
fn a_clone_of_a_project_is_compared_with_the_original() {
    let kiln = with_busybox();
    let original = Project::new(&kiln, "original", "FROM busybox\nCOPY . /src/\nRUN echo one\n");
    original.write("main.c", "1");
    original.build(&["-t", "original"]);
    let clone = original.cloned("clone");
    clone.explains(&[], expect![[r#""#]]);
    let other = original.cloned("other");
    other.write("main.c", "2");
    other.explains(
        &[],
        expect![[r#"
        [2/3] COPY . /src/ (line 2): miss:
            file main.c changed
        [3/3] RUN echo one (line 3): miss:
            step [2/3] COPY . /src/ changed
        compared with the build of TIME in /clone
    "#]],
    );
}

#[test]
fn lines_that_are_put_in_taken_out_or_swapped() {
    let kiln = with_busybox();
    let project = Project::new(&kiln, "p", "");
    let lines = |lines: &[&str]| {
        let runs: String = lines.iter().map(|line| format!("RUN echo {line} >> /f\n")).collect();
        project.write("Dockerfile", &format!("FROM busybox\n{runs}"));
    };
    lines(&["one", "two", "three", "four"]);
    project.build(&[]);
    lines(&["one", "new", "two", "three", "four"]);
    project.explains(
        &[],
        expect![[r#"
        [3/6] RUN echo new >> /f (line 3): miss:
            the instruction is new
        [4/6] RUN echo two >> /f (line 4): miss:
            step [3/6] RUN echo new >> /f is new
        [5/6] RUN echo three >> /f (line 5): miss:
            step [3/6] RUN echo new >> /f is new
        [6/6] RUN echo four >> /f (line 6): miss:
            step [3/6] RUN echo new >> /f is new
        compared with the build of TIME in /p
    "#]],
    );
    lines(&["one", "two", "four"]);
    project.explains(
        &[],
        expect![[r#"
        [4/4] RUN echo four >> /f (line 4): miss:
            step [5/6] RUN echo three >> /f is gone
            step [3/6] RUN echo new >> /f is gone
        compared with the build of TIME in /p
    "#]],
    );
    lines(&["two", "one", "four"]);
    project.explains(
        &[],
        expect![[r#"
        [2/4] RUN echo two >> /f (line 2): miss:
            it works on [1/4] FROM docker.io/library/busybox:latest; before, it did on [2/4] RUN echo one >> /f
        [3/4] RUN echo one >> /f (line 3): miss:
            step [2/4] RUN echo two >> /f changed
        [4/4] RUN echo four >> /f (line 4): miss:
            step [3/4] RUN echo one >> /f changed
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn equal_instructions_are_told_apart() {
    let kiln = with_busybox();
    let project = Project::new(&kiln, "p", "FROM busybox\nRUN echo >> /f\nRUN echo >> /f\nCOPY a /\nRUN echo >> /f\n");
    project.write("a", "1");
    project.build(&[]);
    project.write("a", "2");
    project.explains(
        &[],
        expect![[r#"
        [4/5] COPY a / (line 4): miss:
            file a changed
        [5/5] RUN echo >> /f (line 5): miss:
            step [4/5] COPY a / changed
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn equal_stages_are_one_step_each_and_part_when_one_changes() {
    let kiln = with_busybox();
    let dockerfile = |second: &str| {
        format!(
            "FROM busybox AS a\nRUN echo one > /f\nFROM busybox AS b\nRUN echo {second} > /f\n\
             FROM busybox\nCOPY --from=a /f /a\nCOPY --from=b /f /b\n"
        )
    };
    let project = Project::new(&kiln, "p", &dockerfile("one"));
    project.explains(
        &[],
        expect![[r#"
        [a 2/2] RUN echo one > /f (line 2): miss:
            no earlier build of this Dockerfile is known
        [b 2/2] RUN echo one > /f (line 4): the same step as [a 2/2] RUN echo one > /f
        [stage-2 2/3] COPY --from=a /f /a (line 6): miss:
            no earlier build of this Dockerfile is known
        [stage-2 3/3] COPY --from=b /f /b (line 7): miss:
            no earlier build of this Dockerfile is known
    "#]],
    );
    project.write("Dockerfile", &dockerfile("two"));
    project.explains(
        &[],
        expect![[r#"
        [b 2/2] RUN echo two > /f (line 4): miss:
            instruction changed: RUN echo one > /f -> RUN echo two > /f
        [stage-2 3/3] COPY --from=b /f /b (line 7): miss:
            step [b 2/2] RUN echo two > /f changed
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn a_stage_that_is_renamed() {
    let kiln = with_busybox();
    let dockerfile = |name: &str, text: &str| {
        format!("FROM busybox AS {name}\nRUN echo one\nRUN echo {text} > /f\nFROM busybox\nCOPY --from={name} /f /\n")
    };
    let project = Project::new(&kiln, "p", &dockerfile("build", "two"));
    project.build(&[]);
    project.write("Dockerfile", &dockerfile("compile", "two"));
    project.explains(&[], expect![""]);
    project.write("Dockerfile", &dockerfile("make", "three"));
    project.explains(
        &[],
        expect![[r#"
        [make 3/3] RUN echo three > /f (line 3): miss:
            instruction changed: RUN echo two > /f -> RUN echo three > /f
        [stage-1 2/2] COPY --from=make /f / (line 5): miss:
            step [make 3/3] RUN echo three > /f changed
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn what_is_copied_from_a_stage() {
    let kiln = with_busybox();
    let dockerfile = |used: &str, unused: &str, from: &str| {
        format!(
            "FROM busybox AS a\nRUN echo {used} > /used; echo {unused} > /unused\nFROM busybox AS b\nRUN echo {used} > /used\n\
             FROM busybox\nCOPY --from={from} /used /\n"
        )
    };
    let project = Project::new(&kiln, "p", &dockerfile("1", "1", "a"));
    project.build(&["--all-stages"]);
    project.write("Dockerfile", &dockerfile("1", "2", "a"));
    project.explains(&["--all-stages"], expect![[r#"
        [a 2/2] RUN echo 1 > /used; echo 2 > /unused (line 2): miss:
            instruction changed: RUN echo 1 > /used; echo 1 > /unused -> RUN echo 1 > /used; echo 2 > /unused
        [stage-2 2/2] COPY --from=a /used / (line 6): hit: [a 2/2] RUN echo 1 > /used; echo 2 > /unused ran again, and what this step takes is as before
        compared with the build of TIME in /p
    "#]]);
    project.write("Dockerfile", &dockerfile("2", "2", "a"));
    project.explains(
        &["--all-stages"],
        expect![[r#"
        [a 2/2] RUN echo 2 > /used; echo 2 > /unused (line 2): miss:
            instruction changed: RUN echo 1 > /used; echo 2 > /unused -> RUN echo 2 > /used; echo 2 > /unused
        [b 2/2] RUN echo 2 > /used (line 4): miss:
            instruction changed: RUN echo 1 > /used -> RUN echo 2 > /used
        [stage-2 2/2] COPY --from=a /used / (line 6): miss:
            step [a 2/2] RUN echo 2 > /used; echo 2 > /unused changed
        compared with the build of TIME in /p
    "#]],
    );
    project.write("Dockerfile", &dockerfile("3", "2", "a"));
    project.build(&["--all-stages"]);
    project.write("Dockerfile", &dockerfile("4", "2", "b"));
    project.explains(
        &["--all-stages"],
        expect![[r#"
            [a 2/2] RUN echo 4 > /used; echo 2 > /unused (line 2): miss:
                instruction changed: RUN echo 3 > /used; echo 2 > /unused -> RUN echo 4 > /used; echo 2 > /unused
            [b 2/2] RUN echo 4 > /used (line 4): miss:
                instruction changed: RUN echo 3 > /used -> RUN echo 4 > /used
            [stage-2 2/2] COPY --from=b /used / (line 6): miss:
                instruction changed: COPY --from=a /used / -> COPY --from=b /used /
            compared with the build of TIME in /p
        "#]],
    );
}

#[test]
fn variants_that_take_turns_are_compared_with_their_own_like() {
    let kiln = with_busybox();
    let project = Project::new(&kiln, "p", "FROM busybox\nARG MODE\nCOPY a b /$MODE/\nRUN echo $MODE\n");
    project.write("a", "1");
    project.write("b", "1");
    for mode in ["debug", "release"] {
        project.build(&["-t", mode, "--build-arg", &format!("MODE={mode}")]);
    }
    project.write("a", "2");
    project.explains(
        &["--build-arg", "MODE=debug"],
        expect![[r#"
        [2/3] COPY a b /debug/ (line 3): miss:
            file a changed
        [3/3] RUN echo debug (line 4): miss:
            step [2/3] COPY a b /debug/ changed
        compared with the build of TIME (debug:latest) in /p
    "#]],
    );
}

#[test]
fn a_target_that_was_not_built_before() {
    let kiln = with_busybox();
    let dockerfile = "FROM busybox AS a\nRUN echo one\nFROM a AS b\nRUN echo two\nFROM a AS c\nRUN echo three\n";
    let project = Project::new(&kiln, "p", dockerfile);
    project.build(&["--target", "b"]);
    project.explains(
        &["--target", "c"],
        expect![[r#"
        [c 1/1] RUN echo three (line 6): miss:
            no earlier build of this stage is known
    "#]],
    );
    project.write("Dockerfile", &dockerfile.replace("two", "2"));
    project.explains(
        &["--target", "b"],
        expect![[r#"
        [b 1/1] RUN echo 2 (line 4): miss:
            instruction changed: RUN echo two -> RUN echo 2
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn several_platforms_are_compared_each_with_its_own() {
    let kiln = Kiln::new();
    let dockerfile = "FROM --platform=$BUILDPLATFORM scratch AS tools\nCOPY tool /\nFROM scratch\nARG TARGETARCH\n\
                      COPY --from=tools /tool /$TARGETARCH/\nCOPY data /\n";
    let project = Project::new(&kiln, "p", dockerfile);
    project.write("tool", "1");
    project.write("data", "1");
    project.build(&["--platform", "linux/amd64"]);
    project.explains(
        &["--platform", "linux/amd64,linux/arm64"],
        expect![[r#"
        [linux/arm64 tools 1/1] COPY tool / (line 2): miss:
            no earlier build for this platform is known
        [linux/arm64 stage-1 1/2] COPY --from=tools /tool /arm64/ (line 5): miss:
            no earlier build for this platform is known
        [linux/arm64 stage-1 2/2] COPY data / (line 6): miss:
            no earlier build for this platform is known
    "#]],
    );
    project.write("data", "2");
    project.explains(
        &["--platform", "linux/arm64,linux/amd64"],
        expect![[r#"
        [linux/arm64 stage-1 2/2] COPY data / (line 6): miss:
            file data changed
        [linux/amd64 stage-1 2/2] COPY data / (line 6): miss:
            file data changed
        compared with the build of TIME in /p
    "#]],
    );
    project.write("tool", "2");
    project.explains(
        &["--platform", "linux/amd64,linux/arm64"],
        expect![[r#"
        [linux/amd64 tools 1/1] COPY tool / (line 2): miss:
            file tool changed
        [linux/arm64 tools 1/1] COPY tool / (line 2): miss:
            file tool changed
        [linux/amd64 stage-1 1/2] COPY --from=tools /tool /amd64/ (line 5): miss:
            step [linux/amd64 tools 1/1] COPY tool / changed
        [linux/arm64 stage-1 1/2] COPY --from=tools /tool /arm64/ (line 5): miss:
            step [linux/arm64 tools 1/1] COPY tool / changed
        [linux/amd64 stage-1 2/2] COPY data / (line 6): miss:
            step [linux/amd64 tools 1/1] COPY tool / changed
        [linux/arm64 stage-1 2/2] COPY data / (line 6): miss:
            step [linux/arm64 tools 1/1] COPY tool / changed
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn linked_copies_do_not_depend_on_their_base() {
    let kiln = with_busybox();
    let dockerfile = |text: &str| format!("FROM busybox\nRUN echo {text} > /f\nCOPY --link a /\nRUN echo end\n");
    let project = Project::new(&kiln, "p", &dockerfile("one"));
    project.write("a", "1");
    project.build(&[]);
    project.write("Dockerfile", &dockerfile("two"));
    project.explains(
        &[],
        expect![[r#"
        [2/4] RUN echo two > /f (line 2): miss:
            instruction changed: RUN echo one > /f -> RUN echo two > /f
        [4/4] RUN echo end (line 4): miss:
            step [2/4] RUN echo two > /f changed
        compared with the build of TIME in /p
    "#]],
    );
    project.write("a", "2");
    project.explains(
        &[],
        expect![[r#"
        [3/4] COPY --link a / (line 3): miss:
            file a changed
        [4/4] RUN echo end (line 4): miss:
            step [3/4] COPY --link a / changed
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn a_copy_that_is_no_longer_linked() {
    let kiln = with_busybox();
    let dockerfile =
        |link: &str| format!("FROM busybox AS a\nRUN echo 1 > /x\nFROM busybox\nCOPY {link}--from=a /x /y\n");
    let project = Project::new(&kiln, "p", &dockerfile("--link "));
    project.build(&[]);
    project.write("Dockerfile", &dockerfile(""));
    project.explains(
        &[],
        expect![[r#"
        [stage-1 2/2] COPY --from=a /x /y (line 4): miss:
            instruction changed: COPY --link --from=a /x /y -> COPY --from=a /x /y
        compared with the build of TIME in /p
    "#]],
    );
}

#[test]
fn a_hit_below_that_is_another_than_last_time() {
    let kiln = with_busybox();
    let project = Project::new(&kiln, "p", "");
    let lines = |first: &str, last: &str| {
        project.write("Dockerfile", &format!("FROM busybox\nRUN echo {first} > /f\nRUN echo {last} > /g\n"));
    };
    lines("one", "end");
    project.build(&[]);
    lines("two", "end");
    project.build(&[]);
    lines("one", "other");
    project.build(&[]);
    lines("two", "other");
    project.explains(
        &[],
        expect![[r#"
        [3/3] RUN echo other > /g (line 3): miss:
            step [2/3] RUN echo two > /f changed
        compared with the build of TIME in /p
    "#]],
    );
}
