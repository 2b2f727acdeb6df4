//! Expansion of a Dockerfile word as a small shell would do it: quotes, escapes, `$name`, `${name…}`.
//! Does not know which instruction a word belongs to.

mod problem;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use crate::glob::ValuePattern;

pub use problem::{ShellError, ShellProblem};

use words::Words;

/// Where the values of variables come from.
pub trait Variables {
    /// The value of `name`, or `None` when it is not set.
    fn value(&self, name: &str) -> Option<&str>;
}

/// No variables at all.
impl Variables for () {
    fn value(&self, _: &str) -> Option<&str> {
        None
    }
}

impl Variables for BTreeMap<String, String> {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

/// What the expansion keeps or leaves alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Keep quotes in the result.
    pub raw_quotes: bool,
    /// Keep escape characters in the result.
    pub raw_escapes: bool,
    /// Treat quotes as ordinary characters.
    pub skip_quotes: bool,
    /// Keep references to unset variables as written.
    pub skip_unset: bool,
}

/// The outcome of an expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The text expanded as one word.
    pub word: String,
    /// The text expanded and split at blanks that are not quoted.
    pub words: Vec<String>,
    /// Names that were looked up and set.
    pub matched: BTreeSet<String>,
    /// Names that were looked up and not set.
    pub unmatched: BTreeSet<String>,
}

/// What variables may add to a text, in bytes: no argument or variable of a process may be longer, and texts
/// whose variables double each other must not exhaust the memory.
const MOST_ADDED: usize = 1 << 20;

/// An expander with an escape character and options.
#[derive(Clone, Copy, Debug)]
pub struct Shell {
    escape: char,
    options: Options,
}

impl Shell {
    /// `escape` is the Dockerfile's escape character, `\` or a backtick.
    pub fn new(escape: char, options: Options) -> Shell {
        Shell { escape, options }
    }

    /// Expands `text` with `variables`.
    ///
    /// # Errors
    /// An unclosed quote or brace, a substitution that does not exist, a variable that must be set and is not,
    /// or an outcome more than 1 MiB longer than `text`.
    pub fn expand(&self, text: &str, variables: &dyn Variables) -> Result<Expansion, ShellError> {
        if self.is_plain(text) {
            let words = text.split_whitespace().map(str::to_owned).collect();
            return Ok(Expansion { word: text.to_owned(), words, ..Expansion::default() });
        }
        let mut run = Run::new(self, text, variables, Words::default());
        let (word, words) = run
            .until(None, self.options.raw_escapes)
            .map_err(|problem| ShellError { word: text.to_owned(), problem })?;
        Ok(Expansion { word, words, matched: run.matched, unmatched: run.unmatched })
    }

    /// Expands `text` as one word.
    ///
    /// # Errors
    /// As [`Shell::expand`].
    pub fn expand_word(&self, text: &str, variables: &dyn Variables) -> Result<String, ShellError> {
        if self.is_plain(text) {
            return Ok(text.to_owned());
        }
        let expanded = Run::new(self, text, variables, Words::not_wanted()).until(None, self.options.raw_escapes);
        expanded.map(|(word, _)| word).map_err(|problem| ShellError { word: text.to_owned(), problem })
    }

    /// Whether there is nothing to expand.
    fn is_plain(&self, text: &str) -> bool {
        !text.contains(|c| c == self.escape || is_special(c))
    }
}

/// Whether a character may mean something else than itself, whatever the escape character.
fn is_special(c: char) -> bool {
    matches!(c, '$' | '\'' | '"')
}

/// Braces nested deeper than this are refused, so that hostile input cannot exhaust the stack.
const MAX_DEPTH: u32 = 200;

struct Run<'a> {
    rest: &'a str,
    escape: char,
    options: Options,
    variables: &'a dyn Variables,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
    depth: u32,
    /// How many operands of `${name…}` were read. BuildKit forgets the part of a word that stands before
    /// one (in the list of words only), and Dockerfiles are read as it reads them.
    operands: u32,
    /// The most bytes that may come out.
    limit: usize,
    /// What a list of words starts as.
    words: Words,
}

