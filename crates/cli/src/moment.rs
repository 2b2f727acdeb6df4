//! Moments for people: `2024-01-02 03:04:05 +0000 UTC`, `5 minutes ago`.

use std::time::{SystemTime, UNIX_EPOCH};

use kiln_engine::age;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second] +0000 UTC");

/// A moment given in seconds since 1970.
pub(crate) fn text(seconds: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok();
    moment.and_then(|moment| moment.format(FORMAT).ok()).unwrap_or_else(|| "N/A".into())
}

/// `2024-01-02T03:04:05Z`
pub(crate) fn rfc3339(seconds: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok();
    moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_else(|| "N/A".into())
}

/// `5 minutes ago`
pub(crate) fn ago(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let since = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(seconds);
    format!("{} ago", age::words(u64::try_from(since).unwrap_or_default()))
}

/// A moment as people write it, in seconds since 1970: RFC 3339 (parts of it too, in UTC), seconds since 1970, or how
/// long ago it was (`10m`, `1h30m`, `7d`).
pub(crate) fn parse(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.split('.').next()?.parse::<i64>() {
        return Some(seconds);
    }
    if let Ok(ago) = crate::config::duration(text) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        return i64::try_from(now.checked_sub(ago).unwrap_or_default().as_secs()).ok();
    }
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        13 => format!("{text}:00:00Z"),
        16 => format!("{text}:00Z"),
        _ if text.ends_with('Z') || text.get(19..)?.contains(['+', '-']) => text.to_owned(),
        _ => format!("{text}Z"),
    };
    OffsetDateTime::parse(&whole, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
}

#[cfg(test)]
mod tests {
    #[test]
    fn moments_are_read_in_all_of_docker_s_forms() {
        let check = |text, want| assert_eq!(super::parse(text), want, "{text}");
        check("1704164645", Some(1_704_164_645));
        check("1704164645.123", Some(1_704_164_645));
        check("2024-01-02T03:04:05Z", Some(1_704_164_645));
        check("2024-01-02T03:04:05", Some(1_704_164_645));
        check("2024-01-02T03:04:05.5+01:00", Some(1_704_161_045));
        check("2024-01-02T03:04", Some(1_704_164_640));
        check("2024-01-02", Some(1_704_153_600));
        for wrong in ["", "x", "2024-13-01", "yesterday", "10 parsecs"] {
            check(wrong, None);
        }
        let (now, then) = (super::parse("0s").unwrap(), super::parse("1h").unwrap());
        assert!((3599..=3601).contains(&(now - then)));
    }

    #[test]
    fn moments_read_as_docker_s() {
        assert_eq!(super::text(1_704_164_645), "2024-01-02 03:04:05 +0000 UTC");
    }
}
