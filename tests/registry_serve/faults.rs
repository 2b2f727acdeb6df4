//! The server is killed before any of the operations on its store, or the machine crashes then, or operations fail:
//! nothing that it acknowledged is lost, nothing is half there, and what was broken off can be done again.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use kiln_tests::disk::{Disk, FileSystem};
use kiln_tests::faults::program;
use kiln_tests::kiln::Kiln;
use kiln_tests::kiln_registry::KilnRegistry;
use kiln_tests::{full, is_root_for, say, skip};
use rustix::process::Signal;

use crate::script::{self, STEPS, expected, found};

fn serve(kiln: &Kiln, variables: &[(&str, &str)]) -> KilnRegistry {
    let mut command = kiln.command(&["registry", "serve", "--listen", "127.0.0.1:0"]);
    KilnRegistry::of(command.envs(variables.iter().copied()))
}

/// A store that a server was opened on before: what only the first does is no matter here.
fn prepared(kiln: Kiln) -> Kiln {
    drop(serve(&kiln, &[]));
    kiln
}

/// Some of the operations that the script makes the server do, by number: of those by which others come to see
/// something, and of the rest.
fn operations(before: &Kiln, at_most: usize) -> Vec<usize> {
    let kiln = before.copy();
    let log = kiln.home().join("operations");
    let lines = || fs::read_to_string(&log).unwrap_or_default();
    let server = serve(&kiln, &[("KILN_FAULT_LOG", log.to_str().expect("UTF-8"))]);
    let begins = lines().lines().count();
    (0..STEPS).for_each(|number| script::step(server.server(), number).expect("a step"));
    let text = lines();
    drop(server);
    let all: Vec<(usize, &str)> = text.lines().filter_map(|line| line.split_once(' ')).map(numbered).collect();
    let of_script: Vec<_> = all.into_iter().filter(|(number, _)| *number > begins).collect();
    assert!(of_script.len() > STEPS, "the script does nothing: {text}");
    let (seen, others): (Vec<_>, Vec<_>) =
        of_script.into_iter().partition(|(_, kind)| ["Rename", "Commit", "Sync"].contains(kind));
    let mut chosen = some(&seen, at_most * 2 / 3);
    chosen.extend(some(&others, at_most - at_most * 2 / 3));
    chosen.sort_unstable();
    chosen
}

fn numbered<'a>((number, kind): (&str, &'a str)) -> (usize, &'a str) {
    (number.parse().expect("a number"), kind)
}

/// So many of them, from all over; all of them in the full run.
fn some(all: &[(usize, &str)], count: usize) -> Vec<usize> {
    let every = if full() { 1 } else { all.len().div_ceil(count.max(1)).max(1) };
    all.iter().skip(every / 2).step_by(every).map(|(number, _)| *number).collect()
}

/// Runs the script until the server dies; tells how many steps it acknowledged.
fn until_death(server: KilnRegistry) -> (usize, bool) {
    let done = (0..STEPS).take_while(|number| script::step(server.server(), *number).is_ok()).count();
    let status = server.signal(Signal::TERM);
    (done, status.signal() == Some(Signal::KILL.as_raw()))
}

/// Another server finds what was acknowledged, and what was broken off wholly or not at all; the rest can be done.
fn judge(what: &str, kiln: &Kiln, done: usize) {
    let server = serve(kiln, &[]);
    let state = found(server.server());
    let may_be = [expected(done), expected((done + 1).min(STEPS))];
    assert!(may_be.contains(&state), "{what}: after {done} steps there is {state:?} instead of {:?}", may_be[0]);
    for number in done..STEPS {
        let repeated = script::step(server.server(), number);
        // Only a deletion cannot be repeated once it was done.
        let is_done = number == STEPS - 1 && found(server.server()) == expected(STEPS);
        assert!(repeated.is_ok() || is_done, "{what}: step {number} cannot be repeated: {repeated:?}");
    }
    assert_eq!(found(server.server()), expected(STEPS), "{what}");
    drop(server);
    kiln.ok(&["system", "check", "-q"]);
    kiln.ok(&["registry", "gc", "--keep-younger", "0", "--delete-untagged"]);
    assert_eq!(fs::read_dir(kiln.root().join("uploads")).expect("uploads").count(), 0, "{what}: an upload was left");
}

fn survives_deaths(name: &str, before: &Kiln, at_most: usize, then: impl Fn(&Kiln)) {
    let chosen = operations(before, at_most);
    let mut deaths = 0;
    for number in &chosen {
        let what = format!("{name}, at operation {number}");
        // Told if what follows fails.
        println!("{what}");
        let kiln = before.copy();
        let (done, died) = until_death(serve(&kiln, &[("KILN_FAULT", &format!("die@{number}"))]));
        deaths += usize::from(died);
        then(&kiln);
        judge(&what, &kiln, done);
    }
    // What goes on beside the script does not always do the same.
    assert!(deaths * 10 >= chosen.len() * 9, "{name}: only {deaths} of {} died", chosen.len());
    say(&format!("{name}: {deaths} deaths"));
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    let before = prepared(Kiln::in_memory(program()));
    survives_deaths("killed", &before, 8, |_| {});
}

fn crashes(kind: FileSystem, with_rows: bool) {
    if !is_root_for("a registry in crashes of the machine") {
        return;
    }
    if let Some(reason) = kind.is_missing() {
        return skip(&format!("a registry in crashes of a machine with {kind:?}"), &reason);
    }
    let before = prepared(Kiln::on_disk(program(), |place| Disk::formatted(place, "320M", kind)));
    survives_deaths(&format!("crash of {kind:?}, rows synced: {with_rows}"), &before, 4, |kiln| {
        let log = kiln.root().join("db.sqlite-wal");
        let synced: &[&Path] = if with_rows && log.exists() { &[&log] } else { &[] };
        kiln.crash(synced);
    });
}

#[test]
fn nothing_acknowledged_is_lost_by_a_crash_of_ext4() {
    crashes(FileSystem::Ext4, false);
}

#[test]
fn nothing_acknowledged_is_lost_by_a_crash_of_ext4_that_keeps_rows() {
    crashes(FileSystem::Ext4, true);
}

#[test]
fn nothing_acknowledged_is_lost_by_a_crash_of_xfs() {
    crashes(FileSystem::Xfs, false);
}

#[test]
fn a_disk_that_fails_once_is_told_and_the_server_goes_on() {
    let before = prepared(Kiln::in_memory(program()));
    let mut told = 0;
    let chosen = operations(&before, 6);
    for (number, error) in chosen.iter().zip(["ENOSPC", "EIO"].into_iter().cycle()) {
        let what = format!("{error} at operation {number}");
        println!("{what}");
        let kiln = before.copy();
        let server = serve(&kiln, &[("KILN_FAULT", &format!("{error}@{number}"))]);
        for step in 0..STEPS {
            let Err(_) = script::step(server.server(), step) else { continue };
            told += 1;
            let state = found(server.server());
            assert!([expected(step), expected(step + 1)].contains(&state), "{what}: {state:?}");
            let repeated = script::step(server.server(), step);
            assert!(repeated.is_ok() || state == expected(step + 1), "{what}: {repeated:?}");
        }
        assert!(server.signal(Signal::TERM).success(), "{what}: the server ended otherwise");
        judge(&what, &kiln, STEPS);
    }
    assert!(told * 2 >= chosen.len(), "only {told} of {} failures were told", chosen.len());
}
