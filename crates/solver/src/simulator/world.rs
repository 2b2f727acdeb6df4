//! The simulated world: what keys, records, values and other processes are in a schedule.
//!
//! A value is the number of a row that says which op made it from which values, so that a check can
//! tell whether a vertex got what its inputs make.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

pub(super) type Key = u64;
pub(super) type Value = usize;

/// Splitmix64: the same seed gives the same schedule everywhere.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(super) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// What runs a vertex; its number says how it behaves, differently in each schedule.
pub(super) type Op = u64;

/// Something that one execution at a time may have, in any process.
pub(super) type Resource = usize;

/// How many resources there are.
const RESOURCES: usize = 2;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nature {
    /// Only has a recipe key after it ran.
    pub(super) provisional: bool,
    /// Always fails.
    pub(super) fails: bool,
    /// Makes something else each time it runs.
    pub(super) volatile: bool,
    /// Makes the same whatever its inputs are.
    pub(super) constant: bool,
    /// Its recipe key may have moved by the time that it ran.
    pub(super) drifts: bool,
    /// What it must have for itself while it runs.
    pub(super) claims: Option<Resource>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) op: Op,
    pub(super) inputs: Vec<Value>,
    nonce: u64,
}

#[derive(Default)]
pub(super) struct World {
    pub(super) natures: Vec<Nature>,
    pub(super) rows: Vec<Row>,
    numbers: BTreeMap<Row, Value>,
    nonces: u64,
    /// Recipe keys, and the lock keys of provisional vertices: the op and its inputs' recipes.
    meanings: BTreeMap<Key, (Op, Vec<Key>)>,
    pub(super) by_recipe: BTreeMap<Key, Value>,
    pub(super) by_content: BTreeMap<(Op, Vec<Value>), (Key, Value)>,
    /// The keys that any vertex has been identified by, which are those that are ever locked.
    pub(super) lockable: BTreeSet<Key>,
    pub(super) locked_by_others: BTreeSet<Key>,
    pub(super) claimed_by_others: BTreeSet<Resource>,
}

fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

impl World {
    pub(super) fn new(random: &mut Random, ops: usize) -> World {
        let natures = (0..ops)
            .map(|_| Nature {
                provisional: random.percent(20),
                fails: random.percent(8),
                volatile: random.percent(20),
                constant: random.percent(20),
                drifts: random.percent(10),
                claims: random.percent(40).then(|| random.below(RESOURCES)),
            })
            .collect();
        World { natures, ..World::default() }
    }

    pub(super) fn nature(&self, op: Op) -> Nature {
        self.natures[op as usize]
    }

    pub(super) fn recipe(&mut self, op: Op, inputs: &[Key]) -> Key {
        self.name(hash(("recipe", op, inputs)), op, inputs)
    }

    pub(super) fn lock_key(&mut self, op: Op, inputs: &[Key]) -> Key {
        self.name(hash(("lock", op, inputs)), op, inputs)
    }

    fn name(&mut self, key: Key, op: Op, inputs: &[Key]) -> Key {
        self.meanings.insert(key, (op, inputs.to_vec()));
        key
    }

    /// The recipe key under which an execution records: where the op drifts, sometimes another.
    fn recipe_after(&mut self, op: Op, inputs: &[Key], random: &mut Random) -> Key {
        if self.nature(op).drifts && random.percent(50) {
            let key = hash(("moved", op, inputs, random.below(3)));
            return self.name(key, op, inputs);
        }
        self.recipe(op, inputs)
    }

    /// Runs an op and records what it made: recipe key, value, and whether that is new.
    pub(super) fn execute(&mut self, key: Key, inputs: Vec<Value>, random: &mut Random) -> (Key, Value, bool) {
        let (op, from) = self.meanings[&key].clone();
        let recipe = self.recipe_after(op, &from, random);
        let nature = self.nature(op);
        if nature.provisional
            && let Some(value) = self.by_recipe.get(&recipe)
            && self.rows[*value].inputs == inputs
        {
            return (recipe, *value, false);
        }
        let value = self.evaluate(op, inputs.clone());
        self.by_recipe.insert(recipe, value);
        self.by_content.insert((op, inputs), (recipe, value));
        (recipe, value, true)
    }

    /// What an op makes of values.
    pub(super) fn evaluate(&mut self, op: Op, inputs: Vec<Value>) -> Value {
        let nature = self.nature(op);
        let inputs = if nature.constant { Vec::new() } else { inputs };
        let nonce = if nature.volatile {
            self.nonces += 1;
            self.nonces
        } else {
            0
        };
        let row = Row { op, inputs, nonce };
        if let Some(value) = self.numbers.get(&row) {
            return *value;
        }
        self.rows.push(row.clone());
        self.numbers.insert(row, self.rows.len() - 1);
        self.rows.len() - 1
    }

    /// Whether `value` is what `op` makes of `inputs`.
    pub(super) fn is_made_of(&self, value: Value, op: Op, inputs: &[Value]) -> bool {
        let row = &self.rows[value];
        row.op == op && (self.nature(op).constant || row.inputs == inputs)
    }

    /// Another process makes what `key` names, unless something below fails.
    pub(super) fn execute_elsewhere(&mut self, key: Key, random: &mut Random) {
        let (op, from) = self.meanings[&key].clone();
        let inputs: Option<Vec<Value>> = from.iter().map(|input| self.by_recipe.get(input).copied()).collect();
        if let Some(inputs) = inputs
            && !self.nature(op).fails
            && !self.by_recipe.contains_key(&key)
        {
            self.execute(key, inputs, random);
        }
    }

    /// A record is pruned.
    pub(super) fn lose_a_record(&mut self, random: &mut Random) {
        if !self.by_recipe.is_empty() {
            let lost = random.below(self.by_recipe.len());
            let recipe = self.by_recipe.keys().nth(lost).copied();
            self.by_recipe.retain(|key, _| Some(*key) != recipe);
            self.by_content.retain(|_, (key, _)| Some(*key) != recipe);
        }
    }

    /// Whether two keys are of the same op on inputs of the same recipes.
    pub(super) fn mean_the_same(&self, one: Key, other: Key) -> bool {
        self.meanings.get(&one) == self.meanings.get(&other)
    }
}
