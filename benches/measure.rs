//! Wall times of whole programs, taken in turns and shown as medians with their ratio; and files to work on.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;

/// Files of 2 KiB, 100 to a directory, all different.
pub(crate) fn make_files(place: &Path, count: usize) {
    for n in 0..count {
        let directory = place.join((n / 100).to_string());
        if n % 100 == 0 {
            fs::create_dir_all(&directory).expect("directory");
        }
        fs::write(directory.join(n.to_string()), format!("{n:08}").repeat(256)).expect("file");
    }
}

/// Files of all sizes, mostly small, 50 to a directory, that take about `bytes` together: half of each is text, half
/// cannot be compressed.
pub(crate) fn make_mixed_files(place: &Path, count: usize, bytes: usize) {
    let mut state = 1_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let words: Vec<String> = (0..4000).map(|_| format!("{:x} ", random() & 0xfff_ffff)).collect();
    let mut pool = Vec::with_capacity(bytes / count * 64);
    while pool.len() < bytes / count * 60 {
        (0..1000).for_each(|_| pool.extend_from_slice(&random().to_le_bytes()));
        (0..1000).for_each(|_| pool.extend_from_slice(words[random() % words.len()].as_bytes()));
    }
    for n in 0..count {
        let directory = place.join((n / 50).to_string());
        fs::create_dir_all(&directory).expect("directory");
        // One in a hundred is sixty times as large as the others are on average.
        let length = if n % 100 == 0 { bytes / count * 59 } else { random() % (bytes / count * 2 / 5 * 2) };
        let start = random() % (pool.len() - length);
        fs::write(directory.join(n.to_string()), &pool[start..start + length]).expect("file");
    }
}

/// Measures both in turns, one round of each unmeasured, and prints the medians with their ratio.
pub(crate) fn row(work: &str, ours: impl FnMut() -> Duration, theirs: impl FnMut() -> Duration) {
    row_of(work, ROUNDS, ours, theirs);
}

/// The same with a number of rounds.
pub(crate) fn row_of(
    work: &str,
    rounds: usize,
    mut ours: impl FnMut() -> Duration,
    mut theirs: impl FnMut() -> Duration,
) {
    ours();
    theirs();
    let (mut kiln, mut floor): (Vec<_>, Vec<_>) = (0..rounds).map(|_| (ours(), theirs())).unzip();
    let (kiln, floor) = (median(&mut kiln), median(&mut floor));
    let ratio = kiln.as_secs_f64() / floor.as_secs_f64();
    println!("{work:<44} {:>10} {:>10} {ratio:>7.2}", shown(kiln), shown(floor));
}

/// Measures what has no plain tool beside it; a target in milliseconds instead.
pub(crate) fn absolute(work: &str, target: f64, mut ours: impl FnMut() -> Duration) {
    ours();
    let mut times: Vec<_> = (0..ROUNDS).map(|_| ours()).collect();
    let time = median(&mut times);
    let ratio = time.as_secs_f64() * 1000.0 / target;
    println!("{work:<44} {:>10} {:>10} {ratio:>7.2}", shown(time), format!("{target:.0} ms"));
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// The wall time of a command that must succeed.
pub(crate) fn timed(command: &mut Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    let time = started.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    time
}
