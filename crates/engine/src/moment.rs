//! Moments as text: RFC 3339, as docker's JSON has them.

use kiln_store::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What docker's JSON says for "never".
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// `2024-01-02T03:04:05.000000006Z`; [`NEVER`] for what no calendar has.
pub(crate) fn text(at: Timestamp) -> String {
    let nanoseconds = i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanoseconds);
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_else(|| NEVER.into())
}

/// Seconds since 1970 of an RFC 3339 text.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
}
