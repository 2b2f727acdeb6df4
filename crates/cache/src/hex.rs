//! 32 bytes as 64 hexadecimal digits in documents.

use serde::{Deserialize, Deserializer, Serializer};

/// The digits of `bytes`.
pub(crate) fn text(bytes: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*bytes).to_hex().to_string()
}

/// The bytes that `text` spells, lower case only.
pub(crate) fn bytes(text: &str) -> Option<[u8; 32]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    blake3::Hash::from_hex(text).ok().map(|hash| *hash.as_bytes())
}

/// Something that 32 bytes are.
pub(crate) trait Bytes32: Copy {
    fn of(bytes: [u8; 32]) -> Self;
    fn raw(self) -> [u8; 32];
}

impl Bytes32 for [u8; 32] {
    fn of(bytes: [u8; 32]) -> Self {
        bytes
    }
    fn raw(self) -> [u8; 32] {
        self
    }
}

impl Bytes32 for kiln_store::Key {
    fn of(bytes: [u8; 32]) -> Self {
        kiln_store::Key(bytes)
    }
    fn raw(self) -> [u8; 32] {
        self.0
    }
}

fn parsed<T: Bytes32, E: serde::de::Error>(text: &str) -> Result<T, E> {
    bytes(text).map(T::of).ok_or_else(|| E::custom(format!("not 64 hexadecimal digits: {text:?}")))
}

/// One value.
pub(crate) mod one {
    use super::*;

    pub(crate) fn serialize<T: Bytes32, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(&value.raw()))
    }

    pub(crate) fn deserialize<'de, T: Bytes32, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        parsed(&<std::borrow::Cow<'de, str>>::deserialize(deserializer)?)
    }
}

/// A value that may be missing.
pub(crate) mod optional {
    use super::*;

    pub(crate) fn serialize<T: Bytes32, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_some(&text(&value.raw())),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T: Bytes32, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        Option::<String>::deserialize(deserializer)?.as_deref().map(parsed).transpose()
    }
}

/// Several values.
pub(crate) mod list {
    use super::*;

    pub(crate) fn serialize<T: Bytes32, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| text(&value.raw())))
    }

    pub(crate) fn deserialize<'de, T: Bytes32, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
        Vec::<String>::deserialize(deserializer)?.iter().map(|text| parsed(text)).collect()
    }
}
