//! The content of a small file that the graph itself holds.

use std::fmt;

use serde::{Serialize, Serializer};

/// Any bytes; they are mostly text.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Content(pub Vec<u8>);

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Content(text.as_bytes().to_vec())
    }
}

impl Serialize for Content {
    /// Text as a string, other bytes as a list of numbers.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => self.0.serialize(serializer),
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_differ_are_written_differently() {
        let written = |bytes: &[u8]| serde_json::to_string(&Content(bytes.to_vec())).unwrap();
        assert_eq!(written(b"caf\xc3\xa9"), "\"café\"");
        assert_eq!(written(b"\xff"), "[255]");
        assert_ne!(written(b"\xff"), written("\u{fffd}".as_bytes()));
    }
}
