//! One instruction in its usual form. What may change depends on what it means: the white space that a shell
//! gets to see may not. So forms are tried, the usual one first, and the first that means the same is taken.

use crate::dockerfile::Dockerfile;
use crate::reader::{self, Node};

/// What continues an instruction is indented by this.
const INDENTATION: &str = "    ";

/// What happens to the lines that continue an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Continuation {
    /// They are indented alike.
    Indented,
    /// They keep their indentation; only their ends are cleaned.
    Kept,
}

/// The lines of an instruction without those of its heredocs, without line ends.
pub(super) fn format(node: &Node, lines: &[&str], heredocs: &[&str], escape: char) -> Vec<String> {
    let raw: Vec<String> = lines.iter().map(|line| line.trim_end_matches(['\r', '\n']).to_owned()).collect();
    let meaning = meaning_of(&raw, heredocs, escape);
    for continuation in [Continuation::Indented, Continuation::Kept] {
        let formed = formed(node, &raw, continuation, escape);
        if meaning.is_some() && meaning_of(&formed, heredocs, escape) == meaning {
            return formed;
        }
    }
    raw
}

/// What the lines mean by themselves.
fn meaning_of(lines: &[String], heredocs: &[&str], escape: char) -> Option<Dockerfile> {
    let from = |line: &String| line.trim_start().get(..4).is_some_and(|name| name.eq_ignore_ascii_case("from"));
    let stage = if lines.first().is_some_and(from) { "" } else { "FROM scratch\n" };
    let text = format!("# escape={escape}\n{stage}{}\n{}", lines.join("\n"), heredocs.concat());
    Dockerfile::parse(&text).ok().map(|dockerfile| dockerfile.meaning())
}

fn formed(node: &Node, raw: &[String], continuation: Continuation, escape: char) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, line) in raw.iter().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() {
            continue;
        }
        let text = if index == 0 { first_line(node, trimmed) } else { trimmed.to_owned() };
        // Blanks before the mark are the instruction's own, but for those that nothing comes before.
        lines.push(match continuation {
            _ if index == 0 => text,
            Continuation::Indented => format!("{INDENTATION}{text}"),
            Continuation::Kept => line.trim_end().to_owned(),
        });
    }
    if node.name.eq_ignore_ascii_case("from") {
        lines = with_keyword(lines, "AS", 1, escape);
    } else if node.name.eq_ignore_ascii_case("healthcheck") {
        lines = with_keyword(lines, "NONE", 0, escape);
        lines = with_keyword(lines, "CMD", 0, escape);
    }
    lines
}

/// The keyword in upper case and one blank after it; between the words of FROM too.
fn first_line(node: &Node, line: &str) -> String {
    match line.strip_prefix(node.name.as_str()) {
        Some(rest) if rest.starts_with(char::is_whitespace) => {
            let name = node.name.to_ascii_uppercase();
            if name == "FROM" {
                let words: Vec<&str> = rest.split_whitespace().collect();
                return format!("{name} {}", words.join(" "));
            }
            format!("{name} {}", rest.trim_start())
        }
        Some("") => node.name.to_ascii_uppercase(),
        _ => line.to_owned(),
    }
}

/// A keyword in upper case, where it stands as the word after the instruction's flags and `before` more words.
fn with_keyword(lines: Vec<String>, keyword: &str, before: usize, escape: char) -> Vec<String> {
    let mut words = 0;
    let mut named = false;
    let mut found = false;
    let mut changed = Vec::new();
    for line in lines {
        let mut text = String::new();
        let comment = line.trim_start().starts_with('#');
        for piece in line.split_inclusive(char::is_whitespace) {
            let word = piece.trim_end();
            let counts = !comment && !found && !word.is_empty() && !reader::is_continued(word, escape);
            if counts && named && !word.starts_with("--") {
                found = words == before;
                words += 1;
            }
            named |= counts;
            if found && counts && words == before + 1 && word.eq_ignore_ascii_case(keyword) {
                text.push_str(&piece.to_ascii_uppercase());
            } else {
                text.push_str(piece);
            }
        }
        changed.push(text);
    }
    changed
}
