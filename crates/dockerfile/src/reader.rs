//! Text to logical lines: continuations, comments, directives and heredocs, each line cut into name,
//! flags and arguments. Does not know which flags an instruction has or what its arguments mean.

use crate::directive::{DirectiveReader, Directives};
use crate::error::{Error, ParseProblem};
use crate::heredoc::{self, Heredoc};
use crate::span::{Focus, Span};
use crate::text;
use crate::words::{self, FlagWord};

/// Arguments in the form that the instruction's name asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arguments {
    /// Words or lines; one in the shell form.
    Words(Vec<String>),
    /// A JSON array.
    Json(Vec<String>),
    /// `name=value` words, or the old form of a name and the rest of the line.
    Pairs { pairs: Vec<(String, String)>, old_form: bool },
    /// HEALTHCHECK's first word and its command.
    Health { kind: String, command: Box<Arguments> },
    /// ONBUILD's own instruction.
    Trigger(Box<Node>),
}

/// An instruction before its meaning is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// The first word as written.
    pub(crate) name: String,
    pub(crate) name_focus: Option<Focus>,
    pub(crate) flags: Vec<(FlagWord, Option<Focus>)>,
    pub(crate) arguments: Arguments,
    pub(crate) heredocs: Vec<Heredoc>,
    /// The logical line, continuations joined.
    pub(crate) text: String,
    pub(crate) span: Span,
    /// The comment lines right above.
    pub(crate) comments: Vec<String>,
}

/// A remark about text that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What is remarked.
    pub message: String,
    /// Where.
    pub span: Span,
}

/// All that the text says.
pub(crate) struct Lines {
    pub(crate) directives: Directives,
    pub(crate) nodes: Vec<Node>,
    pub(crate) warnings: Vec<Warning>,
    /// What could not be read.
    pub(crate) errors: Vec<Error>,
}

/// Reads the whole text, and goes on after an instruction that cannot be read.
pub(crate) fn read(text: &str) -> Result<Lines, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        lines: text.split_inclusive('\n').collect(),
        at: 0,
        directives: DirectiveReader::default(),
        warnings: Vec::new(),
        comments: Vec::new(),
    };
    let mut nodes = Vec::new();
    let mut errors = Vec::new();
    loop {
        match reader.next_node() {
            Ok(Some(node)) => nodes.push(node),
            Ok(None) => break,
            Err(error) => errors.push(error),
        }
    }
    if nodes.is_empty() && errors.is_empty() {
        let end = reader.at as u32;
        return Err(Error::new(ParseProblem::Empty, Some(Span::lines(end, end))));
    }
    Ok(Lines { directives: reader.directives.directives, nodes, warnings: reader.warnings, errors })
}

struct Reader<'a> {
    lines: Vec<&'a str>,
    at: usize,
    directives: DirectiveReader,
    warnings: Vec<Warning>,
    comments: Vec<String>,
}

/// A logical line under construction: its text, and for each piece of it where it came from.
#[derive(Default)]
struct Logical {
    text: String,
    pieces: Vec<Piece>,
}

struct Piece {
    offset: usize,
    line: u32,
    column: u32,
}

impl Logical {
    fn push(&mut self, piece: &str, line: u32, column: usize) {
        self.pieces.push(Piece { offset: self.text.len(), line, column: column as u32 });
        self.text.push_str(piece);
    }

    /// Where a range of the text stands; a range over several lines is cut at the end of the first.
    fn focus(&self, range: &std::ops::Range<usize>) -> Option<Focus> {
        let index = self.pieces.partition_point(|piece| piece.offset <= range.start).checked_sub(1)?;
        let piece = &self.pieces[index];
        let end = self.pieces.get(index + 1).map_or(range.end, |next| range.end.min(next.offset));
        let before = self.text.get(piece.offset..range.start)?.chars().count() as u32;
        let length = self.text.get(range.start..end)?.chars().count() as u32;
        let start = piece.column + before;
        Some(Focus { line: piece.line, columns: start..start + length })
    }
}

