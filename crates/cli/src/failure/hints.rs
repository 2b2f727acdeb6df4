//! What a person can do about a failed build, a line for each. Knows typed errors, no texts of messages.

use std::path::Path;

use kiln_build::{Cause, Entitlement, Guess, Installer, StepError, StepProblem, UserError};
use kiln_dockerfile::{Dockerfile, InstructionProblem, LowerProblem, Problem, suggestion};
use rustix::io::Errno;

use crate::size;

/// A disk with less than this is still full, in bytes.
const FULL: u64 = 1 << 20;

/// For a step that failed.
pub(super) fn of_step(error: &StepError, store: &Path) -> Vec<String> {
    match &error.problem {
        StepProblem::Exit { diagnosis, .. } => {
            diagnosis.cause.iter().flat_map(|cause| of_cause(cause, store)).collect()
        }
        StepProblem::TimedOut { .. } => {
            vec![
                "give steps more time with --step-timeout, or step-timeout of [build] in config.toml; 0 is no limit"
                    .into(),
            ]
        }
        StepProblem::MissingSource { guess, .. } => {
            let outside = leaves_context(&error.name).then(outside);
            outside.or_else(|| guess.as_deref().map(of_guess)).into_iter().collect()
        }
        StepProblem::MissingSecret(id) => {
            vec![format!("give it with --secret id={id},src=FILE or --secret id={id},env=VARIABLE")]
        }
        StepProblem::MissingSshAgent(id) => {
            vec![format!(
                "give it with --ssh {id} for the agent of SSH_AUTH_SOCK, or --ssh {id}=SOCKET, or --ssh {id}=KEY"
            )]
        }
        StepProblem::MissingDevice { faults, .. } if !faults.is_empty() => faults.clone(),
        StepProblem::MissingDevice { .. } => {
            vec!["a specification in /etc/cdi or /var/run/cdi describes a device (Container Device Interface)".into()]
        }
        StepProblem::NotAllowed(entitlement) => vec![of_entitlement(entitlement)],
        StepProblem::System { code, .. } => of_system(*code, store).into_iter().collect(),
        StepProblem::User(error) => of_user(error).into_iter().collect(),
        StepProblem::UnreadableContext(_) => {
            vec![
                "the context is read by the user who calls kiln: chmod it, or leave it out by a rule in .dockerignore"
                    .into(),
            ]
        }
        StepProblem::LostLayer { .. } => vec!["build without that --cache-from".into()],
        StepProblem::Other(_) | StepProblem::Unsupported(_) | StepProblem::Cancelled => Vec::new(),
    }
}

/// For something that the kernel refused while the store was used.
pub(super) fn of_system(code: i32, store: &Path) -> Option<String> {
    match Errno::from_raw_os_error(code) {
        Errno::NOSPC | Errno::DQUOT => disk_state(store),
        Errno::MFILE | Errno::NFILE => Some("too many files are open: raise the limit with ulimit -n".into()),
        Errno::NOMEM => Some("the machine's memory ran out; --jobs 1 runs one step at a time".into()),
        _ => None,
    }
}

/// For a Dockerfile that is wrong.
pub(super) fn of_dockerfile(error: &kiln_dockerfile::Error, text: &str) -> Option<String> {
    if text.contains('\0') {
        return Some("this is no UTF-8 text, perhaps UTF-16: save it as UTF-8".into());
    }
    match &error.problem {
        Problem::Instruction(InstructionProblem::NoStage) => {
            Some("the first instruction is FROM, with the image to start from, or scratch".into())
        }
        Problem::Lower(LowerProblem::UnknownTarget(_)) => {
            let dockerfile = Dockerfile::parse(text).ok()?;
            let stages: Vec<&str> = dockerfile.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
            Some(if stages.is_empty() {
                "no stage has a name".into()
            } else {
                format!("the stages are {}", stages.join(", "))
            })
        }
        _ => None,
    }
}

/// For a base image that cannot be had: it may be a stage that was meant.
pub(super) fn of_base(name: &str, text: &str) -> Option<String> {
    let name = name.strip_suffix(":latest").unwrap_or(name);
    let dockerfile = Dockerfile::parse(text).ok()?;
    let stages: Vec<&str> = dockerfile.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
    if stages.iter().any(|stage| stage.eq_ignore_ascii_case(name)) {
        return Some(format!("there is a stage {name}, but only below; a stage must come before it is used"));
    }
    suggestion(name, stages).map(|stage| format!("did you mean the stage {stage}?"))
}

/// How full the disk of the store is.
fn disk_state(store: &Path) -> Option<String> {
    let disk = rustix::fs::statvfs(store).ok()?;
    let (free, all) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
    let store = store.display();
    if disk.f_files > 0 && disk.f_favail == 0 {
        return Some(format!("the disk of {store} has no inodes left"));
    }
    let state = if free < FULL { "is full" } else { "was full, until what failed was removed" };
    Some(format!("the disk of {store} {state}: {} free of {}", size::words(free), size::words(all)))
}

fn of_entitlement(entitlement: &Entitlement) -> String {
    let what = match entitlement {
        Entitlement::HostNetwork => "sees everything that listens on this machine",
        Entitlement::Insecure => "may do all that you may do on this machine",
        Entitlement::Device(_) => "uses hardware of this machine",
    };
    format!("such a step {what}; permit it with --allow {entitlement}")
}

fn of_guess(guess: &Guess) -> String {
    match guess {
        Guess::Ignored { path, rule } => format!(
            "{path} is there, but {rule} leaves it out; a line !{path} below it in {} takes it in again",
            rule.file
        ),
        Guess::OtherCase(path) => format!("did you mean {path}? Upper and lower case differ"),
        Guess::Similar(path) => format!("did you mean {path}?"),
        Guess::Elsewhere(paths) => format!("that name is there as {}", paths.join(", ")),
        Guess::NotADirectory(path) => format!("{path} is there, but it is no directory"),
        Guess::EmptyContext => "the build context has no files: is it the right directory?".into(),
    }
}

