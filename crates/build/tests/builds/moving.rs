//! A context that is written to while it is copied: what is recorded is what landed.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::project::Project;

const DOCKERFILE: &str = "FROM scratch\nCOPY d /d\n";
const BUILDS: usize = 12;

/// Does `work` while another thread calls `write` over and over, with 1 and 0 in turn.
fn while_written(write: impl Fn(usize) + Sync, work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0;
            while !done.load(Ordering::Relaxed) {
                turn = 1 - turn;
                write(turn);
            }
        });
        work();
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn content_never_gets_under_another_contents_key() {
    let project = Project::new();
    let contents = ["a".repeat(100_000), "b".repeat(100_000)];
    project.write("d/steady", "x");
    project.write("d/f", &contents[0]);
    let write = |turn: usize| {
        std::fs::write(project.at("next"), &contents[turn]).unwrap();
        std::fs::rename(project.at("next"), project.at("d/f")).unwrap();
    };
    while_written(write, || {
        for _ in 0..BUILDS {
            // A file that never stands still is an honest failure.
            if let Ok(built) = project.try_build(DOCKERFILE) {
                assert!(contents.contains(&built.read("d/f")));
            }
        }
    });
    for content in contents.iter().chain(&contents) {
        project.write("d/f", content);
        assert_eq!(&project.build(DOCKERFILE).read("d/f"), content);
    }
}

#[test]
fn a_file_written_in_place_is_recorded_as_it_landed() {
    let project = Project::new();
    let contents = ["a".repeat(50_000), "b".repeat(50_000)];
    project.write("d/f", &contents[0]);
    let write = |turn: usize| {
        std::fs::write(project.at("d/f"), &contents[turn]).unwrap();
    };
    while_written(write, || {
        for _ in 0..BUILDS {
            let _ = project.try_build(DOCKERFILE);
        }
    });
    for content in &contents {
        project.write("d/f", content);
        assert_eq!(&project.build(DOCKERFILE).read("d/f"), content);
    }
}
