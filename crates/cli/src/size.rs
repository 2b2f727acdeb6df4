//! Numbers of bytes: as docker prints them (decimal units), and as its flags take them (binary units).

const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];

/// `4.26MB`, `0B`: three digits that matter.
pub(crate) fn words(bytes: u64) -> String {
    with_digits(bytes, 3)
}

/// `4.262MB`: four digits that matter.
pub(crate) fn precise(bytes: u64) -> String {
    with_digits(bytes, 4)
}

fn with_digits(bytes: u64, digits: usize) -> String {
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), UNITS.get(unit).unwrap_or(&"B"))
}

/// As `%.3g` of a number below 1000, with that many digits.
fn significant(number: f64, digits: usize) -> String {
    let half = 0.5 * 10f64.powi(1 - digits as i32);
    let decimals = match number {
        n if n >= 100.0 * (1.0 - half / 10.0) => digits.saturating_sub(3),
        n if n >= 10.0 * (1.0 - half / 10.0) => digits.saturating_sub(2),
        _ => digits.saturating_sub(1),
    };
    let text = format!("{number:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `512`, `64m`, `1.5GB`, `1gib`: bytes.
///
/// # Errors
/// In docker's words.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = text.get(digits.len()..).unwrap_or_default().trim().to_ascii_lowercase();
    let shift = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(format!("invalid suffix: '{unit}'")),
    };
    if let Ok(number) = digits.parse::<u64>() {
        return number.checked_mul(1 << shift).ok_or_else(invalid);
    }
    let number: f64 = digits.parse().map_err(|_| invalid())?;
    let bytes = number * (1u64 << shift) as f64;
    if bytes.is_finite() && bytes >= 0.0 { Ok(bytes as u64) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_matter() {
        let check = |bytes, want: &str| assert_eq!(words(bytes), want);
        check(0, "0B");
        check(999, "999B");
        check(1000, "1kB");
        check(1500, "1.5kB");
        check(4_261_550, "4.26MB");
        check(123_456_789, "123MB");
        check(10_040_000_000, "10GB");
        check(99_960_000, "100MB");
        assert_eq!(
            (precise(1_234_567), precise(999), precise(4_261_550)),
            ("1.235MB".into(), "999B".into(), "4.262MB".into())
        );
    }

    #[test]
    fn flags_count_in_powers_of_two() {
        let check = |text, want: u64| assert_eq!(parse(text), Ok(want), "{text}");
        check("512", 512);
        check("64m", 64 << 20);
        check("1GB", 1 << 30);
        check("1.5k", 1536);
        check("2gib", 2 << 30);
        assert_eq!(parse("x"), Err("invalid suffix: 'x'".into()));
        assert_eq!(parse("1x"), Err("invalid suffix: 'x'".into()));
        assert_eq!(parse("99999999999g"), Err("invalid size: '99999999999g'".into()));
        assert_eq!(parse(""), Err("invalid size: ''".into()));
    }
}
