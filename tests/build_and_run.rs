//! The examples, built and run as a person would: what comes out, and what a second build does again.

use std::process::Command;

use kiln_tests::examples::{Example, examples};
use kiln_tests::kiln::{Kiln, answer};
use kiln_tests::steps::executed;

#[test]
fn static_site() {
    build_and_run("static-site");
}

#[test]
fn c_program() {
    build_and_run("c-program");
}

#[test]
fn python_web() {
    build_and_run("python-web");
}

#[test]
fn cache_mount() {
    build_and_run("cache-mount");
}

#[test]
fn build_args() {
    build_and_run("build-args");
}

#[test]
fn every_example_has_its_test() {
    let tested = ["static-site", "c-program", "python-web", "cache-mount", "build-args"];
    let names: Vec<String> = examples().into_iter().map(|example| example.name).collect();
    assert_eq!(names, tested);
}

fn example(name: &str) -> Example {
    examples().into_iter().find(|example| example.name == name).expect("in examples.json")
}

fn build_and_run(name: &str) {
    let example = example(name);
    let kiln = Kiln::on_fresh_disk();
    for base in &example.bases {
        kiln.load(base);
    }
    let context = example.copy_to(&kiln.scratch("contexts").join("first"));
    let first = kiln.build(&context, &["-t", "app"]);
    assert!(executed(&first).len() > 1, "{first:?}");
    let mut run = vec!["run", "--rm"];
    run.extend(example.run.iter().map(String::as_str));
    assert_eq!(kiln.ok(&run).stdout, example.output);

    let nothing: [&str; 0] = [];
    assert_eq!(executed(&kiln.build(&context, &["-t", "app"])), nothing, "nothing changed");

    let touched = Command::new("find").arg(&context).args(["-exec", "touch", "-d", "2020-02-02", "{}", "+"]).status();
    assert!(touched.is_ok_and(|status| status.success()));
    assert_eq!(executed(&kiln.build(&context, &["-t", "app"])), nothing, "only times changed");

    let copy = example.copy_to(&kiln.scratch("contexts").join("copy"));
    assert_eq!(executed(&kiln.build(&copy, &["-t", "app"])), nothing, "a fresh copy");

    example.edit(&copy);
    let after = kiln.build(&copy, &["-t", "app"]);
    assert_begin_with(&executed(&after), &example.runs_after_edit);
    let again = kiln.build(&copy, &["-t", "app"]);
    assert_eq!(executed(&again), nothing, "after the change was built");
}

#[track_caller]
fn assert_begin_with(steps: &[&str], beginnings: &[String]) {
    let same = steps.iter().zip(beginnings).all(|(step, beginning)| step.starts_with(beginning.as_str()));
    assert!(same && steps.len() == beginnings.len(), "ran {steps:#?}\nexpected {beginnings:#?}");
}

#[test]
fn the_programs_own_exit_code_and_streams_come_through() {
    let kiln = Kiln::new();
    kiln.load("busybox");
    let answer = kiln.run(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((answer.code(), answer.stdout.as_str(), answer.stderr.as_str()), (3, "out\n", "err\n"));
    assert_eq!(kiln.run(&["run", "--rm", "busybox", "/no/such"]).code(), 127);
    assert_eq!(kiln.run(&["run", "--rm", "busybox", "/etc"]).code(), 126);
    assert_eq!(kiln.run(&["run", "--nope", "busybox"]).code(), 125);
}

#[test]
fn explain_names_the_file_that_changed() {
    let example = example("static-site");
    let kiln = Kiln::new();
    kiln.load("busybox");
    let context = example.copy_to(&kiln.scratch("contexts").join("first"));
    kiln.build(&context, &["-t", "app"]);
    example.edit(&context);
    let context = context.to_str().expect("path in UTF-8");
    let answer = kiln.ok(&["build", "--explain", "--progress", "plain", "-t", "app", context]);
    let said = answer.stdout + &answer.stderr;
    assert!(said.contains("index.html"), "{said}");
}

#[test]
fn one_build_writes_every_kind_of_output() {
    let example = example("static-site");
    let kiln = Kiln::new();
    kiln.load("busybox");
    let context = example.copy_to(&kiln.scratch("contexts").join("first"));
    let context = context.to_str().expect("path in UTF-8");
    let out = kiln.scratch("out");
    let at = |name: &str| out.join(name).to_str().expect("path in UTF-8").to_owned();
    for kind in ["oci", "docker", "tar"] {
        let output = format!("type={kind},dest={}", at(kind));
        kiln.ok(&["build", "--output", &output, context]);
        let list = answer(Command::new("tar").arg("-tf").arg(at(kind))).succeeded().stdout;
        assert!(!list.is_empty(), "{kind}");
    }
    let (ids, metadata) = (at("iid"), at("metadata.json"));
    let flags = ["build", "-q", "--iidfile", &ids, "--metadata-file", &metadata, "-t", "one", "-t", "two", context];
    let quiet = kiln.ok(&flags);
    let id = std::fs::read_to_string(&ids).expect("id file");
    assert_eq!(quiet.stdout.trim(), id.trim());
    for name in ["one", "two"] {
        assert_eq!(kiln.ok(&["inspect", "--format", "{{.Id}}", name]).stdout.trim(), id.trim());
    }
    let metadata = std::fs::read_to_string(&metadata).expect("metadata file");
    assert!(metadata.contains("containerimage.config.digest"), "{metadata}");
    kiln.ok(&["build", "-o", &at("tree"), context]);
    let page = std::fs::read_to_string(out.join("tree/srv/www/index.html")).expect("exported page");
    assert!(page.contains("Notes on firing clay"));
    assert!(!out.join("tree/srv/www/notes/glaze.draft.html").exists(), "ignored file was copied");
}

#[test]
fn thirty_different_steps_are_thirty_executions() {
    let kiln = Kiln::new();
    kiln.load("busybox");
    let context = kiln.scratch("context");
    let mut dockerfile = String::from("FROM busybox\n");
    for n in 0..30 {
        dockerfile += &format!("RUN true {n}\n");
    }
    std::fs::write(context.join("Dockerfile"), dockerfile).expect("Dockerfile");
    assert_eq!(executed(&kiln.build(&context, &[])).len(), 30);
    assert_eq!(executed(&kiln.build(&context, &[])).len(), 0);
}
