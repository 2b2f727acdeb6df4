//! A template with data: the text.

use serde_json::Value;

use super::error::{ExecuteError, Place};
use super::functions::{self, Mode};
use super::shapes::{self, Shape};
use super::syntax::{Branch, Command, Node, Pipeline, Word, WordKind};
use super::{Failed, print};

/// A value in Go's eyes.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// `None` is a key that a map does not have.
    pub(super) value: Option<Value>,
    pub(super) shape: Shape,
}

impl Item {
    pub(super) fn new(value: impl Into<Value>) -> Self {
        Item { value: Some(value.into()), shape: Shape::Plain }
    }

    /// Go's truth: anything but zero, false, nothing and empty.
    pub(super) fn is_true(&self) -> bool {
        match &self.value {
            None | Some(Value::Null) => false,
            Some(Value::Bool(truth)) => *truth,
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(items)) => !items.is_empty(),
            // An object that is no map is a struct, which is always true.
            Some(Value::Object(members)) => self.shape != Shape::Map || !members.is_empty(),
        }
    }
}

/// Runs a template.
pub(super) fn execute(nodes: &[Node], data: &Value, mode: Mode) -> Result<String, Failed> {
    let whole = Item::new(data.clone());
    let variables = vec![(String::new(), whole.clone())];
    let mut run = Run { text: String::new(), variables, mode };
    match run.nodes(nodes, &whole) {
        Ok(_) => Ok(run.text),
        Err(error) => Err(Failed { written: run.text, error }),
    }
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Run {
    text: String,
    /// Innermost last.
    variables: Vec<(String, Item)>,
    mode: Mode,
}

impl Run {
    fn nodes(&mut self, nodes: &[Node], dot: &Item) -> Result<Flow, ExecuteError> {
        for node in nodes {
            let flow = match node {
                Node::Text(text) => {
                    self.text.push_str(text);
                    Flow::On
                }
                Node::Action(pipeline) => {
                    let item = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.text.push_str(&print::value(&item));
                    }
                    Flow::On
                }
                Node::If(branch) => self.scoped(|run| {
                    let condition = run.pipeline(&branch.condition, dot)?;
                    run.nodes(if condition.is_true() { &branch.then } else { &branch.otherwise }, dot)
                })?,
                Node::With(branch) => self.scoped(|run| {
                    let item = run.pipeline(&branch.condition, dot)?;
                    if item.is_true() { run.nodes(&branch.then, &item) } else { run.nodes(&branch.otherwise, dot) }
                })?,
                Node::Range(branch) => self.scoped(|run| run.range(branch, dot))?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    /// Variables that are declared inside are forgotten.
    fn scoped<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, ExecuteError>) -> Result<T, ExecuteError> {
        let known = self.variables.len();
        let result = inner(self);
        self.variables.truncate(known);
        result
    }

    fn range(&mut self, branch: &Branch, dot: &Item) -> Result<Flow, ExecuteError> {
        let whole = Pipeline { variables: Vec::new(), ..branch.condition.clone() };
        let item = self.pipeline(&whole, dot)?;
        let elements = elements(&item).ok_or_else(|| {
            let what = format!("range can't iterate over {}", print::value(&item));
            let command = branch.condition.commands.last();
            command.map_or_else(|| error_at(None, &what), |command| error_at(command.words.first(), &what))
        })?;
        if elements.is_empty() {
            return self.nodes(&branch.otherwise, dot);
        }
        let names = &branch.condition.variables;
        for (key, value) in elements {
            let flow = self.scoped(|run| {
                match names.as_slice() {
                    [] => {}
                    [only] => run.set(only, value.clone(), branch.condition.declares),
                    [first, second, ..] => {
                        run.set(first, key, branch.condition.declares);
                        run.set(second, value.clone(), branch.condition.declares);
                    }
                }
                run.nodes(&branch.then, &value)
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn set(&mut self, name: &str, item: Item, declares: bool) {
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        match known {
            Some((_, old)) if !declares => *old = item,
            _ => self.variables.push((name.to_owned(), item)),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Item) -> Result<Item, ExecuteError> {
        let mut result = None;
        for command in &pipeline.commands {
            result = Some(self.command(command, dot, result)?);
        }
        let result = result.unwrap_or(Item { value: None, shape: Shape::Plain });
        for name in &pipeline.variables {
            self.set(name, result.clone(), pipeline.declares);
        }
        Ok(result)
    }

    fn command(&mut self, command: &Command, dot: &Item, last: Option<Item>) -> Result<Item, ExecuteError> {
        let Some((first, rest)) = command.words.split_first() else {
            return Err(error_at(None, "missing value for command"));
        };
        if let WordKind::Function(name) = &first.kind {
            let mut arguments = Vec::with_capacity(rest.len() + 1);
            for word in rest {
                arguments.push(self.word(word, dot)?);
                if functions::stops_early(name, &arguments) {
                    break;
                }
            }
            arguments.extend(last);
            let called = functions::call(name, &arguments, self.mode);
            return called.map_err(|what| ExecuteError {
                place: first.place,
                source_text: if rest.is_empty() { first.text.clone() } else { command.text() },
                what: format!("error calling {name}: {what}"),
            });
        }
        if let (WordKind::Fields(fields), [argument]) = (&first.kind, rest)
            && fields.last().is_some_and(|field| field == "Label")
        {
            let key = self.word(argument, dot)?;
            return Ok(label(dot, &key));
        }
        if !rest.is_empty() || last.is_some() {
            return Err(error_at(Some(first), "can't give argument to non-function"));
        }
        self.word(first, dot)
    }

    fn word(&mut self, word: &Word, dot: &Item) -> Result<Item, ExecuteError> {
        match &word.kind {
            WordKind::Dot => Ok(dot.clone()),
            WordKind::Fields(fields) => {
                // Of several fields Go names the place of the second.
                let before = if fields.len() > 1 { fields.first().map_or(0, String::len) + 1 } else { 0 };
                self.fields(dot.clone(), fields, word, before)
            }
            WordKind::Variable(name, fields) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let Some((_, item)) = known else { return Err(error_at(Some(word), "undefined variable")) };
                let item = item.clone();
                self.fields(item, fields, word, name.len() + 1)
            }
            WordKind::Literal(value) => Ok(Item::new(value.clone())),
            WordKind::Function(name) => {
                let called = functions::call(name, &[], self.mode);
                called.map_err(|what| error_at(Some(word), &format!("error calling {name}: {what}")))
            }
            WordKind::Group(pipeline, fields) => {
                let item = self.pipeline(pipeline, dot)?;
                let before = word.text.len() - fields.iter().map(|field| field.len() + 1).sum::<usize>();
                self.fields(item, fields, word, before)
            }
        }
    }

    /// Goes down along `fields`; `before` are the bytes of the word in front of the place that errors name.
    fn fields(&self, item: Item, fields: &[String], word: &Word, before: usize) -> Result<Item, ExecuteError> {
        let reached = fields.iter().try_fold(item, |item, field| member(&item, field));
        reached.map_err(|what| ExecuteError {
            place: Place { line: word.place.line, column: word.place.column + before },
            source_text: word.text.clone(),
            what,
        })
    }
}

fn error_at(word: Option<&Word>, what: &str) -> ExecuteError {
    let place = word.map_or(Place { line: 1, column: 0 }, |word| word.place);
    let source_text = word.map(|word| word.text.clone()).unwrap_or_default();
    ExecuteError { place, source_text, what: what.to_owned() }
}

fn member(item: &Item, name: &str) -> Result<Item, String> {
    let shape = if item.shape == Shape::Map { Shape::Plain } else { shapes::of(name) };
    match &item.value {
        Some(Value::Object(members)) => match members.get(name) {
            Some(value) => Ok(Item { value: Some(value.clone()), shape }),
            None if item.shape == Shape::Map => Ok(Item { value: None, shape: Shape::Plain }),
            None if shapes::is_optional(name) => Ok(Item { value: Some(Value::Null), shape }),
            None => Err(format!("map has no entry for key \"{name}\"")),
        },
        Some(Value::Null) if item.shape == Shape::Map => Ok(Item { value: None, shape: Shape::Plain }),
        None | Some(Value::Null) => Err(format!("nil pointer evaluating interface {{}}.{name}")),
        Some(_) => Err(format!("can't evaluate field {name} in type {}", print::go_type(item))),
    }
}

/// `.Label "key"` of a list's row, whose labels are one text.
fn label(dot: &Item, key: &Item) -> Item {
    let labels = dot.value.as_ref().and_then(|row| row.get("Labels")).and_then(Value::as_str).unwrap_or_default();
    let wanted = key.value.as_ref().and_then(Value::as_str).unwrap_or_default();
    let found = labels.split(',').filter_map(|label| label.split_once('=')).find(|(name, _)| *name == wanted);
    Item::new(found.map_or("", |(_, value)| value))
}

/// Keys and values of what `range` takes; maps in the order of their keys.
fn elements(item: &Item) -> Option<Vec<(Item, Item)>> {
    match &item.value {
        None => Some(Vec::new()),
        Some(Value::Null) => (item.shape != Shape::Plain).then(Vec::new),
        Some(Value::Array(items)) => {
            Some(items.iter().enumerate().map(|(at, value)| (Item::new(at), Item::new(value.clone()))).collect())
        }
        Some(Value::Object(members)) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            Some(
                members.into_iter().map(|(name, value)| (Item::new(name.as_str()), Item::new(value.clone()))).collect(),
            )
        }
        Some(_) => None,
    }
}
