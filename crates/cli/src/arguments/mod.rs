//! The command line: from words to a typed command. What is wrong with it is told in docker's words, under the
//! name that this program was called by.

mod booleans;
mod shapes;
mod wording;

pub(crate) use booleans::{go_bool, truth};

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgAction, CommandFactory, FromArgMatches};

use crate::commands::{Caller, Command};

/// What the user asked for.
pub(crate) struct Arguments {
    /// Who asked.
    pub(crate) caller: Caller,
    /// The command with its flags.
    pub(crate) command: Command,
}

/// The whole line.
#[derive(clap::Parser, Debug)]
#[command(about = "Builds images from Dockerfiles and runs containers from images")]
struct Line {
    /// Where images, cache and containers are kept (KILN_ROOT; /var/lib/kiln, or ~/.local/share/kiln)
    #[arg(long, value_name = "DIRECTORY")]
    root: Option<PathBuf>,
    /// Print the version and quit
    #[arg(short = 'v', long = "version", action = ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

/// Reads this process's command line. For help and for what is wrong everything is printed already; the exit code
/// is left to return.
pub(crate) fn parse() -> Result<Arguments, ExitCode> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let program = program_name(words.first());
    let words = words.get(1..).unwrap_or_default().to_vec();
    parse_words(&program, words).map_err(wording::Complaint::report)
}

fn parse_words(program: &str, words: Vec<OsString>) -> Result<Arguments, wording::Complaint> {
    let mut command = tree(program);
    let words = booleans::plain(&command, words);
    let all = std::iter::once(OsString::from(program)).chain(words.iter().cloned());
    let line = command.try_get_matches_from_mut(all).and_then(|matches| Line::from_arg_matches(&matches));
    match line {
        Ok(line) => {
            let caller = Caller { program: program.to_owned(), root: line.root };
            Ok(Arguments { caller, command: line.command })
        }
        Err(error) => Err(wording::complaint(&command, program, &words, &error)),
    }
}

/// The commands with usage lines and habits of docker's.
fn tree(program: &str) -> clap::Command {
    let command = Line::command().name("kiln").bin_name(program.to_owned()).version(env!("CARGO_PKG_VERSION"));
    decorated(command, program, "")
}

/// Every command: usage as docker words it, later flags over earlier ones, any word as a flag's value.
fn decorated(command: clap::Command, program: &str, path: &str) -> clap::Command {
    const LEAF: &str = "Usage:  {usage}\n\n{about}\n\nOptions:\n{options}\n";
    const GROUP: &str = "Usage:  {usage}\n\n{about}\n\nCommands:\n{subcommands}\n\nOptions:\n{options}\n";
    let group = command.has_subcommands();
    let short_help = !command.get_arguments().any(|arg| arg.get_short() == Some('h'));
    let mut help = clap::Arg::new("help").long("help").help("Print usage").action(ArgAction::Help);
    if short_help {
        help = help.short('h');
    }
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let mut command = command
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .arg(help)
        .args_override_self(true)
        .help_template(if group { GROUP } else { LEAF })
        .override_usage(shapes::usage(program, path))
        .mut_args(|arg| {
            let valued = arg.get_action().takes_values() && !arg.is_positional();
            if valued { arg.allow_hyphen_values(true) } else { arg }
        });
    if group {
        command = command.subcommand_required(true).arg_required_else_help(true);
    }
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command = command.mut_subcommand(name, |sub| decorated(sub, program, &path));
    }
    command
}

fn program_name(word: Option<&OsString>) -> String {
    let name = word.and_then(|word| Path::new(word).file_name()).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "kiln".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, wording::Complaint> {
        parse_words("kiln", line.split_whitespace().map(OsString::from).collect())
    }

    #[track_caller]
    fn refused(line: &str, code: u8, message: &str) {
        let Err(complaint) = parsed(line) else { panic!("accepted: {line}") };
        assert_eq!((complaint.code, complaint.text.as_str()), (code, message), "{line}");
    }

    #[test]
    fn the_tree_is_sound() {
        tree("kiln").debug_assert();
    }

    #[test]
    fn what_follows_the_image_belongs_to_the_container() {
        let Ok(Arguments { command: Command::Run(run), .. }) = parsed("run --rm -it -e A=1 busybox ls --rm -x --help")
        else {
            panic!("not run");
        };
        assert!(run.create.remove && run.create.interactive && run.create.tty);
        assert_eq!(run.create.image, ["busybox", "ls", "--rm", "-x", "--help"]);
    }

    #[test]
    fn flags_take_values_as_docker_s_do() {
        let Ok(Arguments { command: Command::Run(run), .. }) =
            parsed("run --rm=true --tty=false -i --name one --name two -e -x --entrypoint=/bin/sh busybox")
        else {
            panic!("not run");
        };
        assert!(run.create.remove && run.create.interactive && !run.create.tty);
        assert_eq!((run.create.name.as_deref(), run.create.entrypoint.as_deref()), (Some("two"), Some("/bin/sh")));
        assert_eq!(run.create.env, ["-x"]);
    }

    #[test]
    fn wrong_flags_exit_with_125() {
        let usage =
            "\n\nUsage:  kiln run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'kiln run --help' for more information";
        refused("run --nope busybox", 125, &format!("unknown flag: --nope{usage}"));
        refused("run -Zx busybox", 125, &format!("unknown shorthand flag: 'Z' in -Zx{usage}"));
        refused("run --name", 125, &format!("flag needs an argument: --name{usage}"));
        refused("run -e", 125, &format!("flag needs an argument: 'e' in -e{usage}"));
    }

    #[test]
    fn missing_and_surplus_words_exit_with_1() {
        refused(
            "run",
            1,
            "kiln: 'kiln run' requires at least 1 argument\n\nUsage:  kiln run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n\
             See 'kiln run --help' for more information",
        );
        refused(
            "pull",
            1,
            "kiln: 'kiln pull' requires 1 argument\n\nUsage:  kiln pull [OPTIONS] NAME[:TAG|@DIGEST]\n\n\
             Run 'kiln pull --help' for more information",
        );
        refused(
            "ps x",
            1,
            "kiln: 'kiln ps' accepts no arguments\n\nUsage:  kiln ps [OPTIONS]\n\n\
             Run 'kiln ps --help' for more information",
        );
        refused(
            "tag a",
            1,
            "kiln: 'kiln tag' requires 2 arguments\n\nUsage:  kiln tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]\n\n\
             Run 'kiln tag --help' for more information",
        );
    }

    #[test]
    fn unknown_commands_are_named() {
        refused("frob", 1, "kiln: unknown command: kiln frob\n\nRun 'kiln --help' for more information");
        refused("exec", 1, "kiln: 'kiln exec' is not supported yet");
        refused(
            "image frob",
            1,
            "kiln: unknown command: kiln image frob\n\nRun 'kiln image --help' for more information",
        );
        refused("container stop x", 1, "kiln: 'kiln container stop' is not supported yet");
    }
}
