//! The Dockerfile's text as explanations show it: instructions by their lines, without what must stay hidden.

use std::collections::BTreeSet;

use kiln_dockerfile::without_credentials;
use kiln_graph::{Definition, Meta};

use crate::step::looks_secret;

/// Longer texts are shown by their beginning, with a digest of the whole.
const LONGEST_TEXT: usize = 2000;
/// What stands for a value that must not be shown.
const HIDDEN: &str = "***";

/// The lines of a Dockerfile, and the values that no text may show.
#[derive(Default)]
pub(crate) struct Texts {
    lines: Vec<String>,
    secrets: BTreeSet<String>,
}

impl Texts {
    /// The texts of a build: `definition` is what became of the Dockerfile `text`.
    pub(crate) fn new(text: &str, definition: &Definition) -> Self {
        let mut secrets = BTreeSet::new();
        for (_, vertex) in definition.iter() {
            for (name, value) in &vertex.meta.variables {
                if !value.is_empty() && looks_secret(name) {
                    secrets.insert(value.clone());
                }
            }
        }
        Texts { lines: text.lines().map(str::to_owned).collect(), secrets }
    }

    /// Whether a text holds the value of a variable whose name looks secret.
    pub(crate) fn holds_secret(&self, text: &str) -> bool {
        self.secrets.iter().any(|secret| text.contains(secret.as_str()))
    }

    /// An instruction as written, in one line. A trigger of a base image is as displays show it: its own text stands
    /// nowhere.
    pub(crate) fn instruction(&self, meta: &Meta) -> String {
        let shown = text_of(&meta.name);
        let span = meta.span.as_ref().filter(|_| !shown.starts_with("ONBUILD "));
        let written = span.map(|span| self.written(span.first_line, span.last_line)).filter(|text| !text.is_empty());
        let text = written.unwrap_or_else(|| self.without_secrets(shown));
        shortened(without_credentials(&text).into_owned())
    }

    /// What displays call a step, without what must stay hidden.
    pub(crate) fn name(&self, meta: &Meta) -> String {
        shortened(self.without_secrets(&meta.name))
    }

    fn written(&self, first: u32, last: u32) -> String {
        let lines = self.lines.iter().skip(first.saturating_sub(1) as usize);
        let lines = lines.take((last + 1).saturating_sub(first) as usize).map(|line| line.trim());
        let mut text = String::new();
        let mut continued = false;
        for line in lines {
            if continued && (line.starts_with('#') || line.is_empty()) {
                continue;
            }
            let body = line.strip_suffix('\\').or_else(|| line.strip_suffix('`'));
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(body.unwrap_or(line).trim());
            continued = body.is_some();
        }
        let word = text.split_whitespace().next().unwrap_or_default();
        format!("{}{}", word.to_ascii_uppercase(), &text[word.len()..])
    }

    fn without_secrets(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), HIDDEN))
    }
}

/// The part of a display name behind `[stage 2/5] `.
pub(super) fn text_of(name: &str) -> &str {
    match name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, text)) => text,
        None => name,
    }
}

fn shortened(text: String) -> String {
    if text.len() <= LONGEST_TEXT {
        return text;
    }
    let mut beginning = String::new();
    for c in text.chars() {
        if beginning.len() + c.len_utf8() > LONGEST_TEXT {
            break;
        }
        beginning.push(c);
    }
    format!("{beginning}… ({} bytes, {})", text.len(), &blake3::hash(text.as_bytes()).to_hex()[..16])
}

#[cfg(test)]
mod tests {
    use kiln_graph::{SourceSpan, Variables};

    use super::*;

    fn meta(name: &str, first_line: u32, last_line: u32) -> Meta {
        Meta { name: name.into(), span: Some(SourceSpan { first_line, last_line }), ..Meta::default() }
    }

    fn texts(text: &str, secrets: &[&str]) -> Texts {
        Texts {
            secrets: secrets.iter().map(|each| (*each).to_owned()).collect(),
            ..Texts::new(text, &Definition::new())
        }
    }

    #[test]
    fn an_instruction_is_one_line_without_its_comments() {
        let texts = texts("FROM a\nrun one \\\n  # why\n\n  && two\nCOPY <<E /f\nx # y\nE\n", &[]);
        assert_eq!(texts.instruction(&meta("[2/3] RUN one && two", 2, 5)), "RUN one && two");
        assert_eq!(texts.instruction(&meta("[3/3] COPY <<E /f", 6, 8)), "COPY <<E /f x # y E");
        assert_eq!(texts.instruction(&meta("[1/3] ONBUILD RUN x", 1, 1)), "ONBUILD RUN x");
        assert_eq!(texts.instruction(&meta("[1/1] RUN elsewhere", 99, 99)), "RUN elsewhere");
    }

    #[test]
    fn nothing_secret_is_shown() {
        let texts = texts("ADD https://me:sesame@h/f$T /\n", &["s3cr3t"]);
        assert_eq!(texts.instruction(&meta("[1/1] ADD", 1, 1)), "ADD https://xxxxx:xxxxx@h/f$T /");
        assert_eq!(texts.name(&meta("[1/1] ADD https://h/fs3cr3t /", 1, 1)), "[1/1] ADD https://h/f*** /");
        assert!(texts.holds_secret("a s3cr3t b") && !texts.holds_secret("secret"));
    }

    #[test]
    fn values_of_variables_that_look_secret_are_hidden() {
        let mut variables = Variables::default();
        variables.set("API_TOKEN", "s3cr3t");
        variables.set("PLAIN", "value");
        let mut definition = Definition::new();
        let op = kiln_graph::Op::Merge;
        let platform = kiln_oci::Platform::host();
        let vertex = kiln_graph::Vertex { op, inputs: vec![], platform, meta: Meta { variables, ..Meta::default() } };
        definition.add(vertex).unwrap();
        let texts = Texts::new("", &definition);
        assert!(texts.holds_secret("s3cr3t") && !texts.holds_secret("value"));
    }

    #[test]
    fn long_texts_differ_where_they_differ() {
        let long = |end: &str| shortened(format!("RUN {}{end}", "é".repeat(3000)));
        assert!(long("a").len() < 2100);
        assert_ne!(long("a"), long("b"));
    }
}
