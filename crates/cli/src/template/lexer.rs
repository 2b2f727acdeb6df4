//! A template's text as tokens.

use serde_json::{Number, Value};

use super::error::{ParseError, Place};

/// A token with where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) place: Place,
    /// As written.
    pub(super) text: String,
    /// A blank comes before it.
    pub(super) after_blank: bool,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    Text,
    Open,
    Close,
    /// `.`
    Dot,
    /// `.Name`
    Field(String),
    /// `$name`, without the dollar sign.
    Variable(String),
    Word(String),
    Literal(Value),
    Declare,
    Assign,
    Comma,
    Pipe,
    OpenGroup,
    CloseGroup,
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// The tokens of a template.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ParseError> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), ParseError> {
        let mut trim_next = false;
        while self.at < self.text.len() {
            let open = self.rest().find(OPEN);
            let end = open.map_or(self.text.len(), |open| self.at + open);
            self.plain(end, trim_next, open.is_some());
            self.at = end;
            if open.is_some() {
                trim_next = self.action()?;
            }
        }
        Ok(())
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Text up to `end`; an action's `-` takes the blanks beside it away.
    fn plain(&mut self, end: usize, trim_start: bool, before_action: bool) {
        let mut text = self.text.get(self.at..end).unwrap_or_default();
        if trim_start {
            text = text.trim_start();
        }
        let after = self.text.get(end + OPEN.len()..).unwrap_or_default();
        if before_action && is_trimming(after) {
            text = text.trim_end();
        }
        if !text.is_empty() {
            let text = text.to_owned();
            self.tokens.push(Token { kind: TokenKind::Text, place: self.place(), text, after_blank: false });
        }
    }

    /// An action with its braces; whether the text after it is trimmed.
    fn action(&mut self) -> Result<bool, ParseError> {
        let open = self.place();
        self.at += OPEN.len();
        if is_trimming(self.rest()) {
            self.at += 1;
        }
        if self.rest().trim_start().starts_with("/*") {
            return self.comment();
        }
        self.push(TokenKind::Open, open, self.at, false);
        loop {
            let before = self.at;
            self.at += self.rest().len() - self.rest().trim_start().len();
            let blank = self.at > before;
            if self.rest().starts_with(CLOSE) {
                self.push(TokenKind::Close, self.place(), self.at, blank);
                self.at += CLOSE.len();
                return Ok(false);
            }
            if blank && self.rest().starts_with("-}}") {
                self.push(TokenKind::Close, self.place(), self.at, blank);
                self.at += 1 + CLOSE.len();
                return Ok(true);
            }
            if self.rest().is_empty() {
                return Err(self.error("unclosed action"));
            }
            self.token(blank)?;
        }
    }

    fn comment(&mut self) -> Result<bool, ParseError> {
        let end = self.rest().find("*/").ok_or_else(|| self.error("unclosed comment"))?;
        self.at += end + 2;
        let rest = self.rest();
        let trimmed = rest.trim_start();
        let blanks = rest.len() - trimmed.len();
        let (length, trims) = if trimmed.starts_with(CLOSE) {
            (CLOSE.len(), false)
        } else if trimmed.starts_with("-}}") {
            (1 + CLOSE.len(), true)
        } else {
            return Err(self.error("comment ends before closing delimiter"));
        };
        self.at += blanks + length;
        Ok(trims)
    }

    fn token(&mut self, blank: bool) -> Result<(), ParseError> {
        let (place, start) = (self.place(), self.at);
        let first = self.rest().chars().next().unwrap_or_default();
        let kind = match first {
            '.' if self.rest().get(1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) => {
                self.number()?
            }
            '.' => {
                self.at += 1;
                let name = self.name();
                if name.is_empty() { TokenKind::Dot } else { TokenKind::Field(name) }
            }
            '$' => {
                self.at += 1;
                TokenKind::Variable(self.name())
            }
            '"' => self.quoted()?,
            '`' => self.raw()?,
            '\'' => self.character()?,
            '0'..='9' | '-' | '+' => self.number()?,
            letter if letter.is_alphabetic() || letter == '_' => TokenKind::Word(self.name()),
            _ => self.sign(first)?,
        };
        self.push(kind, place, start, blank);
        Ok(())
    }

    fn sign(&mut self, first: char) -> Result<TokenKind, ParseError> {
        let (kind, length) = match first {
            '|' => (TokenKind::Pipe, 1),
            '(' => (TokenKind::OpenGroup, 1),
            ')' => (TokenKind::CloseGroup, 1),
            ',' => (TokenKind::Comma, 1),
            '=' => (TokenKind::Assign, 1),
            ':' if self.rest().starts_with(":=") => (TokenKind::Declare, 2),
            _ => return Err(self.error(&format!("unexpected {first:?} in command"))),
        };
        self.at += length;
        Ok(kind)
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default().to_owned();
        self.at += end;
        name
    }

    fn number(&mut self) -> Result<TokenKind, ParseError> {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c))).unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default().to_owned();
        self.at += end;
        let plain = text.replace('_', "");
        let whole = match plain.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).ok(),
            None => plain.parse::<i64>().ok(),
        };
        let number = whole.map(Number::from).or_else(|| plain.parse().ok().and_then(Number::from_f64));
        let number = number.ok_or_else(|| self.error(&format!("bad number syntax: {text:?}")))?;
        Ok(TokenKind::Literal(Value::Number(number)))
    }

    fn quoted(&mut self) -> Result<TokenKind, ParseError> {
        let unterminated = "unterminated quoted string";
        let (text, length) = unquoted(self.rest(), '"').ok_or_else(|| self.error(unterminated))?;
        self.at += length;
        Ok(TokenKind::Literal(Value::String(text)))
    }

    fn character(&mut self) -> Result<TokenKind, ParseError> {
        let (text, length) =
            unquoted(self.rest(), '\'').ok_or_else(|| self.error("unterminated character constant"))?;
        self.at += length;
        let mut letters = text.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => Ok(TokenKind::Literal(Value::from(u32::from(letter)))),
            _ => Err(self.error("malformed character constant")),
        }
    }

    fn raw(&mut self) -> Result<TokenKind, ParseError> {
        let inner = self.rest().get(1..).unwrap_or_default();
        let end = inner.find('`').ok_or_else(|| self.error("unterminated raw quoted string"))?;
        let text = inner.get(..end).unwrap_or_default().to_owned();
        self.at += end + 2;
        Ok(TokenKind::Literal(Value::String(text)))
    }

    fn push(&mut self, kind: TokenKind, place: Place, start: usize, after_blank: bool) {
        let text = self.text.get(start..self.at).unwrap_or_default().to_owned();
        self.tokens.push(Token { kind, place, text, after_blank });
    }

    fn place(&self) -> Place {
        let before = self.text.get(..self.at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place { line: before.matches('\n').count() + 1, column: self.at - line_start }
    }

    fn error(&self, what: &str) -> ParseError {
        ParseError { line: self.place().line, what: what.to_owned() }
    }
}

/// `{{- ` takes away the blanks before it; `{{-3}}` is a number.
fn is_trimming(after_open: &str) -> bool {
    after_open.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_whitespace()))
}

/// The content of a quoted text and its length with quotes; `None` where it does not end.
fn unquoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut content = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => content.push(match letters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            '\n' => return None,
            _ if letter == quote => return Some((content, at + quote.len_utf8())),
            _ => content.push(letter),
        }
    }
    None
}
