//! Names and ids of containers and volumes.

use crate::Error;
use crate::words::{PEOPLE, QUALITIES};

/// 64 random hexadecimal digits, never only decimal ones in the first twelve: a short id must not
/// read as a number.
pub(crate) fn id() -> Result<String, Error> {
    loop {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(Error::Random)?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if id.bytes().take(12).any(|b| b.is_ascii_alphabetic()) {
            return Ok(id);
        }
    }
}

/// A name such as `nimble_hopper`; from the second `attempt` on with a digit behind it.
pub(crate) fn generated(attempt: u32) -> Result<String, Error> {
    let mut bytes = [0; 3];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    let [quality, person, digit] = bytes.map(usize::from);
    let name = format!("{}_{}", QUALITIES[quality % QUALITIES.len()], PEOPLE[person % PEOPLE.len()]);
    Ok(if attempt == 0 { name } else { format!("{name}{}", digit % 10) })
}

/// The name without a leading slash, if it is one: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub(crate) fn checked(name: &str) -> Result<&str, Error> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    if is_name(bare) { Ok(bare) } else { Err(Error::InvalidName(name.into())) }
}

/// Whether containers and volumes can be called so.
pub(crate) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.len() >= 2
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_and_ids_are_valid() {
        for attempt in 0..200 {
            assert!(is_name(&generated(attempt).unwrap()));
        }
        assert_eq!(id().unwrap().len(), 64);
    }

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for bad in ["a", "", "/", "..", ".ab", "bad/name", "-ab", "a b", "ä2"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
        assert_eq!(checked("/web-1").unwrap(), "web-1");
        assert_eq!(
            checked("bad/name").unwrap_err().to_string(),
            "Invalid container name (bad/name), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        );
    }
}
