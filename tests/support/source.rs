//! Rust source as tidy's checks need it: without comments and literals, cut into functions.

/// The text with comments, strings and characters blanked out; every line keeps its number.
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
            continue;
        }
        code.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    code
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none begins there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let length = match rest {
        ['/', '/', ..] => rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => comment(rest),
        ['"', ..] => string(rest),
        ['r', '"' | '#', ..] if !continues_word(chars, at) => raw_string(rest),
        ['\'', '\\', _, ..] => 3 + rest[3..].iter().position(|&c| c == '\'').map_or(0, |quote| quote + 1),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    };
    at + length
}

/// Whether `at` is in the middle of a word; the `b` of a byte string is none.
fn continues_word(chars: &[char], at: usize) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    match chars[..at] {
        [.., before, 'b'] => word(before),
        [.., 'b'] => false,
        [.., before] => word(before),
        [] => false,
    }
}

fn comment(rest: &[char]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[char]) -> usize {
    let marks = rest[1..].iter().take_while(|&&c| c == '#').count();
    if rest.get(1 + marks) != Some(&'"') {
        return 0;
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', marks)).collect();
    let body = 2 + marks;
    let end = rest[body..].windows(closing.len()).position(|window| window == closing);
    end.map_or(rest.len(), |end| body + end + closing.len())
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its `fn`, from 1.
    pub line: usize,
    /// Lines from its `fn` to the closing brace.
    pub lines: usize,
}

/// The functions in a text that went through [`code_only`], nested ones too.
pub fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("fn ") {
        let starts_word = code[..start].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let name: String = code[start + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        if let Some(length) = body_end(&code[start..]) {
            let line = code[..start].matches('\n').count() + 1;
            let lines = code[start..start + length].matches('\n').count() + 1;
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// The offset behind the closing brace; none for a declaration without a body.
fn body_end(code: &str) -> Option<usize> {
    let (mut braces, mut others) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            ';' if braces == 0 && others == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_do_not_count() {
        let text = "fn a() { // {\n let x = \"}\\\"\"; let y = '{'; let z: &'static str = r#\"}\"#; /* { */\n}\n";
        let functions = functions(&code_only(text));
        assert_eq!(functions, [Function { name: "a".into(), line: 1, lines: 3 }]);
    }

    #[test]
    fn a_declaration_has_no_body() {
        assert_eq!(functions("fn a(b: [u8; 2]);\nfn c() {}\n").len(), 1);
    }

    #[test]
    fn a_raw_byte_string_is_one_literal() {
        assert_eq!(code_only("br\"{\" for r in x").trim(), "b     for r in x".trim());
    }
}
