//! Damage of every class, done to a store behind kiln's back: an export is right or a named error, `system check` finds
//! it, a repair mends it, and the rebuild equals an undisturbed one.

mod cases;
mod damage;
mod project;

use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::kiln::Kiln;
use kiln_tests::user::User;
use kiln_tests::{full, is_root_for, say};

use cases::{CASES, Case, Export};
use project::Project;

/// How many cases an ordinary run takes.
const SAMPLE: usize = 8;

#[test]
fn every_class_is_found_and_mended_and_never_written_out() {
    if !is_root_for("classes of corruption") {
        return;
    }
    let mut project = Project::new(Kiln::new());
    let (chosen, mut failed) = (sample(), Vec::new());
    for case in &chosen {
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&project, case)));
        if checked.is_err() {
            eprintln!("the case was: {}", case.name);
            failed.push(case.name);
            project = Project::new(Kiln::new());
        }
    }
    let none: [&str; 0] = [];
    assert_eq!(failed, none);
    say(&format!("classes of corruption: {} of {}", chosen.len(), CASES.len()));
}

/// All cases, or some by a seed that the day gives and a failure names.
fn sample() -> Vec<&'static Case> {
    if full() {
        return CASES.iter().collect();
    }
    let given = std::env::var("KILN_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed: usize = given.unwrap_or_else(|| std::process::id() as usize);
    say(&format!("classes of corruption by KILN_TEST_SEED={seed}"));
    let step = (seed % (CASES.len() - 1)) | 1;
    let mut chosen: Vec<usize> = (0..CASES.len()).map(|at| (seed + at * step) % CASES.len()).collect();
    let mut seen = std::collections::BTreeSet::new();
    chosen.retain(|at| seen.insert(*at));
    chosen.into_iter().take(SAMPLE).map(|at| &CASES[at]).collect()
}

/// Once met by an export, once by a check.
fn check(project: &Project, case: &Case) {
    // First an export meets it.
    project.build_anew();
    (case.damage)(project);
    let exported = project.export();
    match (&case.export, exported.status.success()) {
        (_, true) => assert_eq!(project.exported(), project.golden(), "what was written out is right: {exported}"),
        (Export::Right, false) => panic!("it should have been made again: {exported}"),
        (Export::OrError(words), false) => {
            assert!(words.iter().all(|word| exported.stderr.contains(word)), "{words:?} in {exported}");
            assert!(!project.has_exported(), "nothing is left of an export that failed");
        }
    }
    project.repaired();
    // Then a check does.
    project.build_anew();
    (case.damage)(project);
    let found = project.kiln.run(&["system", "check", "-q"]);
    assert_eq!(found.code(), 1, "it should have been found: {found}");
    assert!(found.stdout.contains(case.found), "{:?} in {found}", case.found);
    project.repaired();
    // A base whose config was lost is to be had from where it came from.
    project.kiln.load("busybox");
    assert!(project.export().status.success());
    assert_eq!(project.exported(), project.golden(), "the rebuild equals an undisturbed one");
    let clean = project.kiln.run(&["system", "check", "-q"]);
    assert_eq!(clean.code(), 0, "{clean}");
}

#[test]
fn what_a_registry_has_is_pulled_again() {
    let registry = DockerRegistry::with(&["busybox"]);
    let kiln = Kiln::new();
    let name = format!("{}/library/busybox:latest", registry.address());
    kiln.ok(&["pull", &name]);
    for blob in damage::blobs(&kiln.root()) {
        damage::flip(&blob);
    }
    damage::flip(&kiln.root().join("layers/1/fs/bin/busybox"));
    let found = kiln.run(&["system", "check", "-q"]);
    assert!(found.stdout.contains(&format!("pulls {name} again")), "{found}");
    kiln.ok(&["system", "check", "-q", "--repair"]);
    kiln.ok(&["system", "check", "-q"]);
    let words = kiln.ok(&["run", "--rm", "--network", "none", &name, "echo", "hello"]);
    assert_eq!(words.stdout, "hello\n");
}

#[test]
fn a_lost_database_is_made_anew_with_the_images_that_the_store_still_describes() {
    let project = Project::new(Kiln::new());
    project.kiln.build(&project.context, &["-t", "app"]);
    let id = project.kiln.ok(&["images", "-q", "--no-trunc", "app"]).stdout;
    damage::remove_database(&project.kiln.root());
    let words = ["db.sqlite", "`kiln system check --repair`"];
    project.kiln.fails(&["images"], &words);
    project.kiln.fails(&["build", "-q", project.context.to_str().expect("UTF-8")], &words);
    project.kiln.ok(&["system", "check", "-q", "--repair"]);
    project.kiln.ok(&["system", "check", "-q"]);
    let images = project.kiln.ok(&["images", "-aq", "--no-trunc"]).stdout;
    assert!(images.contains(id.trim()), "{id} in {images}");
    assert_eq!(project.kiln.ok(&["images", "-q", "--no-trunc", "app"]).stdout, id, "it has its name");
    let echoed = project.kiln.ok(&["run", "--rm", "--network", "none", id.trim(), "cat", "/ran/r"]);
    assert_eq!(echoed.stdout, "made by a step\n");
}

#[test]
fn nothing_is_found_in_rootless_stores_and_damage_is() {
    if !is_root_for("checks of rootless stores") {
        return;
    }
    for user in [User::with_subordinate_ids as fn() -> User, User::with_single_id] {
        let project = Project::new(Kiln::of(user()));
        let clean = project.kiln.run(&["system", "check", "-q"]);
        assert_eq!(clean.code(), 0, "{clean}");
        damage::flip(&project.newest("ran/r"));
        assert_eq!(project.kiln.run(&["system", "check", "-q"]).code(), 1);
        project.repaired();
    }
}

#[test]
fn a_check_beside_builds_and_prunes_finds_nothing() {
    let project = Project::new(Kiln::new());
    let context = project.context.to_str().expect("UTF-8");
    std::thread::scope(|scope| {
        let builds = scope.spawn(|| {
            for number in 0..6 {
                let case = format!("CASE=beside-{number}");
                project.kiln.ok(&["build", "-q", "-t", "beside", "--build-arg", &case, context]);
                project.kiln.ok(&["system", "prune", "-f"]);
            }
        });
        while !builds.is_finished() {
            let checked = project.kiln.run(&["system", "check", "-q"]);
            assert_eq!(checked.code(), 0, "{checked}");
        }
    });
}

#[test]
fn programs_read_what_was_found_and_what_became_of_it() {
    let project = Project::new(Kiln::new());
    let checked = |flags: &[&str]| {
        let answer = project.kiln.run(&[&["system", "check", "--format", "json"], flags].concat());
        let document: serde_json::Value = serde_json::from_str(&answer.stdout).expect("one JSON document");
        assert_eq!(document["clean"] == true, answer.status.success(), "{answer}");
        document
    };
    assert_eq!(checked(&[])["findings"], serde_json::json!([]));
    let path = project.newest("bin/busybox");
    damage::flip(&path);
    let found = &checked(&[])["findings"][0];
    assert_eq!((&found["kind"], &found["problem"]), (&"layer".into(), &"its bytes differ".into()));
    assert_eq!(found["path"], path.to_string_lossy().as_ref());
    assert!(found["needed_by"].as_array().expect("list").contains(&"image busybox:latest".into()), "{found}");
    assert!(found["mended"].is_null());
    let mended = checked(&["--repair"]);
    assert_eq!(mended["findings"][0]["mended"], true, "{mended}");
    assert_eq!(checked(&[])["clean"], true);
}
