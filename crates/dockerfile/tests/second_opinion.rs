//! Compares with another parser on the part that both know: plain Dockerfiles without heredocs, flags it
//! does not know, or odd escapes. Where it accepts a text, the instructions, their lines and the simple
//! arguments must be the same.

use std::path::Path;

use dockerfile_parser::{Dockerfile as OtherDockerfile, Instruction as Other, ShellOrExecExpr};
use kiln_dockerfile::shell::{Options, Shell};
use kiln_dockerfile::{CommandLine, Dockerfile, Instruction, Located, Pair, Stage};
use proptest::prelude::*;
use serde_json::Value;

/// Where the other parser is known to read otherwise than BuildKit does.
fn both_know(text: &str) -> bool {
    let upper = text.to_uppercase();
    // `['a']` is no JSON: the shell form, though the other takes it for an array.
    !text.contains("<<")
        && !text.contains("['")
        && !upper.contains("# ESCAPE")
        && !upper.contains("#ESCAPE")
        && !text.contains("\\")
        && !text.contains('\r')
        && !text.contains("--")
        && !upper.contains("HEALTHCHECK")
}

/// Name and first line of all instructions, FROM included.
fn ours(dockerfile: &Dockerfile) -> Vec<(String, u32, Option<Vec<String>>)> {
    let mut list: Vec<_> = Vec::new();
    for global in &dockerfile.global_arguments {
        list.push(("ARG".to_owned(), global.span.first_line, None));
    }
    for stage in &dockerfile.stages {
        list.push(("FROM".to_owned(), stage.span.first_line, Some(vec![stage.base.clone()])));
        list.extend(
            stage
                .instructions
                .iter()
                .map(|located| (located.instruction.name().to_owned(), located.span.first_line, arguments(located))),
        );
    }
    list
}

fn arguments(located: &Located) -> Option<Vec<String>> {
    match &located.instruction {
        Instruction::Run(run) => command(&run.command),
        Instruction::Cmd(line) | Instruction::Entrypoint(line) => command(line),
        Instruction::Copy(copy) => Some(copy.sources.iter().chain([&copy.destination]).cloned().collect()),
        _ => None,
    }
}

/// The words of the exec form; of the shell form nothing, for white space is kept in different ways.
fn command(line: &CommandLine) -> Option<Vec<String>> {
    (!line.shell).then(|| line.words.clone())
}

fn line_of(text: &str, offset: usize) -> u32 {
    text[..offset].matches('\n').count() as u32 + 1
}

fn theirs(text: &str, dockerfile: &OtherDockerfile) -> Vec<(String, u32, Option<Vec<String>>)> {
    let exec = |expression: &ShellOrExecExpr| match expression {
        ShellOrExecExpr::Exec(array) => Some(array.elements.iter().map(|e| e.content.clone()).collect()),
        ShellOrExecExpr::Shell(_) => None,
    };
    let list = dockerfile.instructions.iter().map(|instruction| {
        let (name, arguments) = match instruction {
            Other::From(from) => ("FROM".to_owned(), Some(vec![from.image.content.clone()])),
            Other::Arg(_) => ("ARG".to_owned(), None),
            Other::Label(_) => ("LABEL".to_owned(), None),
            Other::Run(run) => ("RUN".to_owned(), exec(&run.expr)),
            Other::Entrypoint(entrypoint) => ("ENTRYPOINT".to_owned(), exec(&entrypoint.expr)),
            Other::Cmd(cmd) => ("CMD".to_owned(), exec(&cmd.expr)),
            Other::Copy(copy) => {
                let words = copy.sources.iter().chain([&copy.destination]).map(|word| word.content.clone());
                ("COPY".to_owned(), Some(words.collect()))
            }
            Other::Env(_) => ("ENV".to_owned(), None),
            Other::Misc(misc) => (misc.instruction.content.to_uppercase(), None),
        };
        (name, line_of(text, instruction.span().start), arguments)
    });
    list.collect()
}