fn of_user(error: &UserError) -> Option<String> {
    match error {
        UserError::UnknownUser(name) => Some(format!(
            "make the user before: RUN useradd {name}, with busybox RUN adduser -D {name}; or use a number"
        )),
        UserError::UnknownGroup(name) => Some(format!(
            "make the group before: RUN groupadd {name}, with busybox RUN addgroup {name}; or use a number"
        )),
        UserError::NoAccounts(_) => {
            Some("an image without /etc/passwd knows numbers only, such as --chown=1000:1000".into())
        }
        UserError::OutOfRange(_) | UserError::TooManyGroups { .. } => None,
    }
}

/// Whether a copy names something above the root of its context.
fn leaves_context(step: &str) -> bool {
    let words = step.split_whitespace().skip_while(|word| !matches!(*word, "COPY" | "ADD")).skip(1);
    let mut words = words.peekable();
    let mut leaves = false;
    while let Some(word) = words.next() {
        let is_destination = words.peek().is_none();
        leaves |= !is_destination && !word.starts_with("--") && depth(word.trim_matches(['[', ']', '"', ','])) < 0;
    }
    leaves
}

/// How far below the root a path leads at its highest point; negative above it.
fn depth(path: &str) -> i32 {
    let mut highest = 0;
    let mut depth = 0;
    for part in path.split('/') {
        depth += match part {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        highest = depth.min(highest);
    }
    highest
}

fn outside() -> String {
    "nothing outside of the context can be copied: build with a directory above it, or give that directory a name with \
     --build-context NAME=DIRECTORY and copy --from=NAME"
        .into()
}

fn of_cause(cause: &Cause, store: &Path) -> Vec<String> {
    let one = |hint: String| vec![hint];
    match cause {
        Cause::OutOfMemory { limit: Some(limit) } => one(format!(
            "the kernel killed it because it needed more memory than the {:.4} MiB that --step-memory, or step-memory of \
             [build] in config.toml, lets a step take",
            *limit as f64 / f64::from(1 << 20)
        )),
        Cause::OutOfMemory { limit: None } => {
            one("the kernel killed it because memory ran out: --jobs 1 runs one step at a time".into())
        }
        Cause::Killed => {
            one("signal 9 ended it: if the machine's memory ran out, the kernel's log says so (dmesg)".into())
        }
        Cause::DiskFull => {
            let remedy = "`kiln system prune` removes what no image needs; KILN_ROOT names another place".to_owned();
            disk_state(store).into_iter().chain([remedy]).collect()
        }
        Cause::CommandNotFound { name, installer } => one(match installer {
            Some(installer) => format!("{name} is not in the image; install its package: {}", install(*installer)),
            None => {
                format!("{name} is not in the image, and neither is a package manager: copy it, or use another base")
            }
        }),
        Cause::NoShell(shell) => one(format!(
            "the image has no {shell}: name the program itself, RUN [\"PROGRAM\", \"ARGUMENT\"], or run it in an earlier stage"
        )),
        Cause::WindowsLineEnds(script) => {
            let script = script.as_deref().unwrap_or("the script");
            one(format!(
                "{script} has Windows line ends, which become part of the interpreter's name: sed -i 's/\\r$//' {script}"
            ))
        }
        Cause::NoInterpreter { program, interpreter } => one(format!(
            "{program} is there, but what runs it is not in the image: {interpreter}{}",
            loader_note(interpreter)
        )),
        Cause::NotExecutable(program) => {
            one(format!("{program} is not executable: RUN chmod +x {program}, or COPY --chmod=755"))
        }
        Cause::NoFormat(program) => one(format!(
            "{program} is neither a program nor a script whose first line names an interpreter, such as #!/bin/sh"
        )),
        Cause::OtherMachine { program, machine } => one(format!("{program} is a program for {machine}")),
    }
}

fn loader_note(interpreter: &str) -> &'static str {
    if interpreter.contains("ld-linux") {
        " (a program for glibc; images such as Alpine have musl)"
    } else if interpreter.contains("ld-musl") {
        " (a program for musl; most images have glibc)"
    } else {
        ""
    }
}

fn install(installer: Installer) -> &'static str {
    match installer {
        Installer::Apt => "RUN apt-get update && apt-get install -y PACKAGE",
        Installer::Apk => "RUN apk add --no-cache PACKAGE",
        Installer::Dnf => "RUN dnf install -y PACKAGE",
        Installer::Microdnf => "RUN microdnf install -y PACKAGE",
        Installer::Yum => "RUN yum install -y PACKAGE",
        Installer::Zypper => "RUN zypper install -y PACKAGE",
        Installer::Pacman => "RUN pacman -Sy --noconfirm PACKAGE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_above_the_context_are_seen() {
        for step in ["[2/3] COPY ../x /", "ADD a/../../b ./c d", "COPY --chown=1 [\"../a b\", \"/\"]"] {
            assert!(leaves_context(step), "{step}");
        }
        for step in ["COPY x ../y", "COPY a/../b /", "COPY ./..x /", "RUN cat ../x", "COPY --from=../x a b"] {
            assert!(!leaves_context(step), "{step}");
        }
    }

    #[test]
    fn a_stage_may_have_been_meant() {
        let text = "FROM scratch AS builder\nFROM buidler\nFROM scratch AS later\n";
        assert_eq!(of_base("buidler", text).unwrap(), "did you mean the stage builder?");
        assert!(of_base("later", text).unwrap().contains("only below"));
        assert_eq!(of_base("debian", text), None);
    }
}
