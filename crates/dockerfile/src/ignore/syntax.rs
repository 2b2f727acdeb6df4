//! Whether brackets and escapes of a file name pattern fit together, by the rules of Go's `filepath.Match`.

/// Checks what stands before the first inner `*`: more is looked at only when the pattern is used, as
/// Docker does.
pub(super) fn is_valid(pattern: &str) -> bool {
    let (first, rest) = split_chunk(pattern);
    let reaches_further = matches!(first, "." | "?" | "\\.");
    chunk_is_valid(first) && (!reaches_further || chunk_is_valid(split_chunk(rest).0))
}

/// Cuts at the first `*` that is neither leading nor inside brackets.
fn split_chunk(pattern: &str) -> (&str, &str) {
    let pattern = pattern.trim_start_matches('*');
    let mut in_class = false;
    let mut chars = pattern.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '[' => in_class = true,
            ']' => in_class = false,
            '*' if !in_class => return pattern.split_at(at),
            _ => {}
        }
    }
    (pattern, "")
}

fn chunk_is_valid(chunk: &str) -> bool {
    let mut rest = chunk;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => match rest.chars().next() {
                Some(escaped) => rest = &rest[escaped.len_utf8()..],
                None => return false,
            },
            '[' => match after_class(rest) {
                Some(tail) => rest = tail,
                None => return false,
            },
            _ => {}
        }
    }
    true
}

/// What follows a class whose `[` was taken; `None` when it is malformed.
fn after_class(text: &str) -> Option<&str> {
    let mut rest = text.strip_prefix('^').unwrap_or(text);
    let mut empty = true;
    loop {
        if let Some(tail) = rest.strip_prefix(']').filter(|_| !empty) {
            return Some(tail);
        }
        rest = after_member(rest)?;
        if let Some(upper) = rest.strip_prefix('-') {
            rest = after_member(upper)?;
        }
        empty = false;
    }
}

/// What follows a character of a class; something must.
fn after_member(text: &str) -> Option<&str> {
    let text = match text.chars().next()? {
        '-' | ']' => return None,
        '\\' => &text[1..],
        _ => text,
    };
    let c = text.chars().next()?;
    Some(&text[c.len_utf8()..]).filter(|rest| !rest.is_empty())
}
