//! `kill -9` of kiln anywhere in a build, and of a container that runs in the foreground.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use kiln_tests::kiln::Kiln;
use kiln_tests::running::wait_until;
use kiln_tests::{full, hygiene, is_root_for, kills, say};

#[test]
fn a_killed_build_leaves_nothing_and_the_next_is_as_if_it_had_not_been() {
    if is_root_for("kills of builds as root") {
        let counts = kills::survive(if full() { 50 } else { 10 }, Kiln::on_fresh_disk);
        say(&format!("kills by phase, root: {counts:?}"));
    }
}

#[test]
fn a_killed_run_takes_its_whole_process_tree_along() {
    let kiln = Kiln::new();
    kiln.load("busybox");
    let script = "setsid sleep 1000 & setsid setsid sleep 1000 & echo ready; sleep 1000";
    let mut command = kiln.command(&["run", "--rm", "busybox", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("kiln");
    let mut line = String::new();
    let output = child.stdout.take().expect("piped");
    BufReader::new(output).read_line(&mut line).expect("output");
    assert_eq!(line, "ready\n");
    child.kill().expect("kill");
    child.wait().expect("ended");
    wait_until("the end of the container", || hygiene::processes(&kiln.root()).is_empty());
    // The next command sweeps what the killed one had in hand; dropping `kiln` checks that nothing is left.
    kiln.ok(&["ps", "-a"]);
}
