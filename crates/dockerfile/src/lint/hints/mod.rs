//! Our own rules: what makes builds slow, stale or leaky although nothing is wrong with the Dockerfile. Each is
//! meant to be right nearly always; what they cannot see, such as a script that is called, they let pass.

mod apt;
mod commands;
mod copies;
mod dependencies;

use crate::dockerfile::Stage;
use crate::instruction::Instruction;
use crate::names::Origin;
use crate::options::BaseName;
use crate::plan::Plan;

use super::collector::Collector;
use super::rule::Rule;
use commands::Command;

/// Looks at the stages that count.
pub(super) fn check(plan: &Plan, wanted: &[bool], collector: &mut Collector<'_>) {
    for (index, stage) in plan.dockerfile.stages.iter().enumerate().filter(|(index, _)| wanted[*index]) {
        if let Origin::Image(BaseName::Image(reference)) = &plan.stages.planned[index].origin {
            unpinned_base(stage, reference, collector);
        }
        for located in &stage.instructions {
            match &located.instruction {
                Instruction::Run(run) => {
                    let commands = commands::of_run(run);
                    apt::check(run, &commands, &located.span, collector);
                    lost_directory(&commands, located, collector);
                }
                Instruction::Add(copy) => {
                    copies::plain_add(copy, &located.span, collector);
                    copies::secrets(copy, "ADD", &located.span, collector);
                }
                Instruction::Copy(copy) => copies::secrets(copy, "COPY", &located.span, collector),
                _ => {}
            }
        }
        dependencies::check(stage, collector);
    }
}

fn unpinned_base(stage: &Stage, reference: &kiln_oci::Reference, collector: &mut Collector<'_>) {
    if reference.digest().is_none() && reference.tag().is_none_or(|tag| tag == "latest") {
        let detail = format!("{} may be another image tomorrow: name a version or a digest", stage.base);
        collector.report_word(Rule::UnpinnedBase, &stage.span, &stage.base, detail);
    }
}

/// A `cd` after which nothing comes in its RUN.
fn lost_directory(commands: &[Command], located: &crate::instruction::Located, collector: &mut Collector<'_>) {
    let Some(last) = commands.last() else { return };
    if let ("cd", [directory]) = (last.name(), last.arguments()) {
        let detail = format!("The next instruction is not in {directory}: WORKDIR {directory} would be");
        collector.report_word(Rule::ChangeDirectoryLost, &located.span, "cd", detail);
    }
}