impl<'a> Reader<'a> {
    fn next_line(&mut self) -> Option<&'a str> {
        let line = *self.lines.get(self.at)?;
        self.at += 1;
        Some(line)
    }

    fn next_node(&mut self) -> Result<Option<Node>, Error> {
        while let Some(raw) = self.next_line() {
            let line = trim_line_end(raw);
            let stripped = line.trim_start();
            let directive = self
                .directives
                .read(stripped)
                .map_err(|problem| Error::new(problem, Some(Span::lines(self.at as u32, self.at as u32))))?;
            if let Some(comment) = stripped.strip_prefix('#') {
                self.comment(comment.trim(), directive);
            } else if stripped.is_empty() {
                self.comments.clear();
            } else {
                return self.node(stripped, line.chars().count() - stripped.chars().count()).map(Some);
            }
        }
        Ok(None)
    }

    /// Keeps a comment for the instruction below; a directive is none, and an empty one ends those above.
    fn comment(&mut self, text: &str, directive: bool) {
        if text.is_empty() {
            self.comments.clear();
        } else if !directive {
            self.comments.push(text::lossy(text));
        }
    }

    /// The instruction that starts with `first`, the last line taken.
    fn node(&mut self, first: &str, column: usize) -> Result<Node, Error> {
        let first_line = self.at as u32;
        let logical = self.logical(first, column);
        let escape = self.directives.directives.escape;
        let located = |problem, last| Error::new(problem, Some(Span::lines(first_line, last)));
        let mut node = node_from(&logical.text, escape, 0).map_err(|problem| located(problem, self.at as u32))?;
        let parts = words::split_line(&logical.text);
        node.name_focus = logical.focus(&parts.name_range);
        for (flag, focus) in &mut node.flags {
            *focus = logical.focus(&flag.range);
        }
        node.comments = std::mem::take(&mut self.comments);
        if takes_heredocs(&node) {
            node.heredocs = heredoc::opened_by(&logical.text);
            if let Some(open) = node.heredocs.iter_mut().find_map(|heredoc| (!self.fill(heredoc)).then_some(heredoc)) {
                let problem = ParseProblem::UnterminatedHeredoc { delimiter: text::lossy(&open.name) };
                return Err(located(problem, self.at as u32));
            }
        }
        let foreign = text::first_byte(&logical.text);
        if foreign.is_some() && is_only_told(&node) {
            let readable = node_from(&text::without_bytes(&logical.text), escape, 0);
            let readable = readable.map_err(|problem| located(problem, self.at as u32))?;
            (node.arguments, node.text) = (readable.arguments, readable.text);
        } else if let Some(at) = foreign {
            let focus = logical.focus(&(at..at + char::MAX.len_utf8()));
            let span = Span { focus, ..Span::lines(first_line, self.at as u32) };
            return Err(Error::new(ParseProblem::NotUtf8, Some(span)));
        }
        if !keeps_bytes(&node) && node.heredocs.iter().any(|heredoc| text::first_byte(&heredoc.text).is_some()) {
            return Err(located(ParseProblem::NotUtf8, self.at as u32));
        }
        node.span = Span::lines(first_line, self.at as u32);
        Ok(node)
    }

    /// Joins the lines that continue `first`.
    fn logical(&mut self, first: &str, column: usize) -> Logical {
        let escape = self.directives.directives.escape;
        let first_line = self.at as u32;
        let mut logical = Logical::default();
        let mut empty_line = false;
        let (mut piece, mut ended) = without_continuation(first, escape);
        logical.push(piece, first_line, column);
        while !ended && let Some(raw) = self.next_line() {
            let line = trim_line_end(raw);
            let stripped = line.trim_start();
            if stripped.starts_with('#') {
                continue;
            }
            if stripped.is_empty() {
                empty_line = true;
                continue;
            }
            (piece, ended) = without_continuation(line, escape);
            logical.push(piece, self.at as u32, 0);
        }
        if empty_line {
            self.warnings.push(Warning {
                message: format!("Empty continuation line found in: {}", logical.text),
                span: Span::lines(first_line, self.at as u32),
            });
        }
        logical
    }

    /// Takes the lines of a heredoc; false when it is not closed.
    fn fill(&mut self, heredoc: &mut Heredoc) -> bool {
        while let Some(raw) = self.next_line() {
            if heredoc.ends_at(trim_line_end(raw)) {
                return true;
            }
            heredoc.text.push_str(raw);
        }
        false
    }
}

fn trim_line_end(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// The line without its continuation mark, and whether it had none and so ends the instruction.
fn without_continuation(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(before) if !before.ends_with(escape) => (before, false),
        _ => (line, true),
    }
}

/// Whether a line goes on with the next one.
pub(crate) fn is_continued(line: &str, escape: char) -> bool {
    !without_continuation(line, escape).1
}

/// ONBUILD within ONBUILD is refused later; deeper ones are not even looked at.
const MAX_NESTING: u32 = 3;

