//! Numbers in tar headers: octal text, and GNU's base-256 for what does not fit.

/// Reads a numeric header field. An empty field is 0. `None` if it is neither octal nor base-256,
/// or does not fit into 64 bits.
pub(super) fn parse(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => parse_base256(field),
        _ => parse_octal(field),
    }
}

fn parse_octal(field: &[u8]) -> Option<i64> {
    let text = field.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = text.trim_ascii();
    let mut value: i64 = 0;
    for &byte in text {
        if !(b'0'..=b'7').contains(&byte) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(byte - b'0'))?;
    }
    Some(value)
}

/// Big-endian two's complement; the top bit of the first byte is only the marker.
fn parse_base256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    let negative = first & 0x40 != 0;
    let mut value: i128 = i128::from(first & 0x3f);
    if negative {
        value -= 0x40;
    }
    for &byte in rest {
        value = value.checked_mul(256)?.checked_add(i128::from(byte))?;
        i64::try_from(value).ok()?;
    }
    i64::try_from(value).ok()
}

/// Writes `value` as octal digits with a closing NUL. False (and zeros) if it does not fit.
pub(super) fn write_octal(field: &mut [u8], value: i64) -> bool {
    let Some((last, digits)) = field.split_last_mut() else {
        return false;
    };
    *last = 0;
    let fits = fits_octal(digits.len() + 1, value);
    let mut left = if fits { value } else { 0 };
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left & 7) as u8;
        left >>= 3;
    }
    fits
}

/// Whether `value` fits as octal text into a field of `width` bytes, closing NUL included.
pub(super) fn fits_octal(width: usize, value: i64) -> bool {
    let bits = (width.saturating_sub(1) * 3) as u32;
    value >= 0 && (bits >= 63 || value < 1_i64 << bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_octal_and_base256() {
        assert_eq!(parse(b"0000644\0"), Some(0o644));
        assert_eq!(parse(b" 644 \0\0\0"), Some(0o644));
        assert_eq!(parse(b"\0\0\0\0"), Some(0));
        assert_eq!(parse(b"9\0"), None);
        assert_eq!(parse(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(parse(&[0xff; 12]), Some(-1));
        assert_eq!(parse(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(parse(b"777777777777777777777777"), None);
    }

    #[test]
    fn writes_what_fits() {
        let mut field = [b'x'; 8];
        assert!(write_octal(&mut field, 0o7_777_777));
        assert_eq!(&field, b"7777777\0");
        assert!(!write_octal(&mut field, 0o10_000_000));
        assert_eq!(&field, b"0000000\0");
        assert!(!write_octal(&mut field, -1));
    }
}
