//! What the instructions of one stage use.

use std::collections::BTreeMap;

use super::{OutlineArgument, OutlineMount};
use crate::environment::Environment;
use crate::error::Error;
use crate::instruction::{Argument, Instruction, Located, Pair, Run};
use crate::mount::MountType;
use crate::names::Origin;
use crate::options::{Base, Bases};
use crate::path;
use crate::plan::Plan;
use crate::shell::{Options, Shell, Variables};
use crate::span::Span;

/// What a stage uses, and the variables and directory that it leaves to stages on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    pub(super) arguments: Vec<OutlineArgument>,
    pub(super) secrets: Vec<OutlineMount>,
    pub(super) ssh: Vec<OutlineMount>,
    pub(super) caches: Vec<OutlineMount>,
    variables: Environment,
    directory: String,
}

/// Looks at the stage with this index; those before it that it needs are in `earlier`.
pub(super) fn used(plan: &Plan, bases: &Bases, earlier: &BTreeMap<usize, Used>, index: usize) -> Result<Used, Error> {
    let mut used = match &plan.stages.planned[index].origin {
        Origin::Stage(base) => {
            let below = earlier.get(base).cloned().unwrap_or_default();
            Used { variables: below.variables, directory: below.directory, ..Used::default() }
        }
        Origin::Image(name) => {
            let base = Base { name: name.clone(), platform: plan.stages.planned[index].platform.to_string() };
            on_image(bases, &base)
        }
        _ => Used::default(),
    };
    let triggers = plan.stages.triggers(&plan.dockerfile, bases, index)?;
    for located in triggers.iter().chain(&plan.dockerfile.stages[index].instructions) {
        used.instruction(plan, located)?;
    }
    Ok(used)
}

fn on_image(bases: &Bases, base: &Base) -> Used {
    let mut used = Used::default();
    if let Some(config) = bases.get(base).map(|resolved| resolved.config.container()) {
        used.directory = config.working_dir;
        for (name, value) in config.env.iter().filter_map(|entry| entry.split_once('=')) {
            used.variables.set(name, value);
        }
    }
    used
}

impl Used {
    fn instruction(&mut self, plan: &Plan, located: &Located) -> Result<(), Error> {
        let shell = Shell::new(plan.dockerfile.directives.escape, Options::default());
        let word = |text: &str, variables: &Environment| {
            shell.expand_word(text, variables).map_err(|error| Error::new(error, Some(located.span.clone())))
        };
        match &located.instruction {
            Instruction::Arg(arguments) => {
                arguments.iter().try_for_each(|argument| self.argument(plan, argument, &located.span, &word))
            }
            Instruction::Env(pairs) => {
                let expand =
                    |Pair { name, value, .. }: &Pair| Ok((word(name, &self.variables)?, word(value, &self.variables)?));
                for (name, value) in pairs.iter().map(expand).collect::<Result<Vec<_>, Error>>()? {
                    self.variables.set(&name, &value);
                }
                Ok(())
            }
            Instruction::Workdir(directory) => {
                self.directory = path::resolve(&self.directory, &word(directory, &self.variables)?);
                Ok(())
            }
            Instruction::Run(run) => self.run(run, &located.span, &shell),
            _ => Ok(()),
        }
    }

    fn argument(
        &mut self,
        plan: &Plan,
        argument: &Argument,
        span: &Span,
        word: &dyn Fn(&str, &Environment) -> Result<String, Error>,
    ) -> Result<(), Error> {
        let value = match (plan.options.build_args.get(&argument.name), &argument.default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(word(default, &self.variables)?),
            (None, None) => plan.stages.globals.value(&argument.name).map(str::to_owned),
        };
        if let Some(value) = &value {
            self.variables.set(&argument.name, value);
        }
        let declared = OutlineArgument { name: argument.name.clone(), description: None, value, span: span.clone() };
        match self.arguments.iter_mut().find(|known| known.name == argument.name) {
            Some(known) => *known = declared,
            None => self.arguments.push(declared),
        }
        Ok(())
    }

    fn run(&mut self, run: &Run, span: &Span, shell: &Shell) -> Result<(), Error> {
        for fields in &run.mounts {
            let understood = fields.understand(&|text| shell.expand_word(text, &self.variables));
            let mount = understood.map_err(|error| Error { span: Some(span.clone()), ..error })?;
            let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
            let target = || text(&mount.target);
            let (list, id) = match mount.kind {
                MountType::Secret => {
                    let named = text(&mount.id).or_else(|| text(&mount.source));
                    let id = named.or_else(|| target().map(|target| path::base_name(&target).to_owned()));
                    (&mut self.secrets, id.unwrap_or_default())
                }
                MountType::Ssh => (&mut self.ssh, text(&mount.id).unwrap_or_else(|| "default".to_owned())),
                MountType::Cache => {
                    let path = || path::resolve(&self.directory, &target().unwrap_or_default());
                    let id = text(&mount.id).unwrap_or_else(path);
                    (&mut self.caches, id)
                }
                MountType::Bind | MountType::Tmpfs => continue,
            };
            match list.iter_mut().find(|known| known.id == id) {
                Some(known) => known.required |= mount.required,
                None => list.push(OutlineMount { id, required: mount.required, span: span.clone() }),
            }
        }
        Ok(())
    }
}
