//! Moments for people: `2024-01-02 03:04:05 +0000 UTC`, `5 minutes ago`.

use std::time::{SystemTime, UNIX_EPOCH};

use kiln_engine::age;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second] +0000 UTC");

/// A moment given in seconds since 1970.
pub(crate) fn text(seconds: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok();
    moment.and_then(|moment| moment.format(FORMAT).ok()).unwrap_or_else(|| "N/A".into())
}

/// `5 minutes ago`
pub(crate) fn ago(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let since = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(seconds);
    format!("{} ago", age::words(u64::try_from(since).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn moments_read_as_docker_s() {
        assert_eq!(super::text(1_704_164_645), "2024-01-02 03:04:05 +0000 UTC");
    }
}