impl<'a> Run<'a> {
    fn new(shell: &Shell, text: &'a str, variables: &'a dyn Variables, words: Words) -> Run<'a> {
        Run {
            rest: text,
            escape: shell.escape,
            options: shell.options,
            variables,
            matched: BTreeSet::new(),
            unmatched: BTreeSet::new(),
            depth: 0,
            operands: 0,
            limit: text.len() + MOST_ADDED,
            words,
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Expands up to `stop` (which is consumed) or to the end.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<(String, Vec<String>), ShellProblem> {
        let before = std::mem::replace(&mut self.options.raw_escapes, raw_escapes);
        self.depth += 1;
        let result = if self.depth > MAX_DEPTH { Err(ShellProblem::BadSubstitution) } else { self.until_inner(stop) };
        self.depth -= 1;
        self.options.raw_escapes = before;
        result
    }

    fn until_inner(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), ShellProblem> {
        let mut word = String::new();
        let mut words = self.words.clone();
        while let Some(c) = self.peek() {
            if stop == Some(c) {
                self.next();
                return Ok((word, words.finish()));
            }
            match c {
                '$' => {
                    let before = self.operands;
                    let value = self.dollar()?;
                    if self.operands > before {
                        words.current.clear();
                    }
                    words.add(&value);
                    self.append(&mut word, &value)?;
                }
                '\'' | '"' if !self.options.skip_quotes => {
                    let before = self.operands;
                    let value = self.quoted(c)?;
                    if self.operands > before {
                        words.current.clear();
                    }
                    words.add_raw(&value);
                    self.append(&mut word, &value)?;
                }
                c if c == self.escape => self.escaped(&mut word, &mut words),
                _ => {
                    let plain = self.plain(stop);
                    words.add(plain);
                    word.push_str(plain);
                }
            }
        }
        match stop {
            Some(c) => Err(ShellProblem::Unclosed(c.to_string())),
            None => Ok((word, words.finish())),
        }
    }

    fn append(&self, word: &mut String, value: &str) -> Result<(), ShellProblem> {
        if word.len() + value.len() > self.limit {
            return Err(ShellProblem::TooLong);
        }
        word.push_str(value);
        Ok(())
    }

    /// The ordinary characters that come next, at least one.
    fn plain(&mut self, stop: Option<char>) -> &'a str {
        let (escape, first) = (self.escape, self.peek().map_or(0, char::len_utf8));
        let after = self.rest[first..].find(|c| c == escape || is_special(c) || Some(c) == stop);
        let (plain, rest) = self.rest.split_at(after.map_or(self.rest.len(), |after| first + after));
        self.rest = rest;
        plain
    }