fn node_from(text: &str, escape: char, nesting: u32) -> Result<Node, ParseProblem> {
    let parts = words::split_line(text);
    let arguments = arguments(&parts.name.to_ascii_lowercase(), parts.arguments, escape, nesting)?;
    Ok(Node {
        name: parts.name.to_owned(),
        name_focus: None,
        flags: parts.flags.into_iter().map(|flag| (flag, None)).collect(),
        arguments,
        heredocs: Vec::new(),
        text: text.to_owned(),
        span: Span::default(),
        comments: Vec::new(),
    })
}

fn arguments(name: &str, rest: &str, escape: char, nesting: u32) -> Result<Arguments, ParseProblem> {
    Ok(match name {
        "add" | "copy" | "volume" => match words::parse_json(rest)? {
            Some(strings) => Arguments::Json(strings),
            None => Arguments::Words(words::split_blanks(rest)),
        },
        "cmd" | "entrypoint" | "run" | "shell" => json_or_line(rest)?,
        "arg" => Arguments::Words(words::split_words(rest, escape)),
        "env" => pairs("ENV", rest, escape)?,
        "label" => pairs("LABEL", rest, escape)?,
        "expose" | "from" => Arguments::Words(words::split_blanks(rest)),
        "maintainer" | "stopsignal" | "user" | "workdir" => line(rest),
        "healthcheck" => health(rest)?,
        "onbuild" if !rest.is_empty() && nesting < MAX_NESTING => {
            Arguments::Trigger(Box::new(node_from(rest, escape, nesting + 1)?))
        }
        _ => Arguments::Words(Vec::new()),
    })
}

fn line(rest: &str) -> Arguments {
    Arguments::Words(if rest.is_empty() { Vec::new() } else { vec![rest.to_owned()] })
}

fn json_or_line(rest: &str) -> Result<Arguments, ParseProblem> {
    Ok(match words::parse_json(rest)? {
        Some(strings) => Arguments::Json(strings),
        None => line(rest),
    })
}

fn health(rest: &str) -> Result<Arguments, ParseProblem> {
    if rest.is_empty() {
        return Ok(Arguments::Words(Vec::new()));
    }
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let command = Box::new(json_or_line(rest[end..].trim_start())?);
    Ok(Arguments::Health { kind: rest[..end].to_owned(), command })
}

fn pairs(name: &'static str, rest: &str, escape: char) -> Result<Arguments, ParseProblem> {
    let words = words::split_words(rest, escape);
    let Some(first) = words.first() else {
        return Ok(Arguments::Pairs { pairs: Vec::new(), old_form: false });
    };
    if !first.contains('=') {
        let (key, value) = words::split_once_blank(rest).ok_or(ParseProblem::TwoArguments(name))?;
        return Ok(Arguments::Pairs { pairs: vec![(key.to_owned(), value.to_owned())], old_form: true });
    }
    let pairs = words.iter().map(|word| match word.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(ParseProblem::NoEquals(word.clone())),
    });
    Ok(Arguments::Pairs { pairs: pairs.collect::<Result<_, _>>()?, old_form: false })
}

/// Whether the heredocs become files, which may hold any bytes; other texts become arguments of processes.
fn keeps_bytes(node: &Node) -> bool {
    match (&node.arguments, node.name.to_ascii_lowercase().as_str()) {
        (_, "add" | "copy") => true,
        (Arguments::Words(words), "run") => {
            let alone = words.first().is_some_and(|line| heredoc::parse(line).is_some());
            alone && node.heredocs.first().is_some_and(|heredoc| heredoc.content().starts_with("#!"))
        }
        _ => false,
    }
}

/// Whether an instruction says something about the image only, where JSON has U+FFFD for what is not UTF-8.
fn is_only_told(node: &Node) -> bool {
    const TOLD: [&str; 8] = ["label", "maintainer", "cmd", "entrypoint", "healthcheck", "volume", "shell", "onbuild"];
    TOLD.contains(&node.name.to_ascii_lowercase().as_str())
}

fn takes_heredocs(node: &Node) -> bool {
    match (&node.arguments, node.name.to_ascii_lowercase().as_str()) {
        (Arguments::Trigger(inner), "onbuild") => !inner.name.eq_ignore_ascii_case("onbuild") && takes_heredocs(inner),
        (Arguments::Words(_), "add" | "copy" | "run") => true,
        _ => false,
    }
}
