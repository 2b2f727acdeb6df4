//! The simple commands of a RUN, as far as they can be told without being a shell.

use crate::heredoc;
use crate::instruction::Run;

/// A program with its arguments, quotes taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command(Vec<String>);

/// Words before a program that do not change what it does.
const PREFIXES: [&str; 14] =
    ["!", "{", "command", "do", "elif", "else", "env", "exec", "if", "sudo", "then", "time", "until", "while"];

impl Command {
    /// The program, without its directory.
    pub(super) fn name(&self) -> &str {
        self.0.first().map_or("", |word| word.rsplit('/').next().unwrap_or_default())
    }

    /// What follows the program.
    pub(super) fn arguments(&self) -> &[String] {
        self.0.get(1..).unwrap_or_default()
    }

    /// The first argument that is no option: `install` of `apt-get -y install`.
    pub(super) fn verb(&self) -> &str {
        self.plain().next().unwrap_or_default()
    }

    /// The arguments that are no options.
    pub(super) fn plain(&self) -> impl Iterator<Item = &str> {
        self.arguments().iter().map(String::as_str).filter(|word| !word.starts_with('-'))
    }

    fn new(words: Vec<String>) -> Option<Command> {
        let before = |word: &String| PREFIXES.contains(&word.as_str()) || is_assignment(word);
        let start = words.iter().position(|word| !before(word))?;
        Some(Command(words[start..].to_vec()))
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// The commands of a RUN in their order.
pub(super) fn of_run(run: &Run) -> Vec<Command> {
    let words = &run.command.words;
    if !run.command.shell {
        return match words.as_slice() {
            [shell, option, script, ..] if shell.ends_with("sh") && option.ends_with('c') => of_script(script),
            words => Command::new(words.to_vec()).into_iter().collect(),
        };
    }
    let line = words.first().map_or("", String::as_str);
    match run.heredocs.first() {
        Some(script) if heredoc::parse(line.trim()).is_some() => of_script(&script.content()),
        _ => of_script(line),
    }
}

/// The commands of a shell script.
pub(super) fn of_script(script: &str) -> Vec<Command> {
    let mut splitter = Splitter::default();
    let mut chars = script.chars().peekable();
    while let Some(c) = chars.next() {
        match (splitter.quote, c) {
            (Some(quote), c) if c == quote => splitter.quote = None,
            (Some('"') | None, '\\') => match chars.next() {
                Some('\n') | None => splitter.end_word(),
                Some(next) => splitter.push(next),
            },
            (Some(_), c) => splitter.push(c),
            (None, '\'' | '"') => {
                splitter.quote = Some(c);
                splitter.in_word = true;
            }
            (None, '#') if !splitter.in_word => while chars.next_if(|c| *c != '\n').is_some() {},
            (None, '\n' | ';' | '&' | '|' | '(' | ')') => splitter.end_command(),
            (None, c) if c.is_whitespace() => splitter.end_word(),
            (None, c) => splitter.push(c),
        }
    }
    splitter.end_command();
    splitter.commands
}

#[derive(Default)]
struct Splitter {
    commands: Vec<Command>,
    words: Vec<String>,
    word: String,
    in_word: bool,
    quote: Option<char>,
}

impl Splitter {
    fn push(&mut self, c: char) {
        self.word.push(c);
        self.in_word = true;
    }

    fn end_word(&mut self) {
        if std::mem::take(&mut self.in_word) {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.commands.extend(Command::new(std::mem::take(&mut self.words)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(script: &str) -> Vec<String> {
        of_script(script).iter().map(|command| command.0.join("|")).collect()
    }

    #[test]
    fn operators_separate_and_quotes_do_not() {
        assert_eq!(shown("a 'b && c' && d \"e;f\"; g | h"), ["a|b && c", "d|e;f", "g", "h"]);
        assert_eq!(shown("set -e\n# no && command\napt-get \\\n  update\n"), ["set|-e", "apt-get|update"]);
        assert_eq!(shown("if ! A=1 B=2 sudo x y; then z; fi"), ["x|y", "z", "fi"]);
        assert_eq!(shown("'' a"), ["|a"]);
        assert_eq!(shown("a \"unclosed"), ["a|unclosed"]);
    }

    #[test]
    fn verbs_come_after_options() {
        let commands = of_script("/usr/bin/apt-get -qq -y install curl");
        assert_eq!((commands[0].name(), commands[0].verb()), ("apt-get", "install"));
    }
}
