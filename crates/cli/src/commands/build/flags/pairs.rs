//! `NAME=VALUE`: build arguments, labels, and the fields of flags that have several.

use std::collections::BTreeMap;

/// `--build-arg`, each `NAME=VALUE`, or `NAME` for what `environment` says; nothing if it says nothing.
/// SOURCE_DATE_EPOCH of the environment is one of them unless it is given.
pub(super) fn build_args(
    texts: &[String],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, String> {
    let mut args = BTreeMap::new();
    for text in texts {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), environment(text)),
        };
        if name.is_empty() {
            return Err(empty_key(text));
        }
        if let Some(value) = value {
            args.insert(name.to_owned(), value);
        }
    }
    const EPOCH: &str = "SOURCE_DATE_EPOCH";
    if let (false, Some(epoch)) = (args.contains_key(EPOCH), environment(EPOCH).filter(|epoch| !epoch.is_empty())) {
        args.insert(EPOCH.into(), epoch);
    }
    Ok(args)
}

/// `--label`; without `=` it is empty.
pub(super) fn labels(texts: &[String]) -> Result<BTreeMap<String, String>, String> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        if name.is_empty() { Err(empty_key(text)) } else { Ok((name.to_owned(), value.to_owned())) }
    };
    texts.iter().map(pair).collect()
}

fn empty_key(text: &str) -> String {
    format!("invalid key-value pair {text:?}: empty key")
}

/// One line of comma-separated values: a field that begins with a double quote may hold commas, and `""` for a quote.
pub(in crate::commands) fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, end) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted).ok_or_else(|| format!("missing closing quote in {text:?}"))?,
            None => match rest.split_once(',') {
                Some((field, end)) => (field.to_owned(), Some(end)),
                None => (rest.to_owned(), None),
            },
        };
        fields.push(field);
        match end {
            Some(end) => rest = end,
            None => return Ok(fields),
        }
    }
}

/// A field after its opening quote, and what follows the comma behind it.
fn quoted_field(text: &str) -> Option<(String, Option<&str>)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        if let Some(after) = after.strip_prefix('"') {
            field.push('"');
            rest = after;
        } else if after.is_empty() {
            return Some((field, None));
        } else {
            return after.strip_prefix(',').map(|after| (field, Some(after)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn build_arguments_come_from_the_line_or_the_environment() {
        let environment = |name: &str| match name {
            "HERE" => Some("h".to_owned()),
            "SOURCE_DATE_EPOCH" => Some("7".to_owned()),
            _ => None,
        };
        let args = build_args(&owned(&["A=1", "A=2", "B=x=y", "HERE", "NOWHERE", "E="]), &environment).unwrap();
        let expected = [("A", "2"), ("B", "x=y"), ("E", ""), ("HERE", "h"), ("SOURCE_DATE_EPOCH", "7")];
        assert_eq!(args, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let args = build_args(&owned(&["SOURCE_DATE_EPOCH=9"]), &environment).unwrap();
        assert_eq!(args["SOURCE_DATE_EPOCH"], "9");
        assert_eq!(build_args(&owned(&["=v"]), &environment), Err("invalid key-value pair \"=v\": empty key".into()));
    }

    #[test]
    fn labels_may_be_empty_but_not_nameless() {
        assert_eq!(
            labels(&owned(&["a=b=c", "d"])).unwrap(),
            [("a", "b=c"), ("d", "")].map(|(a, b)| (a.into(), b.into())).into()
        );
        assert!(labels(&owned(&["=x"])).is_err());
    }

    #[test]
    fn fields_may_be_quoted() {
        for (text, expected) in [
            ("a,b", &["a", "b"][..]),
            ("", &[""]),
            ("a,", &["a", ""]),
            ("\"x=1,2\",y", &["x=1,2", "y"]),
            ("\"say \"\"so\"\"\"", &["say \"so\""]),
        ] {
            assert_eq!(fields(text).unwrap(), owned(expected), "{text}");
        }
        assert!(fields("\"open").is_err());
        assert!(fields("\"a\"b").is_err());
    }
}
