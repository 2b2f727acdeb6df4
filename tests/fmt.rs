//! `kiln fmt`: what it prints and writes, its exit codes, and that a build does not notice.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use kiln_tests::kiln::Kiln;

const ODD: &str = "from scratch\n\n\n\nenv  A=1 \\\n  B=2  \n";
const USUAL: &str = "FROM scratch\n\nENV A=1 \\\n    B=2\n";

#[test]
fn files_are_printed_checked_and_written() {
    let kiln = Kiln::new();
    let place = kiln.scratch("fmt");
    let file = place.join("Dockerfile");
    fs::write(&file, ODD).expect("Dockerfile");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("mode");
    let link = place.join("link");
    std::os::unix::fs::symlink("Dockerfile", &link).expect("link");
    let (path, link) = (file.to_str().expect("a path"), link.to_str().expect("a path"));
    assert_eq!(kiln.ok(&["fmt", path]).stdout, USUAL);
    assert_eq!(fs::read_to_string(&file).expect("Dockerfile"), ODD);

    let checked = kiln.fails(&["fmt", "--check", path], &[]);
    assert_eq!((checked.code(), checked.stdout.as_str()), (1, format!("{path}\n").as_str()), "{checked}");
    let shown = kiln.ok(&["fmt", "--diff", path]).stdout;
    assert!(shown.contains("\n-from scratch\n+FROM scratch\n"), "{shown}");

    kiln.ok(&["fmt", "--write", link]);
    assert_eq!(fs::read_to_string(&file).expect("Dockerfile"), USUAL);
    assert_eq!(fs::metadata(&file).expect("Dockerfile").permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(link).expect("link").is_symlink());
    assert_eq!(fs::read_dir(&place).expect("place").count(), 2);
    assert_eq!(kiln.ok(&["fmt", "--check", path]).stdout, "");
    assert_eq!(kiln.ok(&["fmt", "--diff", path]).stdout, "");
}

#[test]
fn what_is_no_dockerfile_is_shown_and_left_alone() {
    let kiln = Kiln::new();
    let place = kiln.scratch("fmt");
    let (wrong, right) = (place.join("wrong"), place.join("right"));
    fs::write(&wrong, "from a\nBOGUS x\nenv y\n").expect("wrong");
    fs::write(&right, ODD).expect("right");
    let (wrong, right) = (wrong.to_str().expect("a path"), right.to_str().expect("a path"));
    let answer =
        kiln.fails(&["fmt", "-w", wrong, right, "/no/such/file"], &["BOGUS", "ENV must have", "/no/such/file"]);
    assert_eq!(answer.code(), 1, "{answer}");
    assert_eq!(fs::read_to_string(wrong).expect("wrong"), "from a\nBOGUS x\nenv y\n");
    assert_eq!(fs::read_to_string(right).expect("right"), USUAL);
}

#[test]
fn the_standard_input_goes_to_the_standard_output() {
    let kiln = Kiln::new();
    let input = kiln.scratch("fmt").join("input");
    fs::write(&input, b"# caf\xe9\nfrom scratch\ncopy <<EOF /x\n\xff\nEOF\n").expect("input");
    let output = kiln.command(&["fmt", "-"]).stdin(File::open(&input).expect("input")).output().expect("kiln");
    assert_eq!(output.stdout, b"# caf\xe9\nFROM scratch\nCOPY <<EOF /x\n\xff\nEOF\n");
}
