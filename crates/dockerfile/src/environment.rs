//! Variables in the order in which they were last set. A copy shares what is there; what is set afterwards is
//! its own.

use std::collections::HashMap;
use std::sync::Arc;

use kiln_graph::Variables as Settings;

use crate::shell::Variables;

/// Settings that were set over before they are cleared away, beside as many as there are variables.
const STALE_SETTINGS: usize = 64;

/// Names and values; setting a name moves it to the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    values: Arc<HashMap<String, String>>,
    settings: Settings,
    /// How many settings `settings` holds, those that were set over included.
    settled: usize,
}

impl Environment {
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let values = Arc::make_mut(&mut self.values);
        match values.get_mut(name) {
            Some(known) => value.clone_into(known),
            None => drop(values.insert(name.to_owned(), value.to_owned())),
        }
        self.settings.set(name, value);
        self.settled += 1;
        if self.settled > 2 * self.values.len() + STALE_SETTINGS {
            self.forget_stale_settings();
        }
    }

    fn forget_stale_settings(&mut self) {
        let mut settings = Settings::default();
        for (name, value) in &self.settings {
            settings.set(name, value);
        }
        self.settled = self.values.len();
        self.settings = settings;
    }

    /// The variables in order, to be kept: a copy costs nothing.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// `NAME=value` for a process.
    pub(crate) fn entries(&self) -> Vec<String> {
        self.settings.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

impl Variables for Environment {
    fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_last_stands_last_however_often() {
        let mut environment = Environment::default();
        for round in 0..1000 {
            environment.set("a", &round.to_string());
            environment.set("b", "x");
        }
        let mut copy = environment.clone();
        copy.set("a", "own");
        assert_eq!(environment.entries(), ["a=999", "b=x"]);
        assert_eq!(copy.entries(), ["b=x", "a=own"]);
        assert_eq!((environment.value("a"), copy.value("a"), copy.value("c")), (Some("999"), Some("own"), None));
    }
}
