//! Wildcards in the sources of COPY and ADD: `*`, `?`, `[a-z]`, `[^a]` and `\` as in Go's `filepath.Match`,
//! where nothing but a written slash matches a slash. Works on bytes; `?` and classes take whole characters.

/// Whether a source has a wildcard that is not escaped.
pub(super) fn has_wildcard(pattern: &[u8]) -> bool {
    let mut bytes = pattern.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => _ = bytes.next(),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// A pattern that is malformed: a class without end, an escape at the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadPattern;

/// Whether `name`, one path component, matches `pattern`, one component of a pattern.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> Result<bool, BadPattern> {
    let tokens = tokenize(pattern)?;
    let characters = characters(name);
    Ok(match_tokens(&tokens, &characters))
}

enum Token {
    Star,
    Any,
    Literal(u32),
    Class { negated: bool, ranges: Vec<(u32, u32)> },
}

/// The characters of a name; bytes that are not UTF-8 count as characters of their own, outside Unicode.
fn characters(bytes: &[u8]) -> Vec<u32> {
    let mut out = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.extend(chunk.valid().chars().map(u32::from));
        out.extend(chunk.invalid().iter().map(|byte| 0x0020_0000 | u32::from(*byte)));
    }
    out
}

fn tokenize(pattern: &[u8]) -> Result<Vec<Token>, BadPattern> {
    let pattern = characters(pattern);
    let mut tokens = Vec::new();
    let mut rest = pattern.as_slice();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        tokens.push(match char::from_u32(*first) {
            Some('*') => Token::Star,
            Some('?') => Token::Any,
            Some('[') => {
                let (class, after) = class(rest)?;
                rest = after;
                class
            }
            Some('\\') => {
                let (literal, after) = rest.split_first().ok_or(BadPattern)?;
                rest = after;
                Token::Literal(*literal)
            }
            _ => Token::Literal(*first),
        });
    }
    Ok(tokens)
}

fn class(mut rest: &[u32]) -> Result<(Token, &[u32]), BadPattern> {
    let negated = rest.first() == Some(&u32::from('^'));
    if negated {
        rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        if rest.first() == Some(&u32::from(']')) && !ranges.is_empty() {
            return Ok((Token::Class { negated, ranges }, &rest[1..]));
        }
        let (low, after) = class_character(rest)?;
        rest = after;
        let mut high = low;
        if rest.first() == Some(&u32::from('-')) {
            (high, rest) = class_character(&rest[1..])?;
        }
        ranges.push((low, high));
    }
}

fn class_character(rest: &[u32]) -> Result<(u32, &[u32]), BadPattern> {
    match rest.split_first() {
        None => Err(BadPattern),
        Some((c, _)) if *c == u32::from('-') || *c == u32::from(']') => Err(BadPattern),
        Some((c, after)) if *c == u32::from('\\') => {
            let (literal, after) = after.split_first().ok_or(BadPattern)?;
            Ok((*literal, after))
        }
        Some((c, after)) => Ok((*c, after)),
    }
}

/// Greedy with one point of return: the last star.
fn match_tokens(tokens: &[Token], name: &[u32]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    loop {
        match tokens.get(token) {
            Some(Token::Star) => {
                last_star = Some((token, at));
                token += 1;
                continue;
            }
            Some(other) if at < name.len() && matches_one(other, name[at]) => {
                token += 1;
                at += 1;
                continue;
            }
            None if at == name.len() => return true,
            _ => {}
        }
        match last_star {
            Some((star, from)) if from < name.len() => {
                last_star = Some((star, from + 1));
                (token, at) = (star + 1, from + 1);
            }
            _ => return false,
        }
    }
}

fn matches_one(token: &Token, character: u32) -> bool {
    match token {
        Token::Star => false,
        Token::Any => true,
        Token::Literal(literal) => *literal == character,
        Token::Class { negated, ranges } => {
            ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        let check = |pattern: &str, name: &str, want: bool| {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), Ok(want), "{pattern} {name}");
        };
        check("*", "", true);
        check("*", ".hidden", true);
        check("a*c", "abbc", true);
        check("a*c", "abbd", false);
        check("*a*b", "xaxbxb", true);
        check("?", "é", true);
        check("[a-c]x", "bx", true);
        check("[^a-c]x", "bx", false);
        check(r"\*", "*", true);
        check(r"\*", "a", false);
        check(r"[\]]", "]", true);
    }

    #[test]
    fn a_malformed_pattern_is_refused() {
        for pattern in ["[", "[]", "[a", r"a\", "[-a]"] {
            assert_eq!(matches(pattern.as_bytes(), b"a"), Err(BadPattern), "{pattern}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_match_byte_by_byte() {
        assert_eq!(matches(b"a?", b"a\xff"), Ok(true));
        assert_eq!(matches(b"a\xff", b"a\xff"), Ok(true));
    }
}