    /// An escape with the character after it.
    fn escaped(&mut self, word: &mut String, words: &mut Words) {
        let Some(escape) = self.next() else { return };
        let kept = self.options.raw_escapes.then_some(escape);
        for c in kept.into_iter().chain(self.next()) {
            word.push(c);
            words.add_raw(c.encode_utf8(&mut [0; 4]));
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, ShellProblem> {
        self.next();
        let mut out = String::new();
        if self.options.raw_quotes {
            out.push(quote);
        }
        if quote == '\'' {
            self.single_quoted(&mut out)?;
        } else {
            self.double_quoted(&mut out)?;
        }
        if self.options.raw_quotes {
            out.push(quote);
        }
        Ok(out)
    }

    fn single_quoted(&mut self, out: &mut String) -> Result<(), ShellProblem> {
        let Some((inside, rest)) = self.rest.split_once('\'') else {
            self.rest = "";
            return Err(ShellProblem::Unclosed("single-quote".to_owned()));
        };
        out.push_str(inside);
        self.rest = rest;
        Ok(())
    }

    fn double_quoted(&mut self, out: &mut String) -> Result<(), ShellProblem> {
        loop {
            match self.peek() {
                None => return Err(ShellProblem::Unclosed("double-quote".to_owned())),
                Some('"') => {
                    self.next();
                    return Ok(());
                }
                Some('$') => {
                    let value = self.dollar()?;
                    self.append(out, &value)?;
                }
                Some(c) => {
                    self.next();
                    if c != self.escape {
                        out.push(c);
                        continue;
                    }
                    if self.options.raw_escapes {
                        out.push(c);
                    }
                    match self.peek() {
                        None => {}
                        Some(after) if after == '"' || after == '$' || after == self.escape => {
                            out.push(after);
                            self.next();
                        }
                        Some(_) => out.push(c),
                    }
                }
            }
        }
    }

    fn dollar(&mut self) -> Result<String, ShellProblem> {
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.value(&name) {
                Some(value) => value.to_owned(),
                None if self.options.skip_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.next();
        match self.peek() {
            None => return Err(ShellProblem::MissingBrace),
            Some('{' | '}' | ':') => return Err(ShellProblem::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        self.braced(&name)
    }

    /// What follows the name in `${name…}`.
    fn braced(&mut self, name: &str) -> Result<String, ShellProblem> {
        match self.next() {
            Some('}') => Ok(match self.value(name) {
                Some(value) => value.to_owned(),
                None if self.options.skip_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            Some(':') => {
                let modifier = self.next();
                let spelt = modifier.map_or(":".to_owned(), |c| format!(":{c}"));
                match modifier {
                    Some(c @ ('-' | '+' | '?')) => self.default_or_alternative(name, c, true),
                    Some(_) => Err(ShellProblem::UnsupportedModifier(spelt)),
                    None => Err(ShellProblem::MissingBrace),
                }
            }
            Some(c @ ('-' | '+' | '?')) => self.default_or_alternative(name, c, false),
            Some(c @ ('#' | '%')) => self.trimmed(name, c),
            Some('/') => self.replaced(name),
            Some(c) => Err(ShellProblem::UnsupportedModifier(c.to_string())),
            None => Err(ShellProblem::UnsupportedModifier(char::REPLACEMENT_CHARACTER.to_string())),
        }
    }

    /// A word inside braces, up to `stop`.
    fn operand(&mut self, stop: char, raw_escapes: bool) -> Result<String, ShellProblem> {
        self.operands += 1;
        match self.until(Some(stop), raw_escapes) {
            Ok((word, _)) => Ok(word),
            Err(_) if self.rest.is_empty() && stop == '/' => Err(ShellProblem::MissingSlash),
            Err(_) if self.rest.is_empty() => Err(ShellProblem::MissingBrace),
            Err(problem) => Err(problem),
        }
    }

    fn default_or_alternative(
        &mut self,
        name: &str,
        modifier: char,
        empty_is_unset: bool,
    ) -> Result<String, ShellProblem> {
        let word = self.operand('}', false)?;
        let value = self.value(name);
        if value.is_none() && self.options.skip_unset {
            let colon = if empty_is_unset { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let usable = value.filter(|v| !(empty_is_unset && v.is_empty()));
        match (modifier, usable) {
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value.to_owned()),
            (_, None) => Err(ShellProblem::Required {
                name: name.to_owned(),
                message: match (word.is_empty(), value) {
                    (false, _) => word,
                    (true, None) => "is not allowed to be unset".to_owned(),
                    (true, Some(_)) => "is not allowed to be empty".to_owned(),
                },
            }),
        }
    }

    fn trimmed(&mut self, name: &str, modifier: char) -> Result<String, ShellProblem> {
        let word = self.operand('}', true)?;
        let Some(value) = self.value(name).or(self.empty_if_unset()) else {
            return Ok(format!("${{{name}{modifier}{word}}}"));
        };
        let (longest, pattern) = match word.strip_prefix(modifier) {
            Some(pattern) => (true, pattern),
            None => (false, word.as_str()),
        };
        let pattern = parse_pattern(pattern)?;
        Ok(if modifier == '#' { pattern.trim_start(value, longest) } else { pattern.trim_end(value, longest) })
    }

    fn replaced(&mut self, name: &str) -> Result<String, ShellProblem> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.operand('/', true)?;
        let replacement = self.operand('}', true)?;
        let Some(value) = self.value(name).or(self.empty_if_unset()) else {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        };
        parse_pattern(&pattern)?.replace(value, &replacement, all, self.limit).ok_or(ShellProblem::TooLong)
    }

    /// What an unset variable is worth, unless its reference stays as written.
    fn empty_if_unset(&self) -> Option<&'static str> {
        (!self.options.skip_unset).then_some("")
    }

    fn name(&mut self) -> String {
        let Some(first) = self.peek() else {
            return String::new();
        };
        let length = if first.is_numeric() {
            self.rest.find(|c: char| !c.is_numeric())
        } else if "@*#?-$!".contains(first) {
            Some(first.len_utf8())
        } else {
            self.rest.find(|c: char| !c.is_alphanumeric() && c != '_')
        };
        let (name, rest) = self.rest.split_at(length.unwrap_or(self.rest.len()));
        self.rest = rest;
        name.to_owned()
    }

    fn value(&mut self, name: &str) -> Option<&'a str> {
        let variables = self.variables;
        let value = variables.value(name);
        match value {
            Some(_) => self.matched.insert(name.to_owned()),
            None => self.unmatched.insert(name.to_owned()),
        };
        value
    }
}

fn parse_pattern(pattern: &str) -> Result<ValuePattern, ShellProblem> {
    ValuePattern::parse(pattern).map_err(|escape| ShellProblem::BadPattern { pattern: pattern.to_owned(), escape })
}
