//! Here-documents: recognising `<<NAME` words and the lines that belong to them.

use crate::shell::{Options, Shell};
use crate::text;

/// A here-document as an instruction carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without quotes; for COPY and ADD also the file name.
    pub name: String,
    /// False when the delimiter was quoted: the text is taken as it is.
    pub expand: bool,
    /// `<<-`: leading tabs of every line are removed.
    pub strip_tabs: bool,
    /// The lines between, each with its line end; bytes as the `text` module keeps them.
    pub(crate) text: String,
}

impl Heredoc {
    /// The bytes as the reader of the file gets them: without leading tabs if `<<-`.
    pub fn bytes(&self) -> Vec<u8> {
        text::bytes_of(&self.content())
    }

    /// The lines between as written, each with its line end. What is not UTF-8 is U+FFFD.
    pub fn written(&self) -> String {
        text::lossy(&self.text)
    }

    /// The same as [`Heredoc::bytes`], as this crate keeps text.
    pub(crate) fn content(&self) -> String {
        if !self.strip_tabs {
            return self.text.clone();
        }
        self.text.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }

    /// Whether this line (without its line end) closes the document.
    pub(crate) fn ends_at(&self, line: &str) -> bool {
        let line = if self.strip_tabs { line.trim_start_matches('\t') } else { line };
        line == self.name
    }
}

/// The documents that a logical line opens, in order, still without text.
pub(crate) fn opened_by(line: &str) -> Vec<Heredoc> {
    if !line.contains("<<") {
        return Vec::new();
    }
    let raw = Options { raw_quotes: true, raw_escapes: true, skip_unset: true, ..Options::default() };
    let Ok(words) = Shell::new('\\', raw).expand(line, &()) else {
        return Vec::new();
    };
    let mut words = words.words.iter();
    let mut heredocs = Vec::new();
    while let Some(word) = words.next() {
        if is_operator(word) {
            // The delimiter may stand apart: `<< EOF`.
            heredocs.extend(words.next().and_then(|delimiter| parse(&format!("{word}{delimiter}"))));
        } else {
            heredocs.extend(parse(word));
        }
    }
    heredocs
}

/// `<<`, `<<-` or `3<<` alone.
fn is_operator(word: &str) -> bool {
    matches!(word.trim_start_matches(|c: char| c.is_ascii_digit()), "<<" | "<<-")
}

/// Reads one word such as `<<EOF`, `3<<-"E F"`; `None` when it is something else.
pub(crate) fn parse(word: &str) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = rest.strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let plain = Options { skip_unset: true, ..Options::default() };
    let raw = Options { raw_quotes: true, raw_escapes: true, ..plain };
    let single = |options| {
        let words = Shell::new('\\', options).expand(rest, &()).ok()?.words;
        <[String; 1]>::try_from(words).ok().map(|[word]| word)
    };
    let name = single(plain)?;
    let written = single(raw)?;
    (!name.is_empty()).then_some(Heredoc { expand: name == written, name, strip_tabs, text: String::new() })
}
