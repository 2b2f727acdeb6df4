//! What `commit --change` and `import --change` make of an image's config: instructions without a Dockerfile around
//! them, of the kinds that touch nothing but the config.

use kiln_oci::{ContainerConfig, ImageConfig, Platform};

use crate::dockerfile::{Dockerfile, Stage, located};
use crate::error::Error;
use crate::instruction::{Instruction, Located};
use crate::interpret;
use crate::options::{PlanOptions, ResolvedBase};
use crate::plan::Plan;
use crate::reader::{self, Lines};

/// The instructions that may be changes.
const CHANGES: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

const PATH: &str = "PATH";

/// The name of the image that is changed, for the plan's own use.
const BASE: &str = "changed";

/// Why changes cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// An instruction that does more than change the config, or is none.
    #[error("{0} is not a valid change command")]
    NoChange(String),
    /// An instruction that is wrong; line numbers count from the first change.
    #[error("{}", .0.problem)]
    Wrong(#[from] Error),
}

/// Applies `changes`, one or more instructions each, to `config`. Variables are expanded with those of the config, its
/// triggers are dropped and its shell counts, as they are for docker's. What the changes leave without a command gets
/// the command of `config` again, and so does an entrypoint that was taken away.
///
/// # Errors
/// An instruction of another kind, or one that is wrong.
pub fn apply_changes(
    config: &ContainerConfig,
    changes: &[String],
    platform: &Platform,
) -> Result<ContainerConfig, ChangeError> {
    let text = changes.join("\n");
    if text.trim().is_empty() {
        return Ok(ContainerConfig { on_build: Vec::new(), ..config.clone() });
    }
    let lines = reader::read(&text)?;
    let instructions = instructions(&lines)?;
    let sets_path = instructions.iter().any(|located| sets(&located.instruction, PATH));
    let mut changed = lowered(config, lines, instructions, platform)?;
    if !sets_path && !has_variable(config, PATH) {
        // The plan's default for steps, which nobody asked for here.
        changed.env.retain(|variable| !variable.starts_with("PATH="));
    }
    keep_command(&mut changed, config);
    Ok(changed)
}

fn instructions(lines: &Lines) -> Result<Vec<Located>, ChangeError> {
    for node in &lines.nodes {
        if !CHANGES.iter().any(|name| node.name.eq_ignore_ascii_case(name)) {
            return Err(ChangeError::NoChange(node.name.clone()));
        }
    }
    if let Some(error) = lines.errors.first() {
        return Err(error.clone().into());
    }
    lines.nodes.iter().map(|node| Ok(located(node, interpret::instruction(node)?, false))).collect()
}

/// The config of an image that a stage with these instructions makes of one with `config`.
fn lowered(
    config: &ContainerConfig,
    lines: Lines,
    instructions: Vec<Located>,
    platform: &Platform,
) -> Result<ContainerConfig, Error> {
    let stage = Stage {
        base: BASE.to_owned(),
        name: None,
        platform: None,
        documentation: None,
        span: crate::Span::default(),
        text: format!("FROM {BASE}"),
        instructions,
    };
    let dockerfile = Dockerfile {
        directives: lines.directives,
        global_arguments: Vec::new(),
        stages: vec![stage],
        warnings: Vec::new(),
    };
    let plan = Plan::new(dockerfile, PlanOptions::new(platform.clone()))?;
    let mut image = ImageConfig { config: Some(config.clone()), ..ImageConfig::default() };
    if let Some(config) = &mut image.config {
        // Triggers are for builds.
        config.on_build.clear();
    }
    let mut bases = crate::Bases::new();
    for base in plan.missing_bases(&bases)? {
        let crate::BaseName::Image(reference) = &base.name else { continue };
        let resolved = ResolvedBase { reference: reference.clone(), manifest: None, config: image.clone() };
        bases.insert(base, resolved);
    }
    Ok(plan.lower(&bases)?.config.container())
}

fn keep_command(changed: &mut ContainerConfig, before: &ContainerConfig) {
    let is_empty = |words: &Option<Vec<String>>| words.as_ref().is_none_or(Vec::is_empty);
    if is_empty(&changed.entrypoint) {
        if is_empty(&changed.cmd) {
            changed.cmd.clone_from(&before.cmd);
        }
        changed.entrypoint.clone_from(&before.entrypoint);
    }
}

