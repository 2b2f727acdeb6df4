//! Values as Go prints them: `%v` and the other verbs of `printf`.

use serde_json::Value;

use super::evaluate::Item;
use super::shapes::Shape;

/// `%v`
pub(super) fn value(item: &Item) -> String {
    match &item.value {
        None => "<no value>".into(),
        Some(Value::Null) => match item.shape {
            Shape::Plain => "<nil>".into(),
            Shape::Map => "map[]".into(),
            Shape::List => "[]".into(),
        },
        Some(value) => json_value(value, item.shape),
    }
}

fn json_value(value: &Value, shape: Shape) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| json_value(item, Shape::Plain)).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(members) if shape == Shape::Map => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            let members = members.iter().map(|(name, value)| format!("{name}:{}", json_value(value, Shape::Plain)));
            format!("map[{}]", members.collect::<Vec<_>>().join(" "))
        }
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let item = Item { value: Some(value.clone()), shape: super::shapes::of(name) };
                self::value(&item)
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(" "))
        }
    }
}

/// `printf`: `%[-+0# ][WIDTH][.PRECISION]VERB`.
pub(super) fn formatted(format: &str, arguments: &[Item]) -> String {
    let mut text = String::new();
    let mut letters = format.chars().peekable();
    let mut arguments = arguments.iter();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let mut directive = Directive::default();
        while let Some(flag) = letters.next_if(|c| "-+0# ".contains(*c)) {
            directive.left |= flag == '-';
            directive.zeros |= flag == '0';
        }
        directive.width = number(&mut letters);
        if letters.next_if_eq(&'.').is_some() {
            directive.precision = Some(number(&mut letters));
        }
        match letters.next() {
            Some('%') => text.push('%'),
            Some(verb) => match arguments.next() {
                Some(argument) => text.push_str(&directive.apply(verb, argument)),
                None => text.push_str(&format!("%!{verb}(MISSING)")),
            },
            None => text.push_str("%!(NOVERB)"),
        }
    }
    let surplus: Vec<String> = arguments.map(|argument| format!("{}={}", go_type(argument), value(argument))).collect();
    if !surplus.is_empty() {
        text.push_str(&format!("%!(EXTRA {})", surplus.join(", ")));
    }
    text
}

fn number(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> usize {
    /// Wider than any terminal.
    const WIDEST: usize = 10_000;
    let mut number = 0;
    while let Some(digit) = letters.peek().and_then(|letter| letter.to_digit(10)) {
        letters.next();
        number = (number * 10 + digit as usize).min(WIDEST);
    }
    number
}

#[derive(Default)]
struct Directive {
    left: bool,
    zeros: bool,
    width: usize,
    precision: Option<usize>,
}

impl Directive {
    fn apply(&self, verb: char, argument: &Item) -> String {
        let text = self.text(verb, argument);
        let missing = self.width.saturating_sub(text.chars().count());
        match (self.left, self.zeros) {
            (true, _) => format!("{text}{}", " ".repeat(missing)),
            (false, true) => format!("{}{text}", "0".repeat(missing)),
            (false, false) => format!("{}{text}", " ".repeat(missing)),
        }
    }

    fn text(&self, verb: char, argument: &Item) -> String {
        let json = argument.value.as_ref();
        let whole = json.and_then(Value::as_i64);
        let cut = |text: String| match self.precision {
            Some(length) => text.chars().take(length).collect(),
            None => text,
        };
        match (verb, json) {
            ('v', _) => value(argument),
            ('s', Some(Value::String(_) | Value::Array(_) | Value::Object(_))) => cut(value(argument)),
            ('q', Some(Value::String(text))) => quoted(&cut(text.clone())),
            ('t', Some(Value::Bool(truth))) => truth.to_string(),
            ('T', _) => go_type(argument).to_owned(),
            ('f' | 'g' | 'e', Some(Value::Number(number))) => {
                let number = number.as_f64().unwrap_or_default();
                let decimals = self.precision.unwrap_or(6);
                if verb == 'f' { format!("{number:.decimals$}") } else { number.to_string() }
            }
            _ => match (verb, whole) {
                ('d', Some(number)) => number.to_string(),
                ('x', Some(number)) => format!("{number:x}"),
                ('X', Some(number)) => format!("{number:X}"),
                ('o', Some(number)) => format!("{number:o}"),
                ('b', Some(number)) => format!("{number:b}"),
                ('c', Some(number)) => {
                    u32::try_from(number).ok().and_then(char::from_u32).map(String::from).unwrap_or_default()
                }
                _ => format!("%!{verb}({}={})", go_type(argument), value(argument)),
            },
        }
    }
}

/// A text in Go's quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            letter if letter.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// The name of a value's type in Go.
pub(super) fn go_type(item: &Item) -> &'static str {
    match (&item.value, item.shape) {
        (None, _) => "<nil>",
        (Some(Value::Null), Shape::Plain) => "<nil>",
        (Some(Value::Bool(_)), _) => "bool",
        (Some(Value::Number(number)), _) if number.is_f64() => "float64",
        (Some(Value::Number(_)), _) => "int",
        (Some(Value::String(_)), _) => "string",
        (Some(Value::Array(_)), _) | (Some(Value::Null), Shape::List) => "[]interface {}",
        (Some(Value::Object(_)), _) | (Some(Value::Null), Shape::Map) => "map[string]interface {}",
    }
}
