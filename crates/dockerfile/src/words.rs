//! Cutting the text of an instruction: its name, its flags, words, JSON arrays.
//! Does not know what the words mean.

use std::ops::Range;

use crate::error::ParseProblem;

/// A flag as written, without its quotes, and where it stands in the logical line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlagWord {
    pub(crate) text: String,
    pub(crate) range: Range<usize>,
}

/// The parts of a logical line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub(crate) name: &'a str,
    pub(crate) name_range: Range<usize>,
    pub(crate) flags: Vec<FlagWord>,
    pub(crate) arguments: &'a str,
}

/// Blanks that separate words; other white space is part of a word.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// Cuts a logical line into name, flags and the rest.
pub(crate) fn split_line(line: &str) -> Parts<'_> {
    let start = line.len() - line.trim_start().len();
    let trimmed = line.trim();
    let name_end = trimmed.find(is_blank).unwrap_or(trimmed.len());
    let (name, rest) = trimmed.split_at(name_end);
    let rest_start = start + name_end;
    let (flags, consumed) = split_flags(rest, rest_start);
    Parts { name, name_range: start..start + name_end, flags, arguments: rest[consumed..].trim() }
}

/// The leading `--…` words of `rest`, and the number of bytes they take.
fn split_flags(rest: &str, offset: usize) -> (Vec<FlagWord>, usize) {
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        at += rest[at..].len() - rest[at..].trim_start().len();
        if !rest[at..].starts_with("--") {
            return (flags, at);
        }
        let start = at;
        let (text, length) = flag_word(&rest[at..]);
        at += length;
        if text == "--" {
            return (flags, at);
        }
        flags.push(FlagWord { text, range: offset + start..offset + at });
    }
}

/// One word in which quotes and backslashes are taken away; with its length in bytes.
fn flag_word(text: &str) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => return (word, at),
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            (_, '\\') => word.extend(chars.next().map(|(_, c)| c)),
            _ => word.push(c),
        }
    }
    (word, text.len())
}

/// Words with their quotes and escapes kept; blanks inside quotes do not separate.
pub(crate) fn split_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(q) if q == c => quote = None,
            _ => {}
        }
        if c == escape && quote != Some('\'') {
            // An escape at the very end is dropped.
            if let Some(next) = chars.next() {
                word.push(c);
                word.push(next);
            }
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Words between blanks, whatever quotes there are.
pub(crate) fn split_blanks(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_blank) {
        words.push(rest[..start].to_owned());
        rest = rest[start..].trim_start_matches(is_blank);
    }
    words.push(rest.to_owned());
    words
}

/// Cuts at the first run of blanks.
pub(crate) fn split_once_blank(text: &str) -> Option<(&str, &str)> {
    let start = text.find(is_blank)?;
    Some((&text[..start], text[start..].trim_start_matches(is_blank)))
}

/// A JSON array of strings; `None` when the text is no JSON array at all.
pub(crate) fn parse_json(text: &str) -> Result<Option<Vec<String>>, ParseProblem> {
    if !text.trim_start().starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return Ok(None);
    };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(string) => Ok(string),
        _ => Err(ParseProblem::NotStrings),
    });
    strings.collect::<Result<_, _>>().map(Some)
}
