//! Dependencies that are installed again after every edit, because all sources are copied before.

use crate::dockerfile::Stage;
use crate::instruction::{Copy, Instruction, Located};

use super::commands::{self, Command};
use crate::lint::collector::Collector;
use crate::lint::rule::Rule;

/// A program that installs what a list of dependencies says, and how the call looks.
fn installer(command: &Command) -> Option<&'static str> {
    let verb = command.verb();
    let only_verb = command.plain().count() == 1;
    let has = |option: &str| command.arguments().iter().any(|word| word == option);
    match command.name() {
        "npm" if matches!(verb, "ci" | "install") && only_verb => Some("npm"),
        "yarn" if (verb == "install" && only_verb) || command.arguments().is_empty() => Some("yarn"),
        "pnpm" if verb == "install" && only_verb => Some("pnpm"),
        "pip" | "pip3" if verb == "install" && (has("-r") || has("--requirement")) => Some("pip"),
        "go" if verb == "mod" && command.plain().nth(1) == Some("download") => Some("go"),
        "bundle" if verb == "install" => Some("bundle"),
        "composer" if verb == "install" => Some("composer"),
        "cargo" if verb == "fetch" => Some("cargo"),
        _ => None,
    }
}

/// Reports the first installation after the whole context, of programs that had nothing to do before.
pub(super) fn check(stage: &Stage, collector: &mut Collector<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    let mut copied: Option<&Located> = None;
    for located in &stage.instructions {
        match &located.instruction {
            Instruction::Copy(copy) | Instruction::Add(copy) if is_whole_context(copy) => {
                copied = copied.or(Some(located));
            }
            Instruction::Run(run) => {
                for command in commands::of_run(run) {
                    let Some(program) = installer(&command).filter(|program| !seen.contains(program)) else { continue };
                    seen.push(program);
                    if let Some(copied) = copied {
                        let line = copied.span.first_line;
                        let detail = format!(
                            "Every edit installs the dependencies again: copy what {program} reads before line {line}, which copies everything"
                        );
                        collector.report_word(Rule::DependenciesAfterSources, &located.span, program, detail);
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_whole_context(copy: &Copy) -> bool {
    copy.from.is_none()
        && copy.exclude.is_empty()
        && copy.sources.iter().any(|source| matches!(source.as_str(), "." | "./" | "/"))
}
