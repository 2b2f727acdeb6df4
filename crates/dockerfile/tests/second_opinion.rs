//! Compares with another parser on the part that both know: plain Dockerfiles without heredocs, flags it
//! does not know, or odd escapes. Where it accepts a text, the instructions, their lines and the simple
//! arguments must be the same.

use std::path::Path;

use dockerfile_parser::{Dockerfile as OtherDockerfile, Instruction as Other, ShellOrExecExpr};
use kiln_dockerfile::{CommandLine, Dockerfile, Instruction, Located};
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
