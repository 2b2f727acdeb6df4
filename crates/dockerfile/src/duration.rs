//! Durations as HEALTHCHECK takes them: `1m30s`, `1.5h`, `300ms`.

use crate::error::InstructionProblem;

const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// Reads a duration; nanoseconds.
pub(crate) fn parse(text: &str) -> Result<i64, InstructionProblem> {
    let invalid = || InstructionProblem::Duration(format!("invalid duration {text:?}"));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_end);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        if unit.is_empty() {
            return Err(InstructionProblem::Duration(format!("missing unit in duration {text:?}")));
        }
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(InstructionProblem::Duration(format!("unknown unit {unit:?} in duration {text:?}")));
        };
        total += number * factor;
        rest = tail;
    }
    if total > i64::MAX as f64 {
        return Err(invalid());
    }
    let nanoseconds = total.round() as i64;
    Ok(if negative { -nanoseconds } else { nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse("1m30s"), Ok(90_000_000_000));
        assert_eq!(parse("1.5ms"), Ok(1_500_000));
        assert_eq!(parse("-2h"), Ok(-7_200_000_000_000));
        assert_eq!(parse("0"), Ok(0));
        for wrong in ["", "5", "x", "5y", "1..2s", "99999999999h"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
