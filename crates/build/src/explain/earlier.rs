//! Earlier builds that a build is compared with: those of the same Dockerfile name, of the same context first, the
//! newest first. Read one at a time, for mostly the first explains everything.

use std::collections::HashMap;

use kiln_store::{Build, Input, Key, Store};

use super::align::align;
use super::document::{ComparedWith, ExplainedBuild, ExplainedStep};

/// How many builds of the same context are looked at, and as many of others.
const LOOKED_AT: usize = 16;

/// An earlier build.
pub(super) struct Earlier {
    pub(super) build: ExplainedBuild,
    /// For each step of the build that is explained its counterpart here.
    pub(super) counterparts: Vec<Option<usize>>,
    /// Whether it was of the same context.
    pub(super) is_here: bool,
}

/// What an earlier run of a step was made of.
#[derive(Clone)]
pub(super) struct EarlierRun {
    pub(super) inputs: Vec<Input>,
    pub(super) effects: String,
}

/// The earlier builds, and what is known of their steps.
pub(super) struct History<'a> {
    store: &'a Store,
    /// The stages of the build that is explained.
    stages: Vec<String>,
    waiting: Vec<(Build, bool)>,
    read: Vec<Earlier>,
    runs: HashMap<Key, Option<EarlierRun>>,
}

impl<'a> History<'a> {
    /// The builds before `now`.
    pub(super) fn new(store: &'a Store, now: &ExplainedBuild) -> Result<Self, kiln_store::Error> {
        let here = store.builds().of(&now.dockerfile, &now.context, LOOKED_AT)?;
        let elsewhere = store.builds().elsewhere(&now.dockerfile, &now.context, LOOKED_AT)?;
        let mut waiting: Vec<(Build, bool)> = here.into_iter().map(|build| (build, true)).collect();
        waiting.extend(elsewhere.into_iter().map(|build| (build, false)));
        waiting.reverse();
        Ok(History { store, stages: now.stages.clone(), waiting, read: Vec::new(), runs: HashMap::new() })
    }

    /// The earlier build at a place, from 0; those that cannot be read are left out.
    pub(super) fn at(&mut self, place: usize, now: &[ExplainedStep]) -> Option<&Earlier> {
        while self.read.len() <= place {
            let (build, is_here) = self.waiting.pop()?;
            let Ok(build) = serde_json::from_str::<ExplainedBuild>(&build.document) else { continue };
            let counterparts = align((now, &self.stages), (&build.steps, &build.stages));
            self.read.push(Earlier { build, counterparts, is_here });
        }
        self.read.get(place)
    }

    /// An earlier build that was read before.
    pub(super) fn known(&self, place: usize) -> &Earlier {
        &self.read[place]
    }

    /// An earlier build, if it was read before.
    pub(super) fn read_at(&self, place: usize) -> Option<&Earlier> {
        self.read.get(place)
    }

    /// What the run of a key was made of; of records that were deleted too.
    pub(super) fn run(&mut self, key: &str) -> Option<EarlierRun> {
        let key = parsed(key)?;
        if let Some(known) = self.runs.get(&key) {
            return known.clone();
        }
        let found = self.look_up(&key);
        self.runs.insert(key, found.clone());
        found
    }

    fn look_up(&self, key: &Key) -> Option<EarlierRun> {
        if let Some(record) = self.store.records().known(key).ok().flatten() {
            return Some(EarlierRun { inputs: record.inputs, effects: record.effects });
        }
        let evicted = self.store.evictions().find(key).ok().flatten()?;
        Some(EarlierRun { inputs: evicted.inputs, effects: evicted.effects })
    }
}

impl Earlier {
    /// How a step of it is told of.
    pub(super) fn told(&self, step: usize) -> ComparedWith {
        ComparedWith {
            build: self.build.id.clone(),
            started: self.build.started.clone(),
            images: self.build.images.clone(),
            context: self.build.context.clone(),
            step: self.build.steps[step].position.name.clone(),
        }
    }
}

/// A key from its hexadecimal form.
pub(super) fn parsed(text: &str) -> Option<Key> {
    let mut key = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (place, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(Key(key))
}
