//! `--rm=true` and `--rm=false`: docker's flags without a value take one after an equals sign all the same.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command};

/// The words with `--flag=true` made `--flag`, and `--flag=false` left out. What follows the image of `run` stays
/// as it is.
pub(super) fn plain(tree: &Command, words: Vec<OsString>) -> Vec<OsString> {
    let mut command = tree;
    let mut plain = Vec::with_capacity(words.len());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match kind(command, &word) {
            Word::Flag => plain.push(word),
            Word::TakesNext => {
                plain.push(word);
                plain.extend(words.next());
            }
            Word::Truth(flag, true) => plain.push(flag.into()),
            Word::Truth(_, false) => {}
            Word::Command(sub) => {
                plain.push(word);
                command = sub;
            }
            Word::Free => plain.push(word),
            Word::Last => {
                plain.push(word);
                plain.extend(words.by_ref());
            }
        }
    }
    plain
}

enum Word<'a> {
    /// A flag that needs no further word.
    Flag,
    /// A flag whose value is the next word.
    TakesNext,
    /// A flag without a value, said to be true or false.
    Truth(String, bool),
    /// A command of this one.
    Command(&'a Command),
    /// Neither flag nor command.
    Free,
    /// The word after which nothing is a flag of ours.
    Last,
}

fn kind<'a>(command: &'a Command, word: &OsStr) -> Word<'a> {
    let Some(text) = word.to_str() else { return Word::Free };
    if text == "--" {
        return Word::Last;
    }
    if let Some(long) = text.strip_prefix("--") {
        return long_flag(command, long);
    }
    match text.strip_prefix('-') {
        Some(letters) if !letters.is_empty() => short_flags(command, letters),
        _ => free_word(command, text),
    }
}

fn long_flag<'a>(command: &'a Command, long: &str) -> Word<'a> {
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long, None),
    };
    let Some(arg) = command.get_arguments().find(|arg| has_long(arg, name)) else { return Word::Flag };
    match (arg.get_action().takes_values(), value) {
        (true, None) if !arg.is_require_equals_set() => Word::TakesNext,
        (false, Some(value)) if matches!(arg.get_action(), ArgAction::SetTrue) => match truth(value) {
            Some(truth) => Word::Truth(format!("--{name}"), truth),
            None => Word::Flag,
        },
        _ => Word::Flag,
    }
}

fn has_long(arg: &Arg, name: &str) -> bool {
    arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
}

/// A value begins after the first letter that takes one; if that is the last letter, it is the next word.
fn short_flags<'a>(command: &'a Command, letters: &str) -> Word<'a> {
    for (at, letter) in letters.char_indices() {
        let arg = command.get_arguments().find(|arg| arg.get_short() == Some(letter));
        if arg.is_some_and(|arg| arg.get_action().takes_values()) {
            let is_last = at + letter.len_utf8() == letters.len();
            return if is_last { Word::TakesNext } else { Word::Flag };
        }
    }
    Word::Flag
}

fn free_word<'a>(command: &'a Command, text: &str) -> Word<'a> {
    if let Some(sub) = command.find_subcommand(text) {
        return Word::Command(sub);
    }
    let trailing = command.get_positionals().any(Arg::is_trailing_var_arg_set);
    if trailing || command.has_subcommands() { Word::Last } else { Word::Free }
}

/// As Go reads booleans.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The value of a flag that is true unless it is said to be false.
pub(crate) fn go_bool(text: &str) -> Result<bool, String> {
    truth(text).ok_or_else(|| format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))
}
