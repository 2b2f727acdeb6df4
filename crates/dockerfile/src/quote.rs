//! Text in double quotes, as histories and messages of other tools have it: Go's way.

/// A string in double quotes; what cannot be printed is escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c == '\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    out
}

/// Blanks other than the usual one, and what has no form at all, cannot be printed.
fn is_printable(c: char) -> bool {
    c == ' ' || !(c.is_whitespace() || c.is_control() || c.escape_debug().len() > 2 && !c.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_printed_is_escaped() {
        assert_eq!(
            quoted("a\"\\\n\x01é\u{a0}\u{200b}\u{1F600}\u{e0001}"),
            "\"a\\\"\\\\\\n\\x01é\\u00a0\\u200b😀\\U000e0001\""
        );
    }
}
