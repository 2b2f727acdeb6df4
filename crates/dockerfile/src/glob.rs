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

    /// `value` with the first match, or all, replaced; `None` when that has more than `limit` bytes.
    pub(crate) fn replace(&self, value: &str, replacement: &str, all: bool, limit: usize) -> Option<String> {
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let mut at = 0;
        let mut last_end = None;
        while let Some((start, end)) = find(&self.0, &chars, at) {
            // No empty match right after another match.
            if start == end && last_end == Some(start) {
                let Some(c) = chars.get(at) else { break };
                out.push(*c);
                at += 1;
                continue;
            }
            out.extend(&chars[at..start]);
            if !all {
                out.push_str(replacement);
                at = end;
                break;
            }
            expand_template(replacement, &chars[start..end], &mut out);
            if out.len() > limit {
                return None;
            }
            last_end = Some(end);
            at = end;
        }
        out.extend(&chars[at..]);
        (out.len() <= limit).then_some(out)
    }
}

/// The first match that starts at `from` or later, and of those that start there the longest.
fn find(tokens: &[Token], chars: &[char], from: usize) -> Option<(usize, usize)> {
    // For each place in the pattern, the earliest start of a match that has come so far.
    let mut starts: Vec<Option<usize>> = vec![None; tokens.len() + 1];
    let mut found: Option<(usize, usize)> = None;
    for at in from..=chars.len() {
        if found.is_none() && starts[0].is_none() {
            starts[0] = Some(at);
        }
        for (place, token) in tokens.iter().enumerate() {
            if *token == Token::Star {
                starts[place + 1] = earlier(starts[place], starts[place + 1]);
            }
        }
        if let Some(start) = starts[tokens.len()]
            && found.is_none_or(|(known, _)| start <= known)
        {
            found = Some((start, at));
        }
        if let Some((known, _)) = found {
            starts.iter_mut().for_each(|start| *start = start.filter(|start| *start <= known));
            if starts.iter().all(Option::is_none) {
                break;
            }
        }
        let Some(c) = chars.get(at) else { break };
        starts = step(tokens, &starts, *c);
    }
    found
}

fn earlier(one: Option<usize>, other: Option<usize>) -> Option<usize> {
    one.into_iter().chain(other).min()
}

/// Where each match is after one more character. Wildcards do not match a newline.
fn step(tokens: &[Token], starts: &[Option<usize>], c: char) -> Vec<Option<usize>> {
    let mut next = vec![None; starts.len()];
    for (place, token) in tokens.iter().enumerate() {
        let (to, taken) = match token {
            Token::Star => (place, c != '\n'),
            Token::Any => (place + 1, c != '\n'),
            Token::Char(wanted) => (place + 1, c == *wanted),
        };
        if taken {
            next[to] = earlier(next[to], starts[place]);
        }
    }
    next
}

/// Length of the shortest or longest match at the start of `chars`.
fn match_length(tokens: &[Token], chars: &[char], longest: bool) -> Option<usize> {
    let mut active = vec![None; tokens.len() + 1];
    active[0] = Some(0);
    let mut found = None;
    for at in 0..=chars.len() {
        for (place, token) in tokens.iter().enumerate() {
            if *token == Token::Star {
                active[place + 1] = earlier(active[place], active[place + 1]);
            }
        }
        if active[tokens.len()].is_some() {
            found = Some(at);
            if !longest {
                break;
            }
        }
        let Some(c) = chars.get(at).filter(|_| active.iter().any(Option::is_some)) else { break };
        active = step(tokens, &active, *c);
    }
    found
}

/// In `${v//p/r}` a `$0` that is still in `r` stands for the match, `$$` for a dollar sign; other
/// `$name` groups do not exist and vanish.
fn expand_template(template: &str, matched: &[char], out: &mut String) {
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
                out.extend(matched);
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
