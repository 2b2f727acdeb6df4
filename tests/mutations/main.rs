//! Is the cache right? Random projects, each changed several times, all built in one store that keeps what it made.
//!
//! After every change the image equals one that is built in a fresh store without a cache, and the steps that were
//! executed are those that a naive model of the cache names, and the explanations blame the change and nothing else. `KILN_MUTATIONS_SEED=7` repeats one sequence,
//! `KILN_MUTATIONS_BASE=1000` makes the large run begin with other seeds.

mod blame;
mod builds;
mod change;
mod copy;
mod disk;
mod generate;
mod ignore;
mod model;
mod project;
mod random;
mod shell;
mod tree;

use std::collections::BTreeSet;
use std::sync::Mutex;

use builds::{Built, Comparison, Images, build};
use change::Changed;
use disk::Disk;
use kiln_tests::kiln::Kiln;
use kiln_tests::{full, is_root_for, say};
use model::{Label, Model, Prediction};
use project::Project;
use random::Random;

/// Changes of one project, one after the other.
const CHANGES: usize = 5;
/// Projects that share a store.
const PROJECTS: usize = 5;

#[test]
fn what_the_warm_store_builds_is_what_a_cold_one_builds_and_only_what_changed_is_executed() {
    if !is_root_for("mutations") {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let base = number("KILN_MUTATIONS_BASE").unwrap_or(1);
    let seeds = match number("KILN_MUTATIONS_SEED") {
        Some(seed) => vec![seed],
        None if full() => (base..base + 20).collect(),
        None => vec![base],
    };
    let failures = Mutex::new(Vec::new());
    let counts = Mutex::new((0, 0));
    let open = Mutex::new(seeds.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(seed) = { open.lock().expect("seeds").next() } {
                    let mut sequence = Sequence::new(seed);
                    sequence.run();
                    let mut counts = counts.lock().expect("counts");
                    *counts = (counts.0 + sequence.triples, counts.1 + sequence.ambiguous);
                    failures.lock().expect("failures").extend(sequence.failures);
                }
            });
        }
    });
    let (failures, counts) = (failures.into_inner().expect("failures"), counts.into_inner().expect("counts"));
    say(&format!("mutations: {} changes, {} of them ambiguous, {} wrong", counts.0, counts.1, failures.len()));
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Several projects with their changes in one store.
struct Sequence {
    seed: u64,
    random: Random,
    kiln: Kiln,
    images: Images,
    comparison: Comparison,
    model: Model,
    triples: usize,
    ambiguous: usize,
    failures: Vec<String>,
}

impl Sequence {
    fn new(seed: u64) -> Sequence {
        let kiln = Kiln::new();
        let images = Images::new(&kiln);
        let comparison = Comparison::new(&images);
        Sequence {
            seed,
            random: Random::new(seed),
            kiln,
            images,
            comparison,
            model: Model::default(),
            triples: 0,
            ambiguous: 0,
            failures: Vec::new(),
        }
    }

    fn run(&mut self) {
        for number in 0..PROJECTS {
            let mut disk = Disk::new(self.kiln.scratch(&format!("project{number}")));
            let (mut project, prediction) = self.first();
            if !self.check(&mut disk, None, &project, &prediction) {
                return;
            }
            for _ in 0..CHANGES {
                let (new, changed, prediction) = self.next(&project);
                let before = std::mem::replace(&mut project, new);
                self.triples += 1;
                if !self.check(&mut disk, Some((&before, &changed)), &project, &prediction) {
                    return;
                }
            }
        }
    }

    /// A project that can be built.
    fn first(&mut self) -> (Project, Prediction) {
        loop {
            let project = generate::project(&mut self.random, 0);
            if let Some(prediction) = self.predicted(&project) {
                return (project, prediction);
            }
        }
    }

    /// The project after a change that leaves it one that can be built.
    fn next(&mut self, project: &Project) -> (Project, Changed, Prediction) {
        loop {
            let mut changed = project.clone();
            let Some(words) = change::change(&mut changed, &mut self.random) else { continue };
            if let Some(prediction) = self.predicted(&changed) {
                return (changed, words, prediction);
            }
        }
    }

    fn predicted(&mut self, project: &Project) -> Option<Prediction> {
        let mut model = self.model.clone();
        let prediction = model.build(project).ok()?;
        self.model = model;
        Some(prediction)
    }

    /// Builds in both stores; false if the sequence cannot go on, because what the store knows is not known.
    fn check(
        &mut self,
        disk: &mut Disk,
        change: Option<(&Project, &Changed)>,
        project: &Project,
        prediction: &Prediction,
    ) -> bool {
        let context = disk.write(project, &mut self.random);
        let work = self.kiln.scratch("archives");
        let (warm, cold) = (work.join("warm.tar"), work.join("cold.tar"));
        let built = build(&self.kiln, project, &context, &warm, &[]);
        let fresh = Kiln::new();
        self.images.load(&fresh, &project.dockerfile());
        let rebuilt = build(&fresh, project, &context, &cold, &["--no-cache"]);
        let mut problems = Vec::new();
        if !built.succeeded || !rebuilt.succeeded {
            problems.push(format!("it failed\nwarm: {}\ncold: {}", built.said, rebuilt.said));
        } else {
            problems.extend(self.comparison.differences(&warm, &cold));
            problems.extend(wrong_steps(&built, prediction));
            problems.extend(change.map(|(_, (_, blame))| blame.wrong(&built.explained)).unwrap_or_default());
        }
        self.ambiguous += usize::from(prediction.ambiguous);
        if !problems.is_empty() {
            self.failures.push(self.report(change, project, &context, &problems));
        }
        problems.is_empty() && !prediction.ambiguous
    }

    fn report(
        &self,
        change: Option<(&Project, &Changed)>,
        project: &Project,
        context: &std::path::Path,
        problems: &[String],
    ) -> String {
        let listing =
            kiln_tests::kiln::tool("ls", &["-laR", "--time-style=full-iso", context.to_str().expect("UTF-8")]);
        let before = change.map_or(String::new(), |(before, (words, _))| {
            format!("change: {words}\n--- Dockerfile before\n{}", before.dockerfile())
        });
        format!(
            "KILN_MUTATIONS_SEED={}, change {}: {}\n{before}--- Dockerfile\n{}--- ignored: {:?}, arguments: {:?}\n{listing}",
            self.seed,
            self.triples,
            problems.join("\n"),
            project.dockerfile(),
            project.ignore,
            project.arguments
        )
    }
}

/// Steps that were executed and should not have been, and the other way round.
fn wrong_steps(built: &Built, prediction: &Prediction) -> Vec<String> {
    if prediction.ambiguous {
        return Vec::new();
    }
    let executed: BTreeSet<Label> =
        built.steps.iter().filter(|(_, executed)| **executed).map(|(label, _)| *label).collect();
    let shown = |labels: Vec<&Label>| -> Vec<String> {
        labels.iter().map(|(stage, place)| format!("[s{stage} {place}]")).collect()
    };
    let needless = shown(executed.difference(&prediction.executed).collect());
    let stale = shown(prediction.executed.difference(&executed).collect());
    let mut wrong = Vec::new();
    if !needless.is_empty() {
        wrong.push(format!("executed without need: {}", needless.join(" ")));
    }
    if !stale.is_empty() {
        wrong.push(format!("STALE, should have been executed: {}", stale.join(" ")));
    }
    wrong
}
