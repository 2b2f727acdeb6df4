//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and backslash escapes over a variable's value.
//! File name patterns are another thing: see the `ignore` module.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Star,
    Any,
    Char(char),
}

/// A parsed pattern.
#[derive(Clone, Debug)]
pub(crate) struct ValuePattern(Vec<Token>);

impl ValuePattern {
    /// Fails with the character of an escape that means nothing.
    pub(crate) fn parse(pattern: &str) -> Result<ValuePattern, char> {
        let mut tokens = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => match chars.next() {
                    Some(c @ ('}' | '/' | '*' | '?' | '\\')) => Token::Char(c),
                    other => return Err(other.unwrap_or('\u{fffd}')),
                },
                c => Token::Char(c),
            });
        }
        Ok(ValuePattern(tokens))
    }

    /// `value` without the shortest or longest matching start.
    pub(crate) fn trim_start(&self, value: &str, longest: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let cut = match_length(&self.0, &chars, longest).unwrap_or(0);
        chars[cut..].iter().collect()
    }

    /// `value` without the shortest or longest matching end.
    pub(crate) fn trim_end(&self, value: &str, longest: bool) -> String {
        let mut tokens = self.0.clone();
        tokens.reverse();
        let chars: Vec<char> = value.chars().rev().collect();
        let cut = match_length(&tokens, &chars, longest).unwrap_or(0);
        chars[cut..].iter().rev().collect()
    }

    /// `value` with the first match, or all, replaced.
    pub(crate) fn replace(&self, value: &str, replacement: &str, all: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let mut at = 0;
        let mut last_end = None;
        while at <= chars.len() {
            let found = match_length(&self.0, &chars[at..], true).filter(|length| *length > 0 || last_end != Some(at));
            if let Some(length) = found {
                if all {
                    let matched: String = chars[at..at + length].iter().collect();
                    expand_template(replacement, &matched, &mut out);
                } else {
                    out.push_str(replacement);
                    out.extend(&chars[at + length..]);
                    return out;
                }
                last_end = Some(at + length);
                if length > 0 {
                    at += length;
                    continue;
                }
            }
            out.extend(chars.get(at));
            at += 1;
        }
        out
    }
}

/// Length of the shortest or longest match at the start of `chars`. Wildcards do not match a newline.
fn match_length(tokens: &[Token], chars: &[char], longest: bool) -> Option<usize> {
    let mut active = vec![false; tokens.len() + 1];
    active[0] = true;
    let mut found = None;
    for at in 0..=chars.len() {
        for (i, token) in tokens.iter().enumerate() {
            if active[i] && *token == Token::Star {
                active[i + 1] = true;
            }
        }
        if active[tokens.len()] {
            found = Some(at);
            if !longest {
                break;
            }
        }
        let Some(&c) = chars.get(at) else { break };
        let mut next = vec![false; tokens.len() + 1];
        for (i, token) in tokens.iter().enumerate() {
            if !active[i] {
                continue;
            }
            match token {
                Token::Star => next[i] |= c != '\n',
                Token::Any => next[i + 1] |= c != '\n',
                Token::Char(wanted) => next[i + 1] |= c == *wanted,
            }
        }
        active = next;
    }
    found
}

/// In `${v//p/r}` a `$0` that is still in `r` stands for the match, `$$` for a dollar sign; other
/// `$name` groups do not exist and vanish.
fn expand_template(template: &str, matched: &str, out: &mut String) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let (name, tail) = group_name(after);
        match name {
            None => out.push('$'),
            Some(name) if !name.is_empty() && name.bytes().all(|b| b == b'0') => {
                out.push_str(matched);
            }
            Some(_) => {}
        }
        rest = tail;
    }
    out.push_str(rest);
}

/// The name of a group after `$`, and what follows it.
fn group_name(text: &str) -> (Option<&str>, &str) {
    let (braced, inner) = match text.strip_prefix('{') {
        Some(inner) => (true, inner),
        None => (false, text),
    };
    let end = inner.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inner.len());
    let (name, tail) = inner.split_at(end);
    match (name.is_empty(), braced, tail.strip_prefix('}')) {
        (true, _, _) => (None, text),
        (false, false, _) => (Some(name), tail),
        (false, true, Some(tail)) => (Some(name), tail),
        (false, true, None) => (None, text),
    }
}
