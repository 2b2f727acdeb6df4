//! Dockerfiles that overlap: paths through one tree of steps, drawn by seed.
//!
//! A step's tag is made of all that leads to it, and is part of its text. So two steps have the same text exactly where
//! they have the same key, in whatever stage and Dockerfile they stand.

use std::fmt::Write;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

/// Splitmix64: the same seed gives the same projects everywhere.
pub(crate) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("small")
    }
}

/// How many steps a stage has at most, and between how many each next one is chosen.
const DEPTH: usize = 4;
const BRANCHES: usize = 2;
/// How many directories of files the context has.
pub(crate) const SHARED: usize = 3;

/// A path through the tree of steps.
type Way = Vec<usize>;

/// Writes the files that all projects copy.
pub(crate) fn write_context(context: &Path) {
    for directory in 0..SHARED {
        let path = context.join(format!("shared{directory}"));
        fs::create_dir_all(&path).expect("context");
        for file in 0..5 {
            fs::write(path.join(format!("file{file}")), format!("{directory} {file}\n").repeat(50)).expect("context");
        }
    }
}

/// A Dockerfile of two or three stages; `notes` begins each RUN that is to leave a note.
pub(crate) fn dockerfile(random: &mut Random, notes: bool) -> String {
    let mut text = String::new();
    let stages: Vec<Way> = (0..1 + random.below(2)).map(|_| way(random)).collect();
    for (place, way) in stages.iter().enumerate() {
        // A Dockerfile that takes the same way twice has two stages with the same steps.
        let _ = write!(text, "FROM busybox AS s{place}\n{}", steps(way, notes));
    }
    let last = way(random);
    let _ = write!(text, "FROM busybox\n{}", steps(&last, notes));
    let mut taken = tag(&last);
    for (place, way) in stages.iter().enumerate() {
        taken = tag(&(taken, tag(way)));
        let _ = writeln!(text, "COPY --from=s{place} /made /from-{taken:x}");
    }
    taken = tag(&(taken, "seen"));
    let note = note(taken, notes);
    let _ = writeln!(text, "RUN --mount=type=bind,from=s0,source=/made,target=/seen {note}ls /seen > /list-{taken:x}");
    text
}

fn way(random: &mut Random) -> Way {
    (0..1 + random.below(DEPTH)).map(|_| random.below(BRANCHES)).collect()
}

fn steps(way: &Way, notes: bool) -> String {
    let mut text = String::new();
    for end in 1..=way.len() {
        let _ = writeln!(text, "{}", step(tag(&way[..end]), notes));
    }
    text
}

/// The step of a tag. Those with a locked or private cache mount fail where somebody else is in it with them.
fn step(tag: u64, notes: bool) -> String {
    let (note, name) = (note(tag, notes), format!("{tag:x}"));
    let made = format!("mkdir -p /made && echo {name} > /made/{name}");
    let locked = |id: &str| format!("--mount=type=cache,id={id},target=/{id},sharing=locked");
    let alone = |ids: [&str; 2]| {
        let [enter, leave] = ["mkdir", "rmdir"].map(|command| {
            let all: Vec<String> = ids.iter().map(|id| format!("{command} /{id}/busy")).collect();
            all.join(" && ")
        });
        format!("{enter} && usleep 3000 && {leave}")
    };
    match tag % 7 {
        0 => format!("COPY shared{} /made/{name}", tag as usize / 7 % SHARED),
        1 => format!("RUN {note}{made}"),
        2 => format!("RUN {} {} {note}{} && {made}", locked("x"), locked("y"), alone(["x", "y"])),
        3 => format!("RUN {} {} {note}{} && {made}", locked("y"), locked("x"), alone(["y", "x"])),
        4 => format!(
            "RUN --mount=type=cache,id=own,target=/own,sharing=private {note}{} && {made}",
            "mkdir /own/busy && usleep 3000 && rmdir /own/busy"
        ),
        5 => format!("RUN --mount=type=cache,id=all,target=/all {note}echo {name} >> /all/log && {made}"),
        // The same lock twice in one step.
        _ => format!(
            "RUN {} --mount=type=cache,id=x,target=/again,sharing=locked {note}mkdir /x/busy && rmdir /again/busy && {made}",
            locked("x")
        ),
    }
}

/// What leaves a note in a cache mount that the test reads.
fn note(tag: u64, notes: bool) -> String {
    if notes {
        format!("--mount=type=cache,id=notes,target=/notes echo {tag:x} >> /notes/ran && ")
    } else {
        String::new()
    }
}

fn tag(of: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish() >> 16
}
