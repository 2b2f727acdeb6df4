//! PAX extended headers: `LENGTH KEY=VALUE\n` records, read and written.

use std::collections::BTreeMap;

use kiln_store::Xattrs;

/// The records of one extended header. Cheap to look up whatever their number.
#[derive(Clone, Debug, Default)]
pub(super) struct PaxRecords {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The records of GNU's first sparse format, the only ones that repeat, in their order.
    sparse: Vec<Vec<u8>>,
}

impl PaxRecords {
    /// Parses the payload of an extended header. `None` if a record is malformed.
    pub(super) fn parse(mut payload: &[u8]) -> Option<PaxRecords> {
        let mut records = PaxRecords::default();
        while payload.iter().any(|&byte| byte != 0) {
            let (record, rest) = split_record(payload)?;
            let equals = record.iter().position(|&byte| byte == b'=')?;
            let (key, value) = (record.get(..equals)?, record.get(equals + 1..)?);
            if key.is_empty() {
                return None;
            }
            if key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes" {
                records.sparse.push(value.to_vec());
            } else {
                records.values.insert(key.to_vec(), value.to_vec());
            }
            payload = rest;
        }
        Some(records)
    }

    /// Adds the records of a later global header; they replace older ones of the same key.
    pub(super) fn extend(&mut self, later: PaxRecords) {
        self.values.extend(later.values);
    }

    /// Offsets and lengths of GNU's first sparse format, alternating.
    pub(super) fn sparse_pairs(&self) -> &[Vec<u8>] {
        &self.sparse
    }
}

/// What holds for one entry: its own extended header over the archive's global one.
#[derive(Clone, Copy)]
pub(super) struct Effective<'a> {
    /// The entry's own records.
    pub(super) own: &'a PaxRecords,
    /// Records of the global headers so far.
    pub(super) global: &'a PaxRecords,
}

impl<'a> Effective<'a> {
    /// The value of `key`; an empty value takes the key back, so it counts as absent.
    pub(super) fn get(self, key: &[u8]) -> Option<&'a [u8]> {
        let value = self.own.values.get(key).or_else(|| self.global.values.get(key))?;
        (!value.is_empty()).then_some(value.as_slice())
    }

    /// The extended attributes.
    pub(super) fn xattrs(self) -> Xattrs {
        const PREFIX: &[u8] = b"SCHILY.xattr.";
        let mut found = Xattrs::new();
        for records in [self.global, self.own] {
            for (key, value) in records.values.range(PREFIX.to_vec()..) {
                match key.strip_prefix(PREFIX) {
                    Some(name) => found.insert(name.to_vec(), value.clone()),
                    None => break,
                };
            }
        }
        found
    }
}

/// The first record without its length and newline, and what follows it.
fn split_record(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = payload.iter().take(20).position(|&byte| byte == b' ')?;
    let length = usize::try_from(parse_decimal(payload.get(..space)?)?).ok()?;
    let record = payload.get(space + 1..length)?;
    let (newline, record) = record.split_last()?;
    (*newline == b'\n').then_some((record, payload.get(length..)?))
}

/// A decimal number without sign.
pub(super) fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A PAX time: decimal seconds with an optional sign and fraction.
pub(super) fn parse_time(text: &[u8]) -> Option<kiln_store::Timestamp> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let mut parts = digits.splitn(2, |&byte| byte == b'.');
    let whole = i64::try_from(parse_decimal(parts.next()?)?).ok()?;
    let nanoseconds = parse_fraction(parts.next().unwrap_or_default())?;
    let time = match (negative, nanoseconds) {
        (false, nanoseconds) => (whole, nanoseconds),
        (true, 0) => (-whole, 0),
        (true, nanoseconds) => (-whole - 1, 1_000_000_000 - nanoseconds),
    };
    Some(kiln_store::Timestamp { seconds: time.0, nanoseconds: time.1 })
}

/// Digits after the decimal point as nanoseconds; more than nine are cut off.
fn parse_fraction(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |place: usize| digits.get(place).map_or(0, |byte| u32::from(byte - b'0'));
    Some((0..9).fold(0, |value, place| value * 10 + digit(place)))
}

/// Appends one record to `payload`.
pub(super) fn write_record(payload: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + decimal_width(rest);
    if rest + decimal_width(length) != length {
        length = rest + decimal_width(length);
    }
    payload.extend_from_slice(length.to_string().as_bytes());
    payload.push(b' ');
    payload.extend_from_slice(key);
    payload.push(b'=');
    payload.extend_from_slice(value);
    payload.push(b'\n');
}

fn decimal_width(value: usize) -> usize {
    value.checked_ilog10().unwrap_or(0) as usize + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_at_every_length() {
        for length in 1..1100 {
            let value = vec![b'\n'; length];
            let mut payload = Vec::new();
            write_record(&mut payload, b"path", &value);
            write_record(&mut payload, b"size", b"1");
            let records = PaxRecords::parse(&payload).unwrap();
            assert_eq!(records.values.get(b"path".as_slice()), Some(&value));
            assert_eq!(records.values.get(b"size".as_slice()), Some(&b"1".to_vec()));
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for payload in ["5 a=\n\n", "x a=b\n", "99 a=b\n", "6 a=bc", "6 =bc\n", "4 ab\n"] {
            assert!(PaxRecords::parse(payload.as_bytes()).is_none(), "{payload}");
        }
    }

    #[test]
    fn an_own_header_wins_and_an_empty_value_takes_back() {
        let global = PaxRecords::parse(b"12 path=one\n8 uid=7\n25 SCHILY.xattr.user.a=1\n").unwrap();
        let own = PaxRecords::parse(b"12 path=two\n7 uid=\n25 SCHILY.xattr.user.b=2\n").unwrap();
        let both = Effective { own: &own, global: &global };
        assert_eq!(both.get(b"path"), Some(b"two".as_slice()));
        assert_eq!(both.get(b"uid"), None);
        let xattr = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        assert_eq!(both.xattrs(), Xattrs::from([xattr("user.a", "1"), xattr("user.b", "2")]));
    }

    #[test]
    fn times_round_down() {
        let time = |text: &str| parse_time(text.as_bytes()).map(|t| (t.seconds, t.nanoseconds));
        assert_eq!(time("12"), Some((12, 0)));
        assert_eq!(time("12.5"), Some((12, 500_000_000)));
        assert_eq!(time("-1.5"), Some((-2, 500_000_000)));
        assert_eq!(time("-3"), Some((-3, 0)));
        assert_eq!(time("1.1234567899"), Some((1, 123_456_789)));
        assert_eq!(time("1.x"), None);
        assert_eq!(time(""), None);
    }
}
