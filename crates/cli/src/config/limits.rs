//! `[limits]`: how much one archive may unpack to; `KILN_LIMITS` wins over it.

use kiln_images::unpack::Limits;
use serde_json::{Map, Value, json};

use super::read::{Key, Of, Result, bytes, unknown, whole_number};
use super::said;
use crate::failure::Failure;
use crate::size;

const KEYS: [&str; 3] = ["layer-size", "layer-expansion", "layer-entries"];
const VARIABLE: &str = "KILN_LIMITS";

/// What the files say; what they do not say is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct LimitsConfig {
    /// `layer-size`: bytes of a layer's archive and files.
    size: Option<u64>,
    /// `layer-expansion`: how many times its compressed size a large layer may have.
    expansion: Option<u64>,
    /// `layer-entries`: files, directories and so on of a layer.
    entries: Option<u64>,
}

impl LimitsConfig {
    /// Takes a key of the file.
    pub(super) fn take(&mut self, key: &Key<'_>, value: &Of<'_>) -> Result<()> {
        match key.get_ref().as_ref() {
            "layer-size" => self.size = Some(bytes(value)?),
            "layer-expansion" => self.expansion = Some(whole_number(value)?),
            "layer-entries" => self.entries = Some(whole_number(value)?),
            _ => return Err(unknown(key, Some("limits"), &KEYS)),
        }
        Ok(())
    }

    /// As `info` shows it.
    pub(super) fn shown(self) -> Map<String, Value> {
        said([
            ("layer-size", json!(self.size)),
            ("layer-expansion", json!(self.expansion)),
            ("layer-entries", json!(self.entries)),
        ])
    }

    /// Makes these the limits of this process, with what the environment says instead.
    ///
    /// # Errors
    /// A variable that makes no sense.
    pub(crate) fn settle(mut self) -> std::result::Result<(), Failure> {
        if let Some(text) = std::env::var_os(VARIABLE) {
            let text = text.to_string_lossy();
            self.override_by(&text).map_err(|problem| Failure::new(format!("ERROR: {VARIABLE}={text}: {problem}")))?;
        }
        let usual = Limits::default();
        let limits = Limits {
            size: self.size.unwrap_or(usual.size),
            expansion: self.expansion.unwrap_or(usual.expansion),
            entries: self.entries.unwrap_or(usual.entries),
        };
        limits.settle();
        Ok(())
    }

    /// `layer-size=1GB,layer-entries=1000`.
    fn override_by(&mut self, text: &str) -> std::result::Result<(), String> {
        for assignment in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) =
                assignment.split_once('=').ok_or("it is a list such as layer-size=1GB,layer-entries=1000")?;
            let number = || value.parse().map_err(|_| format!("{key} is a whole number, not {value:?}"));
            match key {
                "layer-size" => self.size = Some(size::parse(value)?),
                "layer-expansion" => self.expansion = Some(number()?),
                "layer-entries" => self.entries = Some(number()?),
                _ => return Err(format!("there is no {key:?}; there are {}", KEYS.join(", "))),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_the_file() {
        let mut limits = LimitsConfig { size: Some(5), entries: Some(6), expansion: None };
        limits.override_by("layer-size=2GB, layer-expansion=7").unwrap();
        assert_eq!(limits, LimitsConfig { size: Some(2 << 30), entries: Some(6), expansion: Some(7) });
        for (wrong, word) in [("layer-size", "list"), ("layer-entries=many", "many"), ("size=1", "layer-size")] {
            let problem = limits.override_by(wrong).unwrap_err();
            assert!(problem.contains(word), "{problem}");
        }
    }
}
