//! The examples and the kills as an unprivileged user, with subordinate ids and without.

use kiln_tests::examples::examples;
use kiln_tests::kiln::Kiln;
use kiln_tests::steps::executed;
use kiln_tests::user::User;
use kiln_tests::{full, is_root_for, kills, say};

#[test]
fn examples_with_subordinate_ids() {
    if is_root_for("examples as a user with subordinate ids") {
        build_and_run_all(User::with_subordinate_ids);
    }
}

#[test]
fn examples_with_a_single_id() {
    if is_root_for("examples as a user with a single id") {
        build_and_run_all(User::with_single_id);
    }
}

#[test]
fn kills_with_subordinate_ids() {
    if is_root_for("kills as a user with subordinate ids") {
        let kills = if full() { 50 } else { 5 };
        let counts = kills::survive(kills, || Kiln::of(User::with_subordinate_ids()));
        say(&format!("kills by phase, subordinate ids: {counts:?}"));
    }
}

#[test]
fn kills_with_a_single_id() {
    if is_root_for("kills as a user with a single id") {
        let kills = if full() { 50 } else { 5 };
        let counts = kills::survive(kills, || Kiln::of(User::with_single_id()));
        say(&format!("kills by phase, a single id: {counts:?}"));
    }
}

fn build_and_run_all(user: fn() -> User) {
    let kiln = Kiln::of(user());
    for base in ["busybox", "debian", "gcc", "python"] {
        kiln.load(base);
    }
    for example in examples() {
        let context = example.copy_to(&kiln.scratch("contexts").join(&example.name));
        kiln.build(&context, &["-t", "app"]);
        let again = kiln.build(&context, &["-t", "app"]);
        let nothing: [&str; 0] = [];
        assert_eq!(executed(&again), nothing, "{}: nothing changed", example.name);
        let mut run = vec!["run", "--rm"];
        run.extend(example.run.iter().map(String::as_str));
        assert_eq!(kiln.ok(&run).stdout, example.output, "{}", example.name);
    }
}
