//! Tokens as a tree.

use serde_json::Value;

use super::error::ParseError;
use super::functions;
use super::lexer::{Token, TokenKind};
use super::syntax::{Branch, Command, Node, Pipeline, Word, WordKind};

/// Deeper groups than anybody writes.
const DEEPEST: usize = 100;

/// The pieces of a template.
pub(super) fn parse(tokens: Vec<Token>) -> Result<Vec<Node>, ParseError> {
    let line = tokens.last().map_or(1, |token| token.place.line);
    let mut parser = Parser { tokens, at: 0, line, variables: vec![String::new()], loops: 0, depth: 0 };
    let (nodes, end) = parser.nodes()?;
    match end {
        Closing::Text => Ok(nodes),
        Closing::End => Err(parser.error("unexpected {{end}}")),
        Closing::Else => Err(parser.error("unexpected {{else}}")),
    }
}

/// What a list of nodes ended with.
#[derive(PartialEq)]
enum Closing {
    Text,
    End,
    /// `else`; the token after it is next.
    Else,
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    /// The last line, for what is missing at the end.
    line: usize,
    /// Names that are known here, innermost last.
    variables: Vec<String>,
    /// `range`s around this place.
    loops: usize,
    depth: usize,
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, Closing), ParseError> {
        let mut nodes = Vec::new();
        while let Some(token) = self.next() {
            if token.kind == TokenKind::Text {
                nodes.push(Node::Text(token.text));
                continue;
            }
            match self.keyword().as_deref() {
                Some("end") => {
                    self.at += 1;
                    self.expect_close()?;
                    return Ok((nodes, Closing::End));
                }
                Some("else") => {
                    self.at += 1;
                    return Ok((nodes, Closing::Else));
                }
                Some(word) if is_control(word) => {
                    self.at += 1;
                    nodes.push(self.control(word)?);
                }
                _ => {
                    let pipeline = self.pipeline()?;
                    self.expect_close()?;
                    nodes.push(Node::Action(pipeline));
                }
            }
        }
        Ok((nodes, Closing::Text))
    }

    fn control(&mut self, word: &str) -> Result<Node, ParseError> {
        match word {
            "if" => Ok(Node::If(self.branch("if")?)),
            "with" => Ok(Node::With(self.branch("with")?)),
            "range" => {
                self.loops += 1;
                let branch = self.branch("range");
                self.loops -= 1;
                Ok(Node::Range(branch?))
            }
            "break" | "continue" => {
                if self.loops == 0 {
                    return Err(self.error(&format!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                self.expect_close()?;
                Ok(if word == "break" { Node::Break } else { Node::Continue })
            }
            other => Err(self.error(&format!("{{{{{other}}}}} is not supported"))),
        }
    }

    fn branch(&mut self, word: &str) -> Result<Branch, ParseError> {
        self.deeper()?;
        let known = self.variables.len();
        let condition = self.pipeline()?;
        self.expect_close()?;
        let (then, end) = self.nodes()?;
        let otherwise = match end {
            Closing::Text => return Err(self.unexpected_end()),
            Closing::End => Vec::new(),
            Closing::Else => self.otherwise(word)?,
        };
        self.variables.truncate(known);
        self.depth -= 1;
        Ok(Branch { condition, then, otherwise })
    }

    /// What comes after `else`: `if …` in the same action, or nodes up to the `end`.
    fn otherwise(&mut self, word: &str) -> Result<Vec<Node>, ParseError> {
        if self.keyword().as_deref() == Some(word) && word != "range" {
            self.at += 1;
            let branch = self.branch(word)?;
            return Ok(vec![if word == "if" { Node::If(branch) } else { Node::With(branch) }]);
        }
        self.expect_close()?;
        match self.nodes()? {
            (nodes, Closing::End) => Ok(nodes),
            (_, Closing::Text) => Err(self.unexpected_end()),
            (_, Closing::Else) => Err(self.error("expected end; found {{else}}")),
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, ParseError> {
        let (variables, declares) = self.declaration()?;
        let mut commands = vec![self.command()?];
        while self.take(&TokenKind::Pipe) {
            commands.push(self.command()?);
        }
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline { variables, declares, commands })
    }

    /// `$x :=`, `$i, $x :=`, `$x =`, or nothing.
    fn declaration(&mut self) -> Result<(Vec<String>, bool), ParseError> {
        let start = self.at;
        let mut names = Vec::new();
        while let Some(TokenKind::Variable(name)) = self.peek().map(|token| token.kind.clone()) {
            self.at += 1;
            names.push(name);
            if !self.take(&TokenKind::Comma) {
                break;
            }
        }
        if !names.is_empty() {
            if self.take(&TokenKind::Declare) {
                return Ok((names, true));
            }
            if self.take(&TokenKind::Assign) {
                let unknown = names.iter().find(|name| !self.variables.contains(name));
                return match unknown {
                    Some(name) => Err(self.error(&format!("undefined variable \"${name}\""))),
                    None => Ok((names, false)),
                };
            }
        }
        self.at = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self) -> Result<Command, ParseError> {
        let mut words = Vec::new();
        while let Some(word) = self.word()? {
            words.push(word);
        }
        if words.is_empty() {
            return Err(self.error("missing value for command"));
        }
        Ok(Command { words })
    }

    fn word(&mut self) -> Result<Option<Word>, ParseError> {
        let Some(token) = self.peek().cloned() else { return Ok(None) };
        let kind = match token.kind {
            TokenKind::Dot => WordKind::Dot,
            TokenKind::Field(name) => {
                self.at += 1;
                let (fields, text) = self.fields(vec![name], token.text);
                return Ok(Some(Word { kind: WordKind::Fields(fields), place: token.place, text }));
            }
            TokenKind::Variable(name) => return self.variable(name, token.place, token.text).map(Some),
            TokenKind::Literal(value) => WordKind::Literal(value),
            TokenKind::OpenGroup => return self.group(token.place).map(Some),
            TokenKind::Word(name) => self.named(name)?,
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(Word { kind, place: token.place, text: token.text }))
    }

    fn variable(&mut self, name: String, place: super::error::Place, text: String) -> Result<Word, ParseError> {
        if !self.variables.contains(&name) {
            return Err(self.error(&format!("undefined variable \"${name}\"")));
        }
        self.at += 1;
        let (fields, text) = self.fields(Vec::new(), text);
        Ok(Word { kind: WordKind::Variable(name, fields), place, text })
    }

    fn group(&mut self, place: super::error::Place) -> Result<Word, ParseError> {
        self.deeper()?;
        self.at += 1;
        let pipeline = self.pipeline()?;
        if !self.take(&TokenKind::CloseGroup) {
            return Err(self.error("unclosed left paren"));
        }
        self.depth -= 1;
        let inner = pipeline.commands.iter().map(Command::text).collect::<Vec<_>>().join(" | ");
        let (fields, text) = self.fields(Vec::new(), format!("({inner})"));
        Ok(Word { kind: WordKind::Group(Box::new(pipeline), fields), place, text })
    }

    fn named(&mut self, name: String) -> Result<WordKind, ParseError> {
        match name.as_str() {
            "true" => Ok(WordKind::Literal(Value::Bool(true))),
            "false" => Ok(WordKind::Literal(Value::Bool(false))),
            "nil" => Ok(WordKind::Literal(Value::Null)),
            known if functions::exists(known) => Ok(WordKind::Function(name)),
            _ => Err(self.error(&format!("function {name:?} not defined"))),
        }
    }

    /// `.A.B` directly behind something.
    fn fields(&mut self, mut fields: Vec<String>, mut text: String) -> (Vec<String>, String) {
        while let Some(token) = self.peek().filter(|token| !token.after_blank).cloned() {
            let TokenKind::Field(name) = token.kind else { break };
            fields.push(name);
            text.push_str(&token.text);
            self.at += 1;
        }
        (fields, text)
    }

    /// The first word of the action that was just opened, or goes on.
    fn keyword(&self) -> Option<String> {
        match &self.peek()?.kind {
            TokenKind::Word(word) => Some(word.clone()),
            _ => None,
        }
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += usize::from(token.is_some());
        token
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, kind: &TokenKind) -> bool {
        let is_next = self.peek().is_some_and(|token| token.kind == *kind);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect_close(&mut self) -> Result<(), ParseError> {
        if self.take(&TokenKind::Close) {
            return Ok(());
        }
        let found = self.peek().map(|token| token.text.clone()).unwrap_or_default();
        Err(self.error(&format!("unexpected {found:?} in operand")))
    }

    fn deeper(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > DEEPEST { Err(self.error("nested too deeply")) } else { Ok(()) }
    }

    fn unexpected_end(&self) -> ParseError {
        ParseError { line: self.line, what: "unexpected EOF".into() }
    }

    fn error(&self, what: &str) -> ParseError {
        let line = self.peek().map_or(self.line, |token| token.place.line);
        ParseError { line, what: what.to_owned() }
    }
}

fn is_control(word: &str) -> bool {
    ["if", "with", "range", "break", "continue", "define", "template", "block"].contains(&word)
}
