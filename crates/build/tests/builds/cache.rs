//! What the cache takes for the same.

use kiln_build::{FileAspect, Novelty, Reason};

use crate::project::Project;

const COPIES: &str = "FROM scratch\nCOPY a.txt /\nCOPY d /d\n";

fn project() -> Project {
    let project = Project::new();
    project.write("a.txt", "one");
    project.write("b.txt", "two");
    project.write("d/x", "three");
    project.write("d/y", "four");
    project
}

/// Builds [`COPIES`] before and after a change; which of its two steps were cached.
fn after(change: impl FnOnce(&mut Project)) -> Vec<bool> {
    let mut project = project();
    assert_eq!(project.build(COPIES).cached(), [false, false]);
    change(&mut project);
    project.build(COPIES).cached()
}

#[test]
fn nothing_changed() {
    assert_eq!(after(|_| {}), [true, true]);
}

#[test]
fn times_do_not_count() {
    assert_eq!(after(|project| project.touch("d/x", 77)), [true, true]);
}

#[test]
fn a_clone_elsewhere_is_the_same() {
    assert_eq!(after(Project::move_to_a_clone), [true, true]);
}

#[test]
fn a_change_that_leaves_size_and_time_is_seen() {
    assert_eq!(after(|project| project.write("d/x", "THREE")), [true, false]);
}

#[test]
fn a_change_is_followed_by_all_that_is_above() {
    assert_eq!(after(|project| project.write("a.txt", "other")), [false, false]);
}

#[test]
fn files_that_nothing_copies_do_not_count() {
    let change = |project: &mut Project| {
        project.write("b.txt", "other");
        project.write("new", "file");
    };
    assert_eq!(after(change), [true, true]);
}

#[test]
fn names_modes_and_empty_directories_count() {
    let renamed = |project: &mut Project| std::fs::rename(project.at("d/x"), project.at("d/z")).unwrap();
    assert_eq!(after(renamed), [true, false]);
    assert_eq!(after(|project| project.chmod("d/x", 0o600)), [true, false]);
    assert_eq!(after(|project| std::fs::create_dir(project.at("d/empty")).unwrap()), [true, false]);
}

#[test]
fn the_mode_of_the_copied_directory_itself_does_not_count() {
    assert_eq!(after(|project| project.chmod("d", 0o700)), [true, true]);
}

#[test]
fn what_is_as_it_was_before_last_is_still_cached() {
    let project = project();
    project.build(COPIES);
    project.write("d/x", "other");
    assert_eq!(project.build(COPIES).cached(), [true, false]);
    project.write("d/x", "three");
    let built = project.build(COPIES);
    assert_eq!(built.cached(), [true, true]);
    assert_eq!(built.read("d/x"), "three");
}

#[test]
fn an_argument_counts_where_it_is_used() {
    let mut project = project();
    let text = "FROM scratch\nCOPY d /d\nARG N=a.txt\nCOPY $N /f\n";
    project.build(text);
    project.build_args.insert("N".into(), "b.txt".into());
    let built = project.build(text);
    assert_eq!(built.cached(), [true, false]);
    assert_eq!(built.read("f"), "two");
}

#[test]
fn equal_files_of_a_stage_that_ran_again_leave_what_follows_cached() {
    let project = project();
    let text = |sources: &str| {
        format!("FROM scratch AS s\nCOPY {sources} /out/\nFROM scratch\nCOPY --from=s /out /\nCOPY d /d\n")
    };
    assert_eq!(project.build(&text("a.txt b.txt")).cached(), [false, false, false]);
    assert_eq!(project.build(&text("b.txt a.txt")).cached(), [false, true, true]);
    // And from now on without looking.
    assert_eq!(project.build(&text("b.txt a.txt")).cached(), [true, true, true]);
}

#[test]
fn other_files_of_a_stage_do_not_count() {
    let project = project();
    let text = "FROM scratch AS s\nCOPY a.txt b.txt /out/\nFROM scratch\nCOPY --from=s /out/a.txt /\n";
    project.build(text);
    project.write("b.txt", "other");
    assert_eq!(project.build(text).cached(), [false, true]);
    project.write("a.txt", "other");
    assert_eq!(project.build(text).cached(), [false, false]);
}

#[test]
fn a_linked_copy_does_not_depend_on_what_is_below() {
    let project = project();
    let text = "FROM scratch\nCOPY a.txt /\nCOPY --link d /d\n";
    project.build(text);
    project.write("a.txt", "other");
    let built = project.build(text);
    assert_eq!(built.cached(), [false, true]);
    assert_eq!(built.read("a.txt"), "other");
    assert_eq!(built.read("d/x"), "three");
}

#[test]
fn what_changed_is_named() {
    let project = project();
    let (context, path) = (|| "context".to_owned(), |path: &str| path.to_owned());
    assert_eq!(project.build(COPIES).reasons(1), [Reason::NeverSeen { what: Novelty::Dockerfile }]);
    project.write("d/x", "other");
    let what = vec![FileAspect::Content];
    let changed = Reason::FileChanged { path: path("d/x"), context: context(), what };
    assert_eq!(project.build(COPIES).reasons(1), [changed]);
    project.write("d/new", "file");
    let added = Reason::FileAdded { path: path("d/new"), context: context() };
    assert_eq!(project.build(COPIES).reasons(1), [added]);
}

#[test]
fn unchanged_files_are_linked_from_the_layer_before() {
    use std::os::unix::fs::MetadataExt;
    let project = project();
    let inode = |built: &crate::project::Built, path: &str| {
        std::fs::metadata(built.layers[1].fs_path().join(path)).unwrap().ino()
    };
    let before = project.build(COPIES);
    project.write("d/x", "other");
    let after = project.build(COPIES);
    assert_eq!(inode(&before, "d/y"), inode(&after, "d/y"));
    assert_eq!(after.read("d/x"), "other");
    assert_eq!(before.read("d/x"), "three");
}
