//! Environment variables of containers: files of them, and one list on top of another.

/// What an environment file says is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentFileError {
    /// The file is not UTF-8.
    #[error("line {line}: contains invalid utf8 bytes")]
    NotUtf8 {
        /// Counted from 1.
        line: usize,
    },
    /// A name with a blank in it.
    #[error("line {line}: variable '{name}' contains whitespaces")]
    BlankInName {
        /// Counted from 1.
        line: usize,
        /// The name.
        name: String,
    },
    /// `=value` without a name.
    #[error("line {line}: no variable name on line '{text}'")]
    NoName {
        /// Counted from 1.
        line: usize,
        /// The whole line.
        text: String,
    },
}

/// Parses an `--env-file`: `NAME=value` lines, taken as they are (no quotes, no expansion); a `NAME`
/// alone takes its value from `lookup` and is left out where that has none; `#` lines and empty
/// lines do not count.
///
/// # Errors
/// The first line that cannot be one of these.
pub fn parse_file(bytes: &[u8], lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>, EnvironmentFileError> {
    let mut variables = Vec::new();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let number = number + 1;
        let line = std::str::from_utf8(line).map_err(|_| EnvironmentFileError::NotUtf8 { line: number })?;
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        if name.is_empty() {
            return Err(EnvironmentFileError::NoName { line: number, text: line.into() });
        }
        if name.contains(char::is_whitespace) {
            return Err(EnvironmentFileError::BlankInName { line: number, name: name.into() });
        }
        match value {
            Some(value) => variables.push(format!("{name}={value}")),
            None => variables.extend(lookup(name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(variables)
}

/// `over` on top of `base`: a variable that both have keeps its place and gets the new value; a
/// `NAME` without `=` in `over` takes the variable away.
pub(crate) fn replaced_or_appended(base: Vec<String>, over: &[String]) -> Vec<String> {
    let mut result = base;
    for variable in over {
        let name = name(variable);
        let place = result.iter().position(|old| self::name(old) == name);
        match (place, variable.contains('=')) {
            (Some(place), true) => result[place].clone_from(variable),
            (Some(place), false) => drop(result.remove(place)),
            (None, true) => result.push(variable.clone()),
            (None, false) => {}
        }
    }
    result
}

/// The user's variables, then those of the image that the user did not set.
pub(crate) fn merged(user: &[String], image: &[String]) -> Vec<String> {
    let mut result = user.to_vec();
    result.extend(image.iter().filter(|variable| !user.iter().any(|own| name(own) == name(variable))).cloned());
    result
}

fn name(variable: &str) -> &str {
    variable.split('=').next().unwrap_or(variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_is_taken_as_it_is() {
        let lookup = |name: &str| (name == "HAVE").then(|| "it".to_string());
        let parsed = parse_file(b"# c\nA=1\n  B=\"x\" # y\nHAVE\nMISSING\nE=\r\n\n", &lookup);
        assert_eq!(parsed, Ok(strings(&["A=1", "B=\"x\" # y", "HAVE=it", "E="])));
    }

    #[test]
    fn a_wrong_line_is_named_by_its_number() {
        let none = |_: &str| None;
        let check = |bytes: &[u8], want: &str| assert_eq!(parse_file(bytes, &none).unwrap_err().to_string(), want);
        check(b"A=1\nb c=2\n", "line 2: variable 'b c' contains whitespaces");
        check(b"=x\n", "line 1: no variable name on line '=x'");
        check(b"\xff=x\n", "line 1: contains invalid utf8 bytes");
    }

    #[test]
    fn later_values_win_and_keep_the_place() {
        let base = strings(&["PATH=/bin", "HOSTNAME=h"]);
        let over = strings(&["A=1", "PATH=/x", "A=2", "HOSTNAME"]);
        assert_eq!(replaced_or_appended(base, &over), strings(&["PATH=/x", "A=2"]));
        assert_eq!(merged(&strings(&["B=2"]), &strings(&["A=1", "B=1"])), strings(&["B=2", "A=1"]));
    }
}
