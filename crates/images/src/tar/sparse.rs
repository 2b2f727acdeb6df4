//! Sparse files in GNU's spellings: which parts of a file the archive holds, the rest is zeros.

use super::number;
use super::pax::{Effective, parse_decimal};

/// More segments than any real sparse file has; bounds what a hostile map makes us keep.
pub(super) const MAX_SEGMENTS: usize = 1 << 18;

/// A run of bytes that the archive holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where the run begins in the file.
    pub(super) offset: u64,
    /// Length of the run in bytes.
    pub(super) length: u64,
}

/// The four segment slots of an old GNU header or the 21 of its continuation, up to the first
/// empty one. `None` if a number is malformed.
pub(super) fn parse_slots(slots: &[u8]) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    for slot in slots.chunks_exact(24) {
        let (offset, length) = slot.split_at(12);
        if offset.first() == Some(&0) {
            break;
        }
        segments.push(Segment {
            offset: u64::try_from(number::parse(offset)?).ok()?,
            length: u64::try_from(number::parse(length)?).ok()?,
        });
    }
    Some(segments)
}

/// The map that PAX records of the formats 0.0 and 0.1 carry, if there is one.
/// The inner `None` says that it is malformed.
pub(super) fn from_records(records: Effective<'_>) -> Option<Option<Vec<Segment>>> {
    if let Some(map) = records.get(b"GNU.sparse.map") {
        let numbers: Option<Vec<u64>> = map.split(|&byte| byte == b',').map(parse_decimal).collect();
        return Some(numbers.and_then(|numbers| pair_up(&numbers)));
    }
    let pairs = records.own.sparse_pairs();
    if pairs.is_empty() {
        return None;
    }
    let numbers: Option<Vec<u64>> = pairs.iter().map(|text| parse_decimal(text)).collect();
    Some(numbers.and_then(|numbers| pair_up(&numbers)))
}

/// Offsets and lengths, alternating, as segments.
pub(super) fn pair_up(numbers: &[u64]) -> Option<Vec<Segment>> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    (rest.is_empty() && pairs.len() <= MAX_SEGMENTS)
        .then(|| pairs.iter().map(|&[offset, length]| Segment { offset, length }).collect())
}

/// Checks that segments ascend without overlap, end within `size`, and add up to `stored`.
pub(super) fn is_consistent(segments: &[Segment], size: u64, stored: u64) -> bool {
    let mut end = 0_u64;
    let mut total = 0_u64;
    for segment in segments {
        let Some(next) = segment.offset.checked_add(segment.length) else {
            return false;
        };
        if segment.offset < end || next > size {
            return false;
        }
        end = next;
        total += segment.length;
    }
    total == stored
}
