//! A list of words that grows by text: split at blanks, or as it is.

/// Collects words split at blanks.
#[derive(Clone)]
pub(super) struct Words {
    wanted: bool,
    done: Vec<String>,
    /// The word that is not done yet.
    pub(super) current: String,
}

impl Default for Words {
    fn default() -> Self {
        Words { wanted: true, done: Vec::new(), current: String::new() }
    }
}

impl Words {
    /// Collects nothing.
    pub(super) fn not_wanted() -> Words {
        Words { wanted: false, ..Words::default() }
    }

    pub(super) fn add(&mut self, text: &str) {
        if !self.wanted {
            return;
        }
        let mut rest = text;
        while let Some(blank) = rest.find(char::is_whitespace) {
            self.current.push_str(&rest[..blank]);
            if !self.current.is_empty() {
                self.done.push(std::mem::take(&mut self.current));
            }
            rest = rest[blank..].trim_start();
        }
        self.current.push_str(rest);
    }

    pub(super) fn add_raw(&mut self, text: &str) {
        if self.wanted {
            self.current.push_str(text);
        }
    }

    pub(super) fn finish(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.done.push(self.current);
        }
        self.done
    }
}
