//! Paths of archives made safe: split, cleaned, and held within their root. Pure functions.

use super::{UnpackError, shown};

/// The longest name that a directory can hold, in bytes.
const LONGEST_NAME: usize = 255;

/// What happens to a path that climbs above its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Climbing {
    /// It is an error: no honest layer has it.
    Refused,
    /// It stops at the root, as in a chroot.
    Clamped,
}

/// The path without leading slash, empty parts, `.` and `..`; empty for the root itself.
pub(super) fn clean(path: &[u8], climbing: Climbing) -> Result<Vec<u8>, UnpackError> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() && climbing == Climbing::Refused {
                    return Err(UnpackError::Escapes { path: shown(path) });
                }
            }
            name if name.len() > LONGEST_NAME => {
                let reason = "a part of its path is longer than 255 bytes";
                return Err(UnpackError::BadName { path: shown(path), reason });
            }
            name => parts.push(name),
        }
    }
    Ok(parts.join(&b'/'))
}

/// What an entry's name asks for, apart from its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// An entry of its own.
    Plain(Vec<u8>),
    /// Delete what lower layers have under this path.
    Whiteout(Vec<u8>),
    /// Hide everything that lower layers have in this directory.
    Opaque(Vec<u8>),
    /// Book-keeping of AUFS, which means nothing in a layer.
    Ignored,
}

/// Tells whiteouts from entries by the last part of a clean path.
pub(super) fn classify(path: Vec<u8>) -> Result<Name, UnpackError> {
    let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash + 1..).unwrap_or_default()),
        None => (&[] as &[u8], path.as_slice()),
    };
    let Some(hidden) = name.strip_prefix(b".wh.") else {
        return Ok(Name::Plain(path));
    };
    match hidden {
        b".wh..opq" => Ok(Name::Opaque(parent.to_vec())),
        _ if hidden.starts_with(b".wh.") => Ok(Name::Ignored),
        b"" | b"." | b".." => {
            let reason = "a whiteout must name what it deletes";
            Err(UnpackError::BadName { path: shown(&path), reason })
        }
        _ => Ok(Name::Whiteout(join(parent, hidden))),
    }
}

/// `parent/name`, or `name` alone in the root.
pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match (parent.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (false, true) => parent.to_vec(),
        (false, false) => [parent, b"/", name].concat(),
    }
}

/// Every proper parent of a clean path, the topmost first, without the root.
pub(super) fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.filter_map(|(at, _)| path.get(..at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(path: &str, climbing: Climbing) -> Result<String, String> {
        clean(path.as_bytes(), climbing).map(|path| String::from_utf8(path).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn paths_stay_beneath_the_root() {
        for climbing in [Climbing::Refused, Climbing::Clamped] {
            for (path, expected) in [("/a//b/", "a/b"), ("./a/../b", "b"), (".", ""), ("///", ""), ("a/./..", "")] {
                assert_eq!(cleaned(path, climbing).as_deref(), Ok(expected), "{path}");
            }
        }
        for (path, clamped) in [("../up", "up"), ("a/../../b", "b"), ("/../..", "")] {
            assert_eq!(cleaned(path, Climbing::Clamped).as_deref(), Ok(clamped));
            let refused = cleaned(path, Climbing::Refused).unwrap_err();
            assert!(refused.contains("leads out of") && refused.contains(path), "{refused}");
        }
        assert!(cleaned(&"n".repeat(255), Climbing::Refused).is_ok());
        assert!(cleaned(&"n".repeat(256), Climbing::Refused).unwrap_err().contains("255 bytes"));
    }

    #[test]
    fn whiteouts_are_told_by_name() {
        let name = |path: &str| classify(path.as_bytes().to_vec()).unwrap();
        assert_eq!(name("a/.wh.b"), Name::Whiteout(b"a/b".to_vec()));
        assert_eq!(name(".wh.b"), Name::Whiteout(b"b".to_vec()));
        assert_eq!(name("a/.wh..wh..opq"), Name::Opaque(b"a".to_vec()));
        assert_eq!(name(".wh..wh..opq"), Name::Opaque(b"".to_vec()));
        assert_eq!(name("a/.wh..wh.plnk"), Name::Ignored);
        assert_eq!(name("a.wh.b"), Name::Plain(b"a.wh.b".to_vec()));
        for path in ["a/.wh.", ".wh..", ".wh..."] {
            assert!(classify(path.as_bytes().to_vec()).is_err(), "{path}");
        }
    }
}
