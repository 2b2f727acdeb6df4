//! `COPY --from` and `RUN --mount=from` of stages, looked at in all stages, needed or not: numbers that name no
//! stage, and stages that copy from each other.

use crate::dockerfile::{Dockerfile, Stage};
use crate::error::{Error, LowerProblem};
use crate::instruction::Instruction;
use crate::names::Names;
use crate::shell::{Options, Shell};
use crate::stages::origins_named;

/// Checks what every stage copies from.
pub(crate) fn check(dockerfile: &Dockerfile, names: &Names) -> Result<(), Error> {
    let copied = dockerfile.stages.iter().map(|stage| copied_stages(dockerfile, names, stage));
    let copied = copied.collect::<Result<Vec<_>, _>>()?;
    match first_in_circle(&copied) {
        Some(index) => {
            let span = dockerfile.stages[index].span.clone();
            Err(Error::new(LowerProblem::Circular(names.label(index).to_owned()), Some(span)))
        }
        None => Ok(()),
    }
}

/// The stages that one copies from, in order.
fn copied_stages(dockerfile: &Dockerfile, names: &Names, stage: &Stage) -> Result<Vec<usize>, Error> {
    let shell = Shell::new(dockerfile.directives.escape, Options::default());
    let mut copied = Vec::new();
    for located in &stage.instructions {
        let fail = |problem: LowerProblem| Error::new(problem, Some(located.span.clone()));
        for name in origins_named(&located.instruction) {
            if let Instruction::Copy(_) = &located.instruction
                && shell.expand_word(name, &()).map_err(|problem| fail(problem.into()))? != name
            {
                return Err(fail(LowerProblem::CopyFromVariable(name.to_owned())));
            }
            copied.extend(names.stage_anywhere(name).map_err(fail)?);
        }
    }
    Ok(copied)
}

/// The first stage from which one comes back to a stage on the way.
fn first_in_circle(copied: &[Vec<usize>]) -> Option<usize> {
    let mut visited = vec![false; copied.len()];
    let mut on_the_way = vec![false; copied.len()];
    for first in 0..copied.len() {
        let mut path = vec![(first, 0)];
        while let Some((stage, next)) = path.last_mut() {
            let stage = *stage;
            if *next == 0 && std::mem::replace(&mut visited[stage], true) {
                path.pop();
                continue;
            }
            on_the_way[stage] = true;
            let target = copied[stage].get(*next).copied();
            *next += 1;
            match target {
                Some(target) if on_the_way[target] => return Some(first),
                Some(target) if !visited[target] => path.push((target, 0)),
                Some(_) => {}
                None => {
                    on_the_way[stage] = false;
                    path.pop();
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_and_shared_stages_are_none() {
        assert_eq!(first_in_circle(&[vec![], vec![0], vec![0, 1, 1], vec![2, 0]]), None);
        assert_eq!(first_in_circle(&[vec![], vec![0, 2], vec![0, 1]]), Some(1));
        assert_eq!(first_in_circle(&[vec![0]]), Some(0));
        assert_eq!(first_in_circle(&[vec![1], vec![2], vec![1]]), Some(0));
        assert_eq!(first_in_circle(&(0..200_000usize).map(|n| vec![n.saturating_sub(1)]).collect::<Vec<_>>()), Some(0));
    }
}
