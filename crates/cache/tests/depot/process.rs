//! Writers that are processes of their own: this test binary, started again for the one test that starts it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::place::{UnderTest, layer, read, unite, write, writers, writers_of};

/// Where such a process finds the place, and who it is.
const ADDRESS: &str = "KILN_TEST_DEPOT";
const WRITER: &str = "KILN_TEST_WRITER";

/// What a writer says on its standard output after each step.
const STEP: &str = "step done";

/// How many blobs a writer puts before it publishes.
const BLOBS: usize = 4;

/// In a process that a test started: does the work of a writer and says so.
pub(crate) async fn work<P: UnderTest>() -> bool {
    let (Ok(address), Ok(name)) = (std::env::var(ADDRESS), std::env::var(WRITER)) else { return false };
    let depot = P::at(&address);
    let layers: Vec<Vec<u8>> = (0..BLOBS).map(|number| vec![number as u8; 100_000]).collect();
    for bytes in &layers {
        depot.put(&layer(bytes)).await.unwrap();
        println!("\n{STEP}");
    }
    let own = format!("of {name}");
    let layers = layers.iter().map(Vec::as_slice).chain([own.as_bytes()]);
    write(&depot, &name, &layers.collect::<Vec<_>>()).await;
    println!("\n{STEP}");
    true
}

fn start(place: &impl UnderTest, test: &str, writer: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(ADDRESS, place.address()).env(WRITER, writer);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

pub(crate) async fn eight_processes_at_once_lose_nothing(place: &impl UnderTest, test: &str) {
    let names: Vec<String> = (0..8).map(|number| format!("writer{number}")).collect();
    let processes: Vec<Child> = names.iter().map(|name| start(place, test, name)).collect();
    for process in processes {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let united = unite(&place.open()).await;
    assert_eq!((writers_of(&united), united.damaged.len()), (names, 0));
    for blob in united.leaflets.iter().flat_map(|leaflet| &leaflet.entry.blobs) {
        read(&place.open(), blob).await.unwrap();
    }
}

pub(crate) async fn a_killed_writer_leaves_nothing_visible(place: &impl UnderTest, test: &str) {
    write(&place.open(), "before", &[b"before"]).await;
    for steps in 0..=BLOBS {
        let mut process = start(place, test, "killed");
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let done = lines.map_while(Result::ok).filter(|line| line == STEP).take(steps).count();
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(done, steps);
        let united = unite(&place.open()).await;
        assert_eq!(united.damaged.len(), 0);
        let seen = writers_of(&united);
        // The last one may have been quicker than the kill.
        let complete = steps == BLOBS && seen == ["before", "killed"];
        assert!(complete || seen == ["before"], "{seen:?} after {steps} steps");
    }
    write(&place.open(), "afterwards", &[b"afterwards"]).await;
    assert!(writers(&place.open()).await.contains(&"afterwards".to_owned()));
}
