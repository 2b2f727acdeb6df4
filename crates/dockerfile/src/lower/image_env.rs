//! The Env list of an image's config: each name keeps its first place, whatever is set later.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// `NAME=value` entries and where each name stands.
#[derive(Clone, Debug, Default)]
pub(super) struct ImageEnv {
    entries: Vec<String>,
    places: HashMap<String, usize>,
}

impl ImageEnv {
    /// Takes over the list of a base image as it is.
    pub(super) fn of_base(entries: Vec<String>) -> ImageEnv {
        let mut places = HashMap::new();
        for (place, entry) in entries.iter().enumerate() {
            places.entry(split(entry).0.to_owned()).or_insert(place);
        }
        ImageEnv { entries, places }
    }

    /// Sets a variable; true if it was there already.
    pub(super) fn set(&mut self, name: &str, value: &str) -> bool {
        let entry = format!("{name}={value}");
        match self.places.entry(name.to_owned()) {
            Entry::Occupied(place) => {
                self.entries[*place.get()] = entry;
                true
            }
            Entry::Vacant(place) => {
                place.insert(self.entries.len());
                self.entries.push(entry);
                false
            }
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Names and values in order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| split(entry))
    }

    pub(super) fn into_entries(self) -> Vec<String> {
        self.entries
    }
}

fn split(entry: &str) -> (&str, &str) {
    entry.split_once('=').unwrap_or((entry, ""))
}
