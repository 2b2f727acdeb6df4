//! The functions of templates: Go's own, and those that docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::evaluate::Item;
use super::print;
use super::shapes::Shape;

/// For what a template is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Values,
    /// Functions that change texts do nothing.
    Headings,
}

const NAMES: [&str; 24] = [
    "and", "eq", "ge", "gt", "html", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not", "or", "pad",
    "print", "printf", "println", "slice", "split", "title", "truncate", "upper",
];

/// Whether there is such a function.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// `and` and `or` do not look further than they must.
pub(super) fn stops_early(name: &str, arguments: &[Item]) -> bool {
    match (name, arguments.last()) {
        ("and", Some(last)) => !last.is_true(),
        ("or", Some(last)) => last.is_true(),
        _ => false,
    }
}

/// Calls a function; what is wrong with its arguments in Go's words.
pub(super) fn call(name: &str, arguments: &[Item], mode: Mode) -> Result<Item, String> {
    const UNCHANGED: [&str; 8] = ["json", "split", "join", "title", "lower", "upper", "pad", "truncate"];
    if mode == Mode::Headings && UNCHANGED.contains(&name) {
        return arguments.first().cloned().ok_or_else(|| "wrong number of args".into());
    }
    match name {
        "and" | "or" => arguments.last().cloned().ok_or_else(|| "wrong number of args: want at least 1 got 0".into()),
        "not" => Ok(Item::new(!one(arguments)?.is_true())),
        "eq" => eq(arguments),
        "ne" => two(arguments).and_then(|(a, b)| Ok(Item::new(!equal(a, b)?))),
        "lt" | "le" | "gt" | "ge" => compare(name, arguments),
        "len" => length(one(arguments)?),
        "index" => index(arguments),
        "slice" => slice(arguments),
        "json" => json(one(arguments)?),
        "print" => Ok(Item::new(spaced(arguments))),
        "println" => Ok(Item::new(format!("{}\n", all(arguments).join(" ")))),
        "printf" => printf(arguments),
        _ => text_function(name, arguments),
    }
}

fn text_function(name: &str, arguments: &[Item]) -> Result<Item, String> {
    let made = match name {
        "upper" => text(one(arguments)?)?.to_uppercase(),
        "lower" => text(one(arguments)?)?.to_lowercase(),
        "title" => titled(text(one(arguments)?)?),
        "html" => all(arguments)
            .concat()
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&#34;")
            .replace('\'', "&#39;"),
        "pad" => match arguments {
            [value, before, after] => {
                let value = text(value)?;
                if value.is_empty() {
                    return Ok(Item::new(""));
                }
                format!("{}{value}{}", " ".repeat(count(before)?), " ".repeat(count(after)?))
            }
            _ => return Err(wrong_number(3, arguments)),
        },
        "truncate" => {
            let (value, length) = two(arguments)?;
            text(value)?.chars().take(count(length)?).collect()
        }
        "join" => {
            let (items, between) = two(arguments)?;
            list(items)?
                .iter()
                .map(|item| print::value(&Item::new(item.clone())))
                .collect::<Vec<_>>()
                .join(text(between)?)
        }
        "split" => {
            let (value, between) = two(arguments)?;
            let parts: Vec<Value> = text(value)?.split(text(between)?).map(Value::from).collect();
            return Ok(Item { value: Some(Value::Array(parts)), shape: Shape::List });
        }
        other => return Err(format!("{other} is not supported")),
    };
    Ok(Item::new(made))
}

fn one(arguments: &[Item]) -> Result<&Item, String> {
    match arguments {
        [only] => Ok(only),
        _ => Err(wrong_number(1, arguments)),
    }
}

fn two(arguments: &[Item]) -> Result<(&Item, &Item), String> {
    match arguments {
        [first, second] => Ok((first, second)),
        _ => Err(wrong_number(2, arguments)),
    }
}

fn wrong_number(want: usize, arguments: &[Item]) -> String {
    format!("wrong number of args: want {want} got {}", arguments.len())
}

fn text(item: &Item) -> Result<&str, String> {
    match &item.value {
        Some(Value::String(text)) => Ok(text),
        _ => Err(format!("wrong type for value; expected string; got {}", print::go_type(item))),
    }
}

fn count(item: &Item) -> Result<usize, String> {
    /// More blanks than any column has.
    const MOST: usize = 10_000;
    let number = item.value.as_ref().and_then(Value::as_i64);
    let number = number.ok_or_else(|| format!("wrong type for value; expected int; got {}", print::go_type(item)))?;
    Ok(usize::try_from(number).unwrap_or_default().min(MOST))
}

fn list(item: &Item) -> Result<&[Value], String> {
    match &item.value {
        Some(Value::Array(items)) => Ok(items),
        Some(Value::Null) => Ok(&[]),
        _ => Err(format!("wrong type for value; expected []string; got {}", print::go_type(item))),
    }
}

fn all(arguments: &[Item]) -> Vec<String> {
    arguments.iter().map(print::value).collect()
}

