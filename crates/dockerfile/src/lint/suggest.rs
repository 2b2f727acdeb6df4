//! What was perhaps meant by the name of a variable.

/// More changes than this, and the names have nothing to do with each other.
const MOST_CHANGES: usize = 2;

/// The first of the names that are closest to `name`. Case counts.
pub(super) fn closest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best = None;
    for candidate in names {
        let changes = strsim::levenshtein(name, candidate);
        if changes == 0 {
            return None;
        }
        if changes <= MOST_CHANGES && best.is_none_or(|(least, _)| changes < least) {
            best = Some((changes, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}
