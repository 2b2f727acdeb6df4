//! What is wrong with a command line, in the words and with the exit codes of docker's.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::shapes::{self, Words};
use crate::output;

/// The exit code for flags that are wrong.
const BAD_FLAG: u8 = 125;

/// What to tell instead of running a command.
#[derive(Debug)]
pub(super) struct Complaint {
    pub(super) text: String,
    pub(super) code: u8,
}

impl Complaint {
    /// Help goes to the standard output, what is wrong to the standard error.
    pub(super) fn report(self) -> ExitCode {
        if self.code == 0 {
            if let Err(failure) = output::line(self.text.trim_end()) {
                return failure.report();
            }
        } else {
            eprintln!("{}", self.text);
        }
        ExitCode::from(self.code)
    }
}

/// What docker would say.
pub(super) fn complaint(tree: &clap::Command, program: &str, words: &[OsString], error: &clap::Error) -> Complaint {
    use ErrorKind as Kind;
    let path = command_path(tree, words);
    match error.kind() {
        Kind::DisplayHelp | Kind::DisplayHelpOnMissingArgumentOrSubcommand | Kind::DisplayVersion => {
            let text = error.render().to_string();
            let text = if error.kind() == Kind::DisplayVersion { text.replacen(' ', " version ", 1) } else { text };
            Complaint { text, code: 0 }
        }
        Kind::UnknownArgument => match context(error, ContextKind::InvalidArg) {
            Some(flag) if flag.len() > 1 && flag.starts_with('-') => {
                bad_flag(program, &path, &unknown_flag(words, &flag))
            }
            _ => wrong_count(program, &path),
        },
        Kind::TooManyValues if context(error, ContextKind::InvalidArg).is_some_and(|arg| arg.starts_with("--")) => {
            bad_flag(program, &path, &bad_truth(error))
        }
        Kind::MissingRequiredArgument | Kind::TooManyValues => wrong_count(program, &path),
        Kind::InvalidSubcommand | Kind::MissingSubcommand => unknown_command(program, &path, error),
        _ => bad_flag(program, &path, &bad_value(words, error)),
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

/// The command that the words lead to.
fn command_path(tree: &clap::Command, words: &[OsString]) -> String {
    let (mut command, mut path) = (tree, Vec::new());
    for word in words.iter().filter_map(|word| word.to_str()) {
        if let Some(sub) = command.find_subcommand(word) {
            command = sub;
            path.push(sub.get_name());
        }
    }
    path.join(" ")
}

fn full(program: &str, path: &str) -> String {
    if path.is_empty() { program.to_owned() } else { format!("{program} {path}") }
}

fn bad_flag(program: &str, path: &str, what: &str) -> Complaint {
    let (usage, full) = (shapes::usage(program, path), full(program, path));
    let text = format!("{what}\n\nUsage:  {usage}\n\nRun '{full} --help' for more information");
    Complaint { text, code: BAD_FLAG }
}

fn unknown_flag(words: &[OsString], flag: &str) -> String {
    match flag.strip_prefix("--") {
        Some(long) => format!("unknown flag: --{}", long.split('=').next().unwrap_or(long)),
        None => {
            let letter = flag.chars().nth(1).unwrap_or('-');
            format!("unknown shorthand flag: '{letter}' in {}", cluster(words, flag))
        }
    }
}

/// The word that a short flag stood in: clap tells the letter alone.
fn cluster(words: &[OsString], flag: &str) -> String {
    let letter = flag.chars().nth(1).unwrap_or('-');
    let mut words = words.iter().filter_map(|word| word.to_str());
    let word = words.find(|word| word.starts_with('-') && !word.starts_with("--") && word.contains(letter));
    word.unwrap_or(flag).to_owned()
}

fn bad_value(words: &[OsString], error: &clap::Error) -> String {
    let flag = context(error, ContextKind::InvalidArg).unwrap_or_default();
    let flag = flag.split([' ', '=', '[']).next().unwrap_or_default().to_owned();
    if let Some(value) = context(error, ContextKind::InvalidValue).filter(|value| !value.is_empty()) {
        let reason = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
        return format!("invalid argument \"{value}\" for \"{flag}\" flag{reason}");
    }
    match words.last().and_then(|word| word.to_str()) {
        Some(last) if last.starts_with('-') && !last.starts_with("--") => {
            format!("flag needs an argument: '{}' in {last}", last.chars().last().unwrap_or('-'))
        }
        _ => format!("flag needs an argument: {flag}"),
    }
}

/// A flag without a value that was given one which is no boolean.
fn bad_truth(error: &clap::Error) -> String {
    let part = |kind| context(error, kind).unwrap_or_default();
    let (flag, value) = (part(ContextKind::InvalidArg), part(ContextKind::InvalidValue));
    let flag = flag.split([' ', '=']).next().unwrap_or_default();
    format!("invalid argument \"{value}\" for \"{flag}\" flag: strconv.ParseBool: parsing \"{value}\": invalid syntax")
}

fn wrong_count(program: &str, path: &str) -> Complaint {
    let (usage, full) = (shapes::usage(program, path), full(program, path));
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    let (what, see) = match shapes::words(path) {
        Some(Words::Exactly(count)) => (format!("requires {count} {}", plural(count)), "Run"),
        Some(Words::AtLeast(count)) => (format!("requires at least {count} {}", plural(count)), "See"),
        Some(Words::Between(least, most)) => {
            (format!("requires at least {least} and at most {most} {}", plural(most)), "Run")
        }
        Some(Words::AtMost(count)) => (format!("requires at most {count} {}", plural(count)), "Run"),
        Some(Words::None) | None => ("accepts no arguments".to_owned(), "Run"),
    };
    let text = format!("{program}: '{full}' {what}\n\nUsage:  {usage}\n\n{see} '{full} --help' for more information");
    Complaint { text, code: 1 }
}

fn unknown_command(program: &str, path: &str, error: &clap::Error) -> Complaint {
    let full = full(program, path);
    let name = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
    let text = if shapes::comes_later(path, &name) {
        format!("{program}: '{full} {name}' is not supported yet")
    } else {
        format!("{program}: unknown command: {full} {name}\n\nRun '{full} --help' for more information")
    };
    Complaint { text, code: 1 }
}