/// A blank between two that are both no texts.
fn spaced(arguments: &[Item]) -> String {
    let is_text = |item: &Item| matches!(item.value, Some(Value::String(_)));
    let mut made = String::new();
    for (at, argument) in arguments.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| arguments.get(before));
        if before.is_some_and(|before| !is_text(before) && !is_text(argument)) {
            made.push(' ');
        }
        made.push_str(&print::value(argument));
    }
    made
}

fn printf(arguments: &[Item]) -> Result<Item, String> {
    let (format, rest) = arguments.split_first().ok_or_else(|| wrong_number(1, arguments))?;
    Ok(Item::new(print::formatted(text(format)?, rest)))
}

fn titled(text: &str) -> String {
    let mut after_letter = false;
    let letters = text.chars().map(|letter| {
        let made = if after_letter { letter } else { letter.to_uppercase().next().unwrap_or(letter) };
        after_letter = letter.is_alphanumeric();
        made
    });
    letters.collect()
}

fn json(item: &Item) -> Result<Item, String> {
    let value = item.value.clone().unwrap_or(Value::Null);
    serde_json::to_string(&value).map(Item::new).map_err(|error| error.to_string())
}

fn length(item: &Item) -> Result<Item, String> {
    let length = match &item.value {
        Some(Value::String(text)) => text.len(),
        Some(Value::Array(items)) => items.len(),
        Some(Value::Object(members)) => members.len(),
        Some(Value::Null) if item.shape != Shape::Plain => 0,
        _ => return Err(format!("len of type {}", print::go_type(item))),
    };
    Ok(Item::new(length))
}

fn index(arguments: &[Item]) -> Result<Item, String> {
    let (item, keys) = arguments.split_first().ok_or_else(|| wrong_number(1, arguments))?;
    let mut item = item.clone();
    for key in keys {
        let value = match &item.value {
            Some(Value::Array(items)) => {
                let at = key.value.as_ref().and_then(Value::as_i64);
                let at = at.ok_or_else(|| format!("cannot index slice/array with type {}", print::go_type(key)))?;
                let found = usize::try_from(at).ok().and_then(|at| items.get(at));
                found.cloned().ok_or_else(|| format!("index out of range: {at}"))?
            }
            // A missing key is the empty value of the map's type, which is mostly text.
            Some(Value::Object(members)) => members.get(text(key)?).cloned().unwrap_or_else(|| Value::from("")),
            Some(Value::Null) if item.shape == Shape::Map => Value::from(""),
            Some(Value::Null) if item.shape == Shape::List => {
                return Err(format!("index out of range: {}", print::value(key)));
            }
            _ => return Err(format!("can't index item of type {}", print::go_type(&item))),
        };
        item = Item::new(value);
    }
    Ok(item)
}

fn slice(arguments: &[Item]) -> Result<Item, String> {
    let (item, bounds) = arguments.split_first().ok_or_else(|| wrong_number(1, arguments))?;
    let bounds = bounds.iter().map(count).collect::<Result<Vec<_>, _>>()?;
    let (from, to) = (bounds.first().copied().unwrap_or(0), bounds.get(1).copied());
    let out = |at: usize| format!("index out of range: {at}");
    match &item.value {
        Some(Value::String(text)) => {
            let to = to.unwrap_or(text.len());
            text.get(from..to).map(Item::new).ok_or_else(|| out(to))
        }
        Some(Value::Array(items)) => {
            let to = to.unwrap_or(items.len());
            items.get(from..to).map(|part| Item::new(part.to_vec())).ok_or_else(|| out(to))
        }
        _ => Err(format!("can't slice item of type {}", print::go_type(item))),
    }
}

/// `eq a b c`: whether `a` is one of the others.
fn eq(arguments: &[Item]) -> Result<Item, String> {
    let Some((first, others)) = arguments.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Err("missing argument for comparison".into());
    };
    for other in others {
        if equal(first, other)? {
            return Ok(Item::new(true));
        }
    }
    Ok(Item::new(false))
}

fn equal(a: &Item, b: &Item) -> Result<bool, String> {
    match (&a.value, &b.value) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => Ok(a.as_f64() == b.as_f64()),
        (None | Some(Value::Null), None | Some(Value::Null)) => Ok(true),
        (None | Some(Value::Null), _) | (_, None | Some(Value::Null)) => Ok(false),
        (Some(a), Some(b)) if std::mem::discriminant(a) == std::mem::discriminant(b) => Ok(a == b),
        _ => Err("incompatible types for comparison".into()),
    }
}

fn compare(name: &str, arguments: &[Item]) -> Result<Item, String> {
    let (a, b) = two(arguments)?;
    let order = match (&a.value, &b.value) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => a.as_f64().partial_cmp(&b.as_f64()),
        (Some(Value::String(a)), Some(Value::String(b))) => Some(a.cmp(b)),
        _ => return Err("incompatible types for comparison".into()),
    };
    Ok(Item::new(match name {
        "lt" => order == Some(Ordering::Less),
        "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        "gt" => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }))
}
