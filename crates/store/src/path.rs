//! Paths inside layers: normal form and order. Knows no files.

use std::cmp::Ordering;

use crate::error::{Error, Result, shown};

/// Longest path that the kernel takes, without the final NUL.
pub(crate) const LONGEST: usize = 4095;

/// Relative, no empty, `.` or `..` components, no slash at either end; the root is empty.
pub(crate) fn normal(path: &[u8]) -> Result<Vec<u8>> {
    let bad = |reason| Error::BadPath { path: shown(path), reason };
    let mut result = Vec::with_capacity(path.len());
    for component in components(path) {
        match component {
            b".." => return Err(bad("it contains `..`")),
            _ if component.contains(&0) => return Err(bad("it contains a NUL byte")),
            _ if component.len() > 255 => return Err(bad("a name in it has more than 255 bytes")),
            _ => push(&mut result, component),
        }
    }
    if result.len() > LONGEST {
        return Err(bad("it has more than 4095 bytes"));
    }
    Ok(result)
}

/// The components that mean something: `.` and empty ones do not.
pub(crate) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// Appends a component.
pub(crate) fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// `directory/name`.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    push(&mut path, name);
    path
}

/// Parent and name of a path in normal form; of the root, two empty slices.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// All proper ancestors of a path in normal form, the root first.
pub(crate) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let root = (!path.is_empty()).then_some(&path[..0]);
    let others = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/');
    root.into_iter().chain(others.map(move |(slash, _)| &path[..slash]))
}

/// Component by component: a directory comes right before everything below it.
pub(crate) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let weight = |byte: u8| if byte == b'/' { 0 } else { byte };
    match a.iter().zip(b).find(|(x, y)| x != y) {
        Some((&x, &y)) => weight(x).cmp(&weight(y)),
        None => a.len().cmp(&b.len()),
    }
}

/// Whether `path` is `directory` or below it.
pub(crate) fn is_within(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_form_drops_what_means_nothing() {
        assert_eq!(normal(b"/usr//./bin/").unwrap(), b"usr/bin");
        assert_eq!(normal(b"/").unwrap(), b"");
    }

    #[test]
    fn hostile_paths_are_refused() {
        for path in [&b"../etc"[..], b"a/../../b", b"a\0b", &[b'x'; 256], &b"ab/".repeat(2000)] {
            assert!(matches!(normal(path), Err(Error::BadPath { .. })), "{}", shown(path));
        }
    }

    #[test]
    fn a_directory_precedes_its_content_and_that_its_siblings() {
        let mut paths: Vec<&[u8]> = vec![b"a-b", b"a/b", b"b", b"a", b"a/b/c", b"", b"a.d/x"];
        paths.sort_by(|a, b| compare(a, b));
        assert_eq!(paths, [&b""[..], b"a", b"a/b", b"a/b/c", b"a-b", b"a.d/x", b"b"]);
    }

    #[test]
    fn ancestors_start_at_the_root() {
        assert_eq!(ancestors(b"a/b/c").collect::<Vec<_>>(), [&b""[..], b"a", b"a/b"]);
        assert_eq!(ancestors(b"").count(), 0);
    }
}
