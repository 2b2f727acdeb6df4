//! What shows while lines are read: case, comments, blank lines within instructions.

use std::collections::HashSet;

use crate::dockerfile::Dockerfile;
use crate::reader::{Arguments, Node, Warning};
use crate::span::Span;
use crate::words;

use super::collector::Collector;
use super::rule::Rule;

/// Names that mean something else in FROM and `--from`.
const RESERVED: [&str; 2] = ["context", "scratch"];

/// Blank lines within instructions.
pub(super) fn blank_lines(warnings: &[Warning], collector: &mut Collector<'_>) {
    for warning in warnings {
        let last = warning.span.last_line;
        collector.report(Rule::NoEmptyContinuation, &Span::lines(last, last), "Empty continuation line");
    }
}

/// What one instruction shows before it is part of a stage. `understood` tells whether it is well formed.
pub(super) fn instruction(node: &Node, understood: bool, collector: &mut Collector<'_>) {
    collector.read_comments(&node.span, &node.comments);
    match node.name.to_ascii_lowercase().as_str() {
        "maintainer" => {
            let detail = "Maintainer instruction is deprecated in favor of using label";
            collector.report_word(Rule::MaintainerDeprecated, &node.span, &node.name, detail);
        }
        "from" => from(node, understood, collector),
        "arg" if understood => {
            let words = words_of(node);
            let names: Vec<&str> =
                words.iter().map(|word| word.split_once('=').map_or(word.as_str(), |(name, _)| name)).collect();
            description(node, "ARG", &names, collector);
        }
        _ => {}
    }
}

fn words_of(node: &Node) -> &[String] {
    match &node.arguments {
        Arguments::Words(words) => words,
        _ => &[],
    }
}

fn from(node: &Node, understood: bool, collector: &mut Collector<'_>) {
    let words = words_of(node);
    if let [_, _, name] = words
        && name.to_lowercase() != *name
    {
        let detail = format!("Stage name '{name}' should be lowercase");
        collector.report_word(Rule::StageNameCasing, &node.span, name, detail);
    }
    if let [_, keyword, ..] = words
        && words.len() >= 3
        && !same_case(&node.name, keyword)
    {
        let detail = format!("'{keyword}' and '{}' keywords' casing do not match", node.name);
        collector.report_word(Rule::FromAsCasing, &node.span, keyword, detail);
    }
    if let ([_, _, name], true) = (words, understood) {
        description(node, "FROM", &[&name.to_lowercase()], collector);
    }
}

/// Whether AS has the case of its FROM; a FROM of mixed case asks for nothing.
fn same_case(from: &str, keyword: &str) -> bool {
    if from == from.to_lowercase() {
        keyword == keyword.to_lowercase()
    } else if from == from.to_uppercase() {
        keyword == keyword.to_uppercase()
    } else {
        true
    }
}

/// The comment right above describes what is defined, or should stand apart.
fn description(node: &Node, instruction: &str, names: &[&str], collector: &mut Collector<'_>) {
    let (Some(comment), Some(first)) = (node.comments.last(), names.first()) else { return };
    if names.contains(&comment.split(' ').next().unwrap_or_default()) {
        return;
    }
    let example = if names.len() > 1 { "<arg_key>" } else { first };
    let detail = format!("Comment for {instruction} should follow the format: `# {example} <description>`");
    collector.report(Rule::InvalidDefinitionDescription, &node.span, detail);
}

/// Names of stages that are taken or mean something else.
pub(super) fn stage_names(dockerfile: &Dockerfile, collector: &mut Collector<'_>) {
    let mut seen = HashSet::new();
    for stage in &dockerfile.stages {
        let Some(name) = stage.name.as_deref() else { continue };
        if RESERVED.contains(&name) {
            let detail = format!("Stage name should not use the same name as reserved stage {name:?}");
            collector.report_word(Rule::ReservedStageName, &stage.span, name, detail);
        }
        if !seen.insert(name) {
            let detail = format!("Duplicate stage name {name:?}, stage names should be unique");
            collector.report_word(Rule::DuplicateStageName, &stage.span, name, detail);
        }
    }
}

/// Instructions in another case than most. ARGs before the first FROM do not count.
pub(super) fn case(dockerfile: &Dockerfile, collector: &mut Collector<'_>) {
    let names: Vec<(&str, &Span)> = dockerfile
        .stages
        .iter()
        .flat_map(|stage| {
            let own = stage.instructions.iter().map(|located| (written_name(&located.text), &located.span));
            std::iter::once((written_name(&stage.text), &stage.span)).chain(own)
        })
        .collect();
    let lower = names.iter().filter(|(name, _)| is_lower(name)).count();
    let upper = names.iter().filter(|(name, _)| is_upper(name)).count();
    let (wanted, fits): (_, fn(&str) -> bool) =
        if lower > upper { ("lowercase", is_lower) } else { ("uppercase", is_upper) };
    for (name, span) in names.into_iter().filter(|(name, _)| !fits(name)) {
        let detail = format!("Command '{name}' should match the case of the command majority ({wanted})");
        collector.report_word(Rule::ConsistentInstructionCasing, span, name, detail);
    }
}

fn is_lower(name: &str) -> bool {
    !name.contains(|c: char| c.is_ascii_uppercase())
}

fn is_upper(name: &str) -> bool {
    !name.contains(|c: char| c.is_ascii_lowercase())
}

/// An instruction's name as the logical line has it.
pub(super) fn written_name(text: &str) -> &str {
    words::split_once_blank(text.trim_start()).map_or(text.trim(), |(name, _)| name)
}