#[test]
fn plain_dockerfiles_read_the_same() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/conformance/parse.jsonl");
    let text = std::fs::read_to_string(file).expect("a question file");
    let mut compared = 0;
    let mut different = Vec::new();
    for line in text.lines() {
        let question: Value = serde_json::from_str(line).expect("JSON");
        let text = question["req"]["text"].as_str().expect("a text");
        if !both_know(text) {
            continue;
        }
        let (Ok(our), Ok(their)) = (Dockerfile::parse(text), OtherDockerfile::parse(text)) else { continue };
        compared += 1;
        if ours(&our) != theirs(text, &their) {
            different.push(format!("{text}\nours   {:?}\ntheirs {:?}\n", ours(&our), theirs(text, &their)));
        }
    }
    assert!(compared > 50, "only {compared} texts that both parse");
    assert!(different.is_empty(), "{} of {compared} differ:\n{}", different.len(), different.join("\n"));
}

/// One instruction in words that both can say: its name, what it says, without quotes and with single blanks.
type Said = (String, Vec<String>);

fn unquoted(text: &str) -> String {
    Shell::new('\\', Options::default()).expand_word(text, &()).expect("a word")
}

fn single_blanks(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn said_by_us(dockerfile: &Dockerfile) -> Vec<Said> {
    let argument = |argument: &kiln_dockerfile::Argument| {
        let default = argument.default.iter().map(|text| unquoted(text));
        ("ARG".to_owned(), std::iter::once(argument.name.clone()).chain(default).collect())
    };
    let mut said: Vec<Said> = Vec::new();
    said.extend(dockerfile.global_arguments.iter().flat_map(|global| global.arguments.iter().map(argument)));
    for stage in &dockerfile.stages {
        said.push(("FROM".to_owned(), from(stage)));
        for located in &stage.instructions {
            match &located.instruction {
                Instruction::Arg(arguments) => said.extend(arguments.iter().map(argument)),
                instruction => said.push((instruction.name().to_owned(), details(instruction))),
            }
        }
    }
    said
}

fn from(stage: &Stage) -> Vec<String> {
    let platform = stage.platform.iter().map(|platform| format!("platform={platform}"));
    platform.chain([stage.base.clone()]).chain(stage.name.clone()).collect()
}

fn details(instruction: &Instruction) -> Vec<String> {
    let pairs = |pairs: &[Pair]| pairs.iter().map(|pair| format!("{}={}", pair.name, unquoted(&pair.value))).collect();
    let line = |line: &CommandLine| match line.shell {
        true => vec![single_blanks(&line.words.concat())],
        false => line.words.clone(),
    };
    match instruction {
        Instruction::Run(run) => line(&run.command),
        Instruction::Cmd(command) | Instruction::Entrypoint(command) => line(command),
        Instruction::Env(list) | Instruction::Label(list) => pairs(list),
        Instruction::Copy(copy) => {
            let flags = [("chown", &copy.chown), ("from", &copy.from)];
            let flags = flags.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
            flags.chain(copy.sources.iter().cloned()).chain([copy.destination.clone()]).collect()
        }
        _ => Vec::new(),
    }
}

fn said_by_them(dockerfile: &OtherDockerfile) -> Vec<Said> {
    let line = |expression: &ShellOrExecExpr| match expression {
        ShellOrExecExpr::Exec(array) => array.elements.iter().map(|element| element.content.clone()).collect(),
        ShellOrExecExpr::Shell(text) => vec![single_blanks(&text.to_string())],
    };
    let list = dockerfile.instructions.iter().map(|instruction| match instruction {
        Other::From(from) => {
            let flags = from.flags.iter().map(|flag| format!("{}={}", flag.name.content, flag.value.content));
            let alias = from.alias.iter().map(|alias| alias.content.to_lowercase());
            ("FROM".to_owned(), flags.chain([from.image.content.clone()]).chain(alias).collect())
        }
        Other::Arg(arg) => {
            let value = arg.value.iter().map(|value| value.content.clone());
            ("ARG".to_owned(), std::iter::once(arg.name.content.clone()).chain(value).collect())
        }
        Other::Label(label) => {
            let pairs = label.labels.iter().map(|label| format!("{}={}", label.name.content, label.value.content));
            ("LABEL".to_owned(), pairs.collect())
        }
        Other::Env(env) => (
            "ENV".to_owned(),
            env.vars.iter().map(|variable| format!("{}={}", variable.key.content, variable.value)).collect(),
        ),
        Other::Run(run) => ("RUN".to_owned(), line(&run.expr)),
        Other::Entrypoint(entrypoint) => ("ENTRYPOINT".to_owned(), line(&entrypoint.expr)),
        Other::Cmd(cmd) => ("CMD".to_owned(), line(&cmd.expr)),
        Other::Copy(copy) => {
            let mut flags: Vec<String> =
                copy.flags.iter().map(|flag| format!("{}={}", flag.name.content, flag.value.content)).collect();
            flags.sort();
            let words = copy.sources.iter().chain([&copy.destination]).map(|word| word.content.clone());
            ("COPY".to_owned(), flags.into_iter().chain(words).collect())
        }
        Other::Misc(misc) => (misc.instruction.content.to_uppercase(), Vec::new()),
    });
    list.collect()
}

/// A line of the part that both know.
fn instruction() -> impl Strategy<Value = String> {
    let word = "[a-z][a-z0-9/._]{0,7}";
    // The other parser does not take a leading underscore.
    let name = "[A-Za-z][A-Za-z0-9_]{0,5}";
    let value = prop_oneof!["[a-z0-9/:.]{1,6}", "\"[a-z0-9 :=]{0,8}\"", "'[a-z0-9 ]{1,6}'"];
    let keyword = |name: &'static str| prop::sample::select(vec![name.to_owned(), name.to_lowercase()]);
    let pair = (name, value).prop_map(|(name, value)| format!("{name}={value}"));
    let exec = prop::collection::vec("[a-z /.-]{0,6}", 1..4).prop_map(|words| format!("{words:?}"));
    let shell = prop::collection::vec(prop_oneof![word, Just("&&".to_owned()), Just("\\\n   ".to_owned())], 1..6)
        .prop_map(|words| format!("{} end", words.join(" ")));
    let command = prop_oneof![exec, shell.prop_map(|line| format!("start {line}"))];
    let command_of = |name| (keyword(name), command.clone()).prop_map(|(name, line)| format!("{name} {line}"));
    let pairs_of = |name| {
        let pairs = prop::collection::vec(pair.clone(), 1..4);
        (keyword(name), pairs, any::<bool>()).prop_map(|(name, pairs, continued)| {
            format!("{name} {}", pairs.join(if continued { " \\\n    " } else { " " }))
        })
    };
    let copy = (prop::collection::vec(word, 2..4), prop::option::of(word), prop::option::of("[0-9]:[0-9]"));
    prop_oneof![
        command_of("RUN"),
        command_of("CMD"),
        command_of("ENTRYPOINT"),
        pairs_of("ENV"),
        pairs_of("LABEL"),
        (keyword("ARG"), name).prop_map(|(keyword, name)| format!("{keyword} {name}")),
        (keyword("ARG"), pair).prop_map(|(keyword, pair)| format!("{keyword} {pair}")),
        copy.prop_map(|(words, from, owner)| {
            let from = from.map_or(String::new(), |from| format!("--from={from} "));
            let owner = owner.map_or(String::new(), |owner| format!("--chown={owner} "));
            format!("COPY {from}{owner}{}", words.join(" "))
        }),
        prop::sample::select(vec!["USER u", "workdir /w", "EXPOSE 80", "STOPSIGNAL 9", "ADD a b"])
            .prop_map(str::to_owned),
        Just("# a comment".to_owned()),
        Just(String::new()),
    ]
}

fn from_line() -> impl Strategy<Value = String> {
    let platform = prop::option::of(Just("--platform=linux/arm64 "));
    let name = prop::option::of("[a-z][a-z0-9]{0,5}");
    (platform, "[a-z]{1,6}(:[a-z0-9]{1,3})?", name).prop_map(|(platform, image, name)| {
        let name = name.map_or(String::new(), |name| format!(" AS {name}"));
        format!("FROM {}{image}{name}", platform.unwrap_or_default())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_common_part_reads_the_same(
        stages in prop::collection::vec((from_line(), prop::collection::vec(instruction(), 0..8)), 1..4),
    ) {
        let lines = stages.into_iter().flat_map(|(from, rest)| std::iter::once(from).chain(rest));
        let text: String = lines.map(|line| line + "\n").collect();
        let our = Dockerfile::parse(&text).map_err(|error| TestCaseError::fail(format!("{error} in {text}")))?;
        let their = OtherDockerfile::parse(&text).map_err(|error| TestCaseError::fail(format!("{error} in {text}")))?;
        prop_assert_eq!(said_by_us(&our), said_by_them(&their), "{}", text);
    }
}
