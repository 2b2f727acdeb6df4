//! One pattern: `*` and `?` within a path component, `**` across them, classes, escapes.

use super::IgnoreError;
use super::file::clean;
use super::path_regex::PathRegex;
use super::syntax;

/// A pattern of an ignore file.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// As written, with its `!`.
    pub(super) text: String,
    /// Starts with `!`: takes back what earlier patterns excluded.
    pub(super) negated: bool,
    /// Cleaned, without the `!`.
    cleaned: String,
    form: Form,
}

/// How it is compared.
#[derive(Clone, Debug)]
enum Form {
    /// Equal to the path.
    Exact,
    /// `prefix**`: the length of the prefix.
    Prefix(usize),
    /// `**suffix`, where the suffix has no special characters.
    Suffix,
    /// Everything else.
    Regex(PathRegex),
    /// Accepted until it is used.
    Broken,
}

impl Pattern {
    /// `text` is trimmed and not empty.
    pub(super) fn parse(text: &str) -> Result<Pattern, IgnoreError> {
        let whole = clean(text);
        let (negated, cleaned) = match whole.strip_prefix('!') {
            Some("") => return Err(IgnoreError::LoneNegation),
            Some(rest) => (true, rest.to_owned()),
            None => (false, whole),
        };
        if !syntax::is_valid(&cleaned) {
            return Err(IgnoreError::Syntax { pattern: text.to_owned() });
        }
        let form = form_of(&cleaned);
        Ok(Pattern { text: text.to_owned(), negated, cleaned, form })
    }

    /// Whether the pattern matches this very path.
    pub(super) fn matches(&self, path: &str) -> Result<bool, IgnoreError> {
        Ok(match &self.form {
            Form::Exact => path == self.cleaned,
            Form::Prefix(length) => self.cleaned.get(..*length).is_some_and(|prefix| path.starts_with(prefix)),
            Form::Suffix => {
                let suffix = &self.cleaned[2..];
                path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path)
            }
            Form::Regex(regex) => regex.matches(path),
            Form::Broken => return Err(IgnoreError::Syntax { pattern: self.text.clone() }),
        })
    }

    /// Whether it matches the path or a directory that the path is in.
    pub(super) fn matches_or_parent(&self, path: &str) -> Result<bool, IgnoreError> {
        if self.matches(path)? {
            return Ok(true);
        }
        for (slash, _) in path.match_indices('/') {
            if self.matches(&path[..slash])? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether it could match a path below `directory`; when in doubt, yes.
    pub(super) fn may_match_below(&self, directory: &str) -> bool {
        // Classes and escapes can match a slash.
        if self.cleaned.contains("**") || self.cleaned.contains(['[', '\\', '^']) {
            return true;
        }
        let mut components = self.cleaned.split('/');
        for part in directory.split('/') {
            match components.next() {
                None => return false,
                Some(component) if component.contains(['*', '?']) => {}
                Some(component) if component == part => {}
                Some(_) => return false,
            }
        }
        components.next().is_some()
    }
}

fn form_of(pattern: &str) -> Form {
    let mut translation = Translation::default();
    translation.translate(pattern);
    match translation.kind {
        Kind::Exact => Form::Exact,
        Kind::Prefix => Form::Prefix(pattern.len() - 2),
        Kind::Suffix => Form::Suffix,
        Kind::Regex => PathRegex::parse(&translation.regex).map_or(Form::Broken, Form::Regex),
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Exact,
    Prefix,
    Suffix,
    Regex,
}

/// A pattern on its way to a regular expression. Docker defines its patterns by this translation, class
/// brackets and all, so that odd patterns mean what the expression makes of them.
#[derive(Default)]
struct Translation {
    regex: String,
    kind: Kind,
}

impl Translation {
    fn translate(&mut self, pattern: &str) {
        let mut chars = pattern.chars().peekable();
        let mut first = true;
        while let Some(c) = chars.next() {
            match c {
                '*' if chars.peek() == Some(&'*') => {
                    chars.next();
                    chars.next_if_eq(&'/');
                    self.double_star(chars.peek().is_none(), first);
                }
                '*' => self.special("[^/]*"),
                '?' => self.special("[^/]"),
                '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => {
                    self.regex.push('\\');
                    self.regex.push(c);
                }
                '\\' => {
                    self.special("\\");
                    self.regex.extend(chars.next());
                }
                '[' | ']' => self.special(c.encode_utf8(&mut [0; 4])),
                c => self.regex.push(c),
            }
            first = false;
        }
    }

    fn special(&mut self, regex: &str) {
        self.regex.push_str(regex);
        self.kind = Kind::Regex;
    }

    fn double_star(&mut self, last: bool, first: bool) {
        if !last {
            self.special("(.*/)?");
        } else if self.kind == Kind::Exact {
            self.kind = Kind::Prefix;
        } else {
            self.special(".*");
        }
        if first {
            self.kind = Kind::Suffix;
        }
    }
}
