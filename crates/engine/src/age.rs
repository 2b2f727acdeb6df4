//! Spans of time as docker words them: `5 seconds`, `About a minute`, `3 weeks`.

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
const MONTH: u64 = 30 * DAY;
const YEAR: u64 = 365 * DAY;

/// A span of `seconds` in words, without `ago`.
pub fn words(seconds: u64) -> String {
    match seconds {
        0 => "Less than a second".into(),
        1 => "1 second".into(),
        2..MINUTE => format!("{seconds} seconds"),
        _ if seconds / MINUTE == 1 => "About a minute".into(),
        _ if seconds < HOUR => format!("{} minutes", seconds / MINUTE),
        _ => long(seconds),
    }
}

/// Hours are rounded to the nearest, larger units down, each up to two of the next one.
fn long(seconds: u64) -> String {
    let hours = (seconds + HOUR / 2) / HOUR;
    match hours {
        1 => "About an hour".into(),
        2..48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours * HOUR / WEEK),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours * HOUR / MONTH),
        _ => format!("{} years", seconds / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_docker_writes_them() {
        let check = |seconds, want: &str| assert_eq!(words(seconds), want, "{seconds}");
        check(0, "Less than a second");
        check(1, "1 second");
        check(59, "59 seconds");
        check(60, "About a minute");
        check(125, "2 minutes");
        check(HOUR, "About an hour");
        check(2 * HOUR, "2 hours");
        check(47 * HOUR, "47 hours");
        check(48 * HOUR, "2 days");
        check(13 * DAY, "13 days");
        check(14 * DAY, "2 weeks");
        check(60 * DAY, "2 months");
        check(3 * YEAR, "3 years");
    }
}
