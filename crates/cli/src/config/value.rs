//! Values of `config.toml` that TOML has no type for: sizes, shares of the disk, times.

use std::fmt;
use std::time::Duration;

use crate::size;

/// An amount of disk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Space {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the disk that the store is on.
    Percent(f64),
}

impl Space {
    /// `20GB`, `512MiB` (powers of two, as docker's flags count), `10%`.
    ///
    /// # Errors
    /// Words for what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(number) = text.trim().strip_suffix('%') else {
            return size::parse(text.trim()).map(Self::Bytes);
        };
        let percent: f64 = number.trim().parse().map_err(|_| format!("invalid share: '{text}'"))?;
        match (0.0..=100.0).contains(&percent) {
            true => Ok(Self::Percent(percent)),
            false => Err(format!("a share is from 0% to 100%, not {text}")),
        }
    }

    /// In bytes, on a disk of that size.
    pub(crate) fn of_disk(self, bytes: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => (bytes as f64 * percent / 100.0) as u64,
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// `48h`, `1h30m`, `90s`, `7d`, `500ms`.
///
/// # Errors
/// Words for what is wrong.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration '{text}': such as 48h, 1h30m, 7d");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut seconds = 0.0;
    while !rest.is_empty() || seconds == 0.0 {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 24.0 * 3600.0,
            "w" => 7.0 * 24.0 * 3600.0,
            _ => return Err(invalid()),
        };
        seconds += number.parse::<f64>().map_err(|_| invalid())? * unit;
        rest = tail;
        if seconds == 0.0 && rest.is_empty() {
            return Ok(Duration::ZERO);
        }
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_a_share_of_the_disk() {
        assert_eq!(Space::parse("20GB"), Ok(Space::Bytes(20 << 30)));
        assert_eq!(Space::parse("512MiB"), Ok(Space::Bytes(512 << 20)));
        assert_eq!(Space::parse("10%").map(|space| space.of_disk(5000)), Ok(500));
        assert_eq!(Space::parse("2.5 %"), Ok(Space::Percent(2.5)));
        for wrong in ["", "x", "101%", "-1%", "NaN%", "%", "10GBit", "-5GB"] {
            assert!(Space::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("48h"), Ok(Duration::from_secs(48 * 3600)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 24 * 3600)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        for zero in ["0", "0s", "0h0m"] {
            assert_eq!(duration(zero), Ok(Duration::ZERO), "{zero}");
        }
        for wrong in ["", "5", "h", "-1h", "1y", "1..2s", "1e400d", "99999999999999999999999w"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
