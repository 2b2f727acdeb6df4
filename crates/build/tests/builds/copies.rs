//! How copies arrive: modes, owners, links, replaced entries, archives.

use expect_test::{Expect, expect};
use kiln_store::Timestamp;

use crate::project::Project;

fn check(project: &Project, dockerfile: &str, expected: Expect) {
    expected.assert_eq(&project.build(dockerfile).show());
}

#[test]
fn files_keep_mode_and_time_but_no_owner() {
    let project = Project::new();
    project.write("tool", "x");
    project.chmod("tool", 0o4755);
    project.touch("tool", 1_000_000);
    let built = project.build("FROM scratch\nCOPY tool /bin/tool");
    expect![[r#"
        dir bin 755 0:0
        file bin/tool 4755 0:0
    "#]]
    .assert_eq(&built.show());
    assert_eq!(built.files().lookup("bin/tool").unwrap().entry.mtime(), Timestamp::from_seconds(1_000_000));
}

#[test]
fn chown_and_chmod_reach_the_directories_that_are_made() {
    let project = Project::new();
    project.write("f", "x");
    check(
        &project,
        "FROM scratch\nCOPY --chown=5:6 --chmod=750 f /a/b/",
        expect![[r#"
            dir a 750 5:6
            dir a/b 750 5:6
            file a/b/f 750 5:6
        "#]],
    );
}

#[test]
fn a_copied_directory_is_new_and_those_in_it_keep_their_modes() {
    let project = Project::new();
    project.write("d/sub/f", "x");
    project.chmod("d", 0o700);
    project.chmod("d/sub", 0o2711);
    check(
        &project,
        "FROM scratch\nCOPY d /d",
        expect![[r#"
            dir d 755 0:0
            dir d/sub 2711 0:0
            file d/sub/f 644 0:0
        "#]],
    );
}

#[test]
fn hard_links_of_a_directory_stay_linked() {
    let project = Project::new();
    project.write("d/a", "text");
    std::fs::hard_link(project.at("d/a"), project.at("d/b")).unwrap();
    for source in ["FROM scratch\nCOPY d /d", "FROM scratch AS s\nCOPY d /d\nFROM scratch\nCOPY --from=s /d /d"] {
        let built = project.build(source);
        let files = built.files();
        let group = |path: &str| files.lookup(path).unwrap().entry.link_group();
        assert!(group("d/a").is_some());
        assert_eq!(group("d/a"), group("d/b"));
        assert_eq!(built.read("d/b"), "text");
    }
}

#[test]
fn links_in_a_directory_are_kept_and_a_link_as_destination_is_followed() {
    let project = Project::new();
    project.write("f", "x");
    project.write("d/real/g", "x");
    std::os::unix::fs::symlink("real", project.at("d/link")).unwrap();
    check(
        &project,
        "FROM scratch\nCOPY d /d\nCOPY f /d/link/",
        expect![[r#"
            dir d 755 0:0
            link d/link -> real
            dir d/real 755 0:0
            file d/real/f 644 0:0
            file d/real/g 644 0:0
        "#]],
    );
    check(
        &project,
        "FROM scratch\nCOPY d /d\nCOPY --link f /d/link/",
        expect![[r#"
            dir d 755 0:0
            dir d/link 755 0:0
            file d/link/f 644 0:0
            dir d/real 755 0:0
            file d/real/g 644 0:0
        "#]],
    );
}

#[test]
fn a_file_replaces_a_file_but_no_directory() {
    let project = Project::new();
    project.write("f", "new");
    project.write("g", "old");
    project.write("d/f/x", "x");
    assert_eq!(project.build("FROM scratch\nCOPY g /f\nCOPY f /f").read("f"), "new");
    let failure = project.failure("FROM scratch\nCOPY d /\nCOPY f g /x/\nCOPY d /x/");
    assert!(failure.contains("cannot copy to non-directory: /x/f"), "{failure}");
}

#[test]
fn what_is_there_already_makes_an_empty_layer() {
    let project = Project::new();
    project.write("d/f", "x");
    let built = project.build("FROM scratch\nCOPY d /d\nCOPY --chmod=644 d/f /d/f");
    assert_eq!(built.layers.len(), 2);
    assert!(built.layers[1].index().unwrap().is_empty());
}

#[test]
fn add_unpacks_an_archive_and_copy_does_not() {
    let project = Project::new();
    project.write("d/f", "x");
    let pack = ["--owner=7", "--group=8", "-czf", "d.bin", "d"];
    let packed = std::process::Command::new("tar").current_dir(project.at("")).args(pack).status().unwrap();
    assert!(packed.success());
    let built = project.build("FROM scratch\nADD d.bin /a/\nCOPY d.bin /b/\nADD --chown=1:2 d.bin /c/");
    expect![[r#"
        dir a 755 0:0
        dir a/d 755 7:8
        file a/d/f 644 7:8
        dir b 755 0:0
        file b/d.bin 644 0:0
        dir c 755 1:2
        dir c/d 755 1:2
        file c/d/f 644 1:2
    "#]]
    .assert_eq(&built.show());
    assert_eq!(built.read("a/d/f"), "x");
}

#[test]
fn owners_of_a_stage_are_kept() {
    let project = Project::new();
    project.write("d/f", "x");
    check(
        &project,
        "FROM scratch AS s\nCOPY --chown=9:9 d /d\nFROM scratch\nCOPY --from=s /d /e\nCOPY --from=s /d/f /g/",
        expect![[r#"
            dir e 755 0:0
            file e/f 644 9:9
            dir g 755 0:0
            file g/f 644 9:9
        "#]],
    );
}

#[test]
fn another_frontend_is_refused_by_name() {
    let project = Project::new();
    project.write("f", "x");
    project.build("# syntax=docker/dockerfile:1.7\nFROM scratch\nCOPY f /");
    let failure = project.failure("# syntax=ghcr.io/someone/frontend:2\nFROM scratch\nCOPY f /");
    assert!(failure.contains("ghcr.io/someone/frontend:2"), "{failure}");
}

#[test]
fn bytes_of_a_layer_that_changed_on_disk_are_made_anew_and_not_copied_on() {
    let project = Project::new();
    project.write("f", "hello");
    let dockerfile = |to: &str| format!("FROM scratch AS a\nCOPY f /from/f\nFROM scratch\nCOPY --from=a /from/f {to}");
    project.build(&dockerfile("/one"));
    let layers = std::fs::read_dir(project.store.root().join("layers")).unwrap();
    let copied = layers.map(|layer| layer.unwrap().path().join("fs/from/f")).find(|path| path.is_file());
    std::fs::write(copied.unwrap(), "jello").unwrap();
    let built = project.build(&dockerfile("/two"));
    assert_eq!(built.read("two"), "hello");
    assert_eq!(built.cached(), [false, false]);
}