fn sets(instruction: &Instruction, name: &str) -> bool {
    matches!(instruction, Instruction::Env(pairs) if pairs.iter().any(|pair| pair.name == name))
}

fn has_variable(config: &ContainerConfig, name: &str) -> bool {
    config.env.iter().any(|variable| variable.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> ContainerConfig {
        ContainerConfig {
            env: vec!["PATH=/bin".into(), "A=1".into()],
            cmd: Some(vec!["sh".into()]),
            entrypoint: Some(vec!["/entry".into()]),
            working_dir: "/w".into(),
            on_build: vec!["RUN false".into()],
            ..ContainerConfig::default()
        }
    }

    fn changed(config: &ContainerConfig, changes: &[&str]) -> Result<ContainerConfig, ChangeError> {
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        apply_changes(config, &changes, &Platform::new("linux", "amd64"))
    }

    #[test]
    fn every_kind_of_change_is_applied() {
        let after = changed(
            &container(),
            &[
                "ENV B=$A C=\"x y\"",
                "env A 2",
                "EXPOSE 80 90-91/udp",
                "LABEL l=1",
                "USER u:g",
                "WORKDIR sub",
                "VOLUME [\"/data\"]",
                "ONBUILD RUN x",
                "HEALTHCHECK --interval=5s CMD true",
                "STOPSIGNAL SIGUSR1",
                "CMD echo $A",
            ],
        )
        .unwrap();
        assert_eq!(after.env, ["PATH=/bin", "A=2", "B=1", "C=x y"]);
        assert_eq!(after.exposed_ports.keys().collect::<Vec<_>>(), ["80/tcp", "90/udp", "91/udp"]);
        assert_eq!(after.labels["l"], "1");
        assert_eq!((after.user.as_str(), after.working_dir.as_str()), ("u:g", "/w/sub"));
        assert!(after.volumes.contains_key("/data"));
        assert_eq!(after.on_build, ["RUN x"]);
        assert_eq!(after.healthcheck.unwrap().interval, 5_000_000_000);
        assert_eq!(after.stop_signal, "SIGUSR1");
        assert_eq!(after.cmd.unwrap(), ["/bin/sh", "-c", "echo $A"]);
    }

    #[test]
    fn an_entrypoint_makes_the_command_void_unless_it_is_taken_away() {
        let after = changed(&container(), &["ENTRYPOINT [\"/new\"]"]).unwrap();
        assert_eq!((after.entrypoint.unwrap(), after.cmd), (vec!["/new".to_owned()], None));
        let after = changed(&container(), &["ENTRYPOINT []"]).unwrap();
        assert_eq!((after.entrypoint, after.cmd), (container().entrypoint, container().cmd));
    }

    #[test]
    fn nothing_is_added_that_nobody_asked_for() {
        let empty = ContainerConfig::default();
        assert_eq!(changed(&empty, &[]).unwrap(), empty);
        let after = changed(&empty, &["CMD [\"x\"]\nLABEL a=b"]).unwrap();
        assert_eq!((after.env, after.working_dir.as_str()), (Vec::new(), ""));
        assert_eq!(changed(&empty, &["ENV PATH=/x"]).unwrap().env, ["PATH=/x"]);
    }

    #[test]
    fn other_instructions_are_refused_before_anything_else_is_said() {
        let refusal = |changes: &[&str]| changed(&container(), changes).unwrap_err().to_string();
        assert_eq!(refusal(&["RUN x"]), "RUN is not a valid change command");
        assert_eq!(refusal(&["ENV a=b", "frob"]), "frob is not a valid change command");
        assert_eq!(refusal(&["FROM x"]), "FROM is not a valid change command");
        assert_eq!(refusal(&["SHELL [\"x\"]"]), "SHELL is not a valid change command");
        assert_eq!(refusal(&["ENV a"]), "ENV must have two arguments");
        assert_eq!(refusal(&["USER"]), "USER requires exactly one argument");
    }
}
