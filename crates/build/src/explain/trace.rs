//! What becomes known of steps while a build runs. Notes only, decides nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kiln_graph::VertexId;
use kiln_solver::How;
use kiln_store::{Evicted, Input, Key, Record};

use crate::step::Made;

/// Notes about the steps of one build.
#[derive(Default)]
pub(crate) struct Trace(Mutex<HashMap<VertexId, Traced>>);

/// What is known of one step.
#[derive(Clone, Default)]
pub(crate) struct Traced {
    /// Its recipe key, as it was before it ran.
    pub(super) identified: Option<Key>,
    /// Its recipe key in the end.
    pub(super) recipe: Option<Key>,
    pub(super) ended: Option<Ended>,
    /// Whether it waited for another build that ran it.
    pub(super) waited: bool,
    pub(super) ran: Option<Ran>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its result, or one above it, was there under the recipe key.
    HitByRecipe,
    /// Its result was there for inputs of the same content.
    HitByContent,
    /// It ran.
    Executed,
    /// It ran, and failed.
    Failed,
}

impl From<How> for Ended {
    fn from(how: How) -> Self {
        match how {
            How::HitByRecipe => Ended::HitByRecipe,
            How::HitByContent => Ended::HitByContent,
            How::Executed => Ended::Executed,
        }
    }
}

/// A step that ran to its end.
#[derive(Clone)]
pub(crate) struct Ran {
    /// What it is made of.
    pub(crate) named: Vec<Input>,
    /// What it worked on.
    pub(crate) inputs: Vec<Made>,
    /// Whether its result is new to the records.
    pub(crate) anew: bool,
    /// What was recorded under its key before, whether or not its layers are there.
    pub(crate) before: Option<Record>,
    /// Whether what was recorded before was usable.
    pub(crate) usable: bool,
    /// What had been recorded under its key and was deleted.
    pub(crate) evicted: Option<Evicted>,
}

impl Trace {
    /// The recipe key is known.
    pub(crate) fn identified(&self, id: VertexId, key: Option<&Key>) {
        self.note(id, |step| step.identified = key.copied());
    }

    /// Another build runs the step.
    pub(crate) fn waited(&self, id: VertexId) {
        self.note(id, |step| step.waited = true);
    }

    /// It ran.
    pub(crate) fn ran(&self, id: VertexId, ran: Ran) {
        self.note(id, |step| step.ran = Some(ran));
    }

    /// It has ended; the first end counts. `recipe` is the key of its result.
    pub(crate) fn ended(&self, id: VertexId, ended: Ended, recipe: Option<&Key>) {
        self.note(id, |step| {
            step.ended.get_or_insert(ended);
            step.recipe = recipe.copied().or(step.recipe);
        });
    }

    /// What is known of a step.
    pub(super) fn of(&self, id: VertexId) -> Traced {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned().unwrap_or_default()
    }

    fn note(&self, id: VertexId, change: impl FnOnce(&mut Traced)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default());
    }
}
