//! Random changes of a project.

use std::collections::BTreeMap;

use crate::blame::Blame;
use crate::generate::{self, IMAGES};
use crate::project::{Base, Item, ItemKind, Project, Step};
use crate::random::Random;

/// How a project was changed: in words, and what is to be blamed for steps that run again.
pub(crate) type Changed = (String, Blame);

/// Changes `project` somehow and says how; `None` if the kind of change that came up has nothing to work on.
pub(crate) fn change(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let changed = some_change(project, random);
    // Names of one file have its permissions and time.
    let origins = project.context.clone();
    for item in project.context.values_mut() {
        if let ItemKind::Link(first) = &item.kind {
            (item.mode, item.time) = (origins[first].mode, origins[first].time);
        }
    }
    changed
}

fn some_change(project: &mut Project, random: &mut Random) -> Option<Changed> {
    match random.below(26) {
        0..=1 => edit(project, random),
        2..=3 => edit_unseen(project, random),
        4 => add(project, random),
        5 => remove(project, random),
        6 => rename(project, random),
        7 => mode(project, random),
        8 => touch(project, random),
        9 => retarget(project, random),
        10 => ignore(project, random),
        11 => argument(project, random),
        12 => environment(project, random),
        13..=14 => command(project, random),
        15..=16 => insert(project, random),
        17 => take_out(project, random),
        18 => swap(project, random),
        19 => base(project, random),
        20 => {
            project.layout = random.number();
            Some(("comments, blanks and case".into(), Blame::Nothing))
        }
        21 => clone(project),
        22 => {
            project.secret = random.word();
            Some(("the value of the secret".into(), Blame::Nothing))
        }
        23 => link(project, random),
        24 => options(project, random),
        _ => Some(("nothing".into(), Blame::Nothing)),
    }
}

/// The files of a context whose kind is as wanted.
fn one_of(project: &Project, random: &mut Random, wanted: impl Fn(&Item) -> bool) -> Option<String> {
    let found: Vec<&String> = project.context.iter().filter(|(_, item)| wanted(item)).map(|(path, _)| path).collect();
    (!found.is_empty()).then(|| (*random.pick(&found)).clone())
}

/// A path with what is below it and the other names of its file.
fn names_of(project: &Project, path: &str) -> Blame {
    let first = match &project.context[path].kind {
        ItemKind::Link(first) => first.clone(),
        _ => path.to_owned(),
    };
    let inside = format!("{path}/");
    let same = |other: &str, item: &Item| {
        other == first || other.starts_with(&inside) || matches!(&item.kind, ItemKind::Link(name) if *name == first)
    };
    Blame::Files(
        project.context.iter().filter(|(other, item)| same(other, item)).map(|(path, _)| path.clone()).collect(),
    )
}

/// The variables that instructions set, or use in others.
fn set_by(steps: &[&Step]) -> Vec<String> {
    let names = steps.iter().filter_map(|step| match step {
        Step::Env(name, _) | Step::Arg(name, _) => Some(name.clone()),
        _ => None,
    });
    let mut names: Vec<String> = names.collect();
    if names.iter().any(|name| name.starts_with('E')) {
        names.extend((0..3).map(|number| format!("E{number}")));
    }
    names
}

fn is_file(item: &Item) -> bool {
    matches!(item.kind, ItemKind::File(_))
}

fn edit(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let path = one_of(project, random, |item| matches!(item.kind, ItemKind::File(_) | ItemKind::Archive(_)))?;
    let item = project.context.get_mut(&path)?;
    match &mut item.kind {
        ItemKind::File(content) | ItemKind::Archive(content) => content.push_str(&random.word()),
        _ => return None,
    }
    item.time += 1;
    Some((format!("the content of {path}"), names_of(project, &path)))
}

fn edit_unseen(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let path = one_of(project, random, |item| matches!(&item.kind, ItemKind::File(text) if !text.is_empty()))?;
    let ItemKind::File(content) = &mut project.context.get_mut(&path)?.kind else { return None };
    let last = content.pop()?;
    content.push(if last == 'q' { 'r' } else { 'q' });
    Some((format!("the content of {path}, of equal size and time"), names_of(project, &path)))
}

fn add(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let directory = random.pick(&["", "d/", "d/e/", "f/", "new/", "new/er/"]);
    let path = format!("{directory}{}{}", random.word(), random.pick(&["", ".txt", ".log"]));
    let item = Item { kind: ItemKind::File(random.word()), ..generate::item(random) };
    let before = project.context.clone();
    generate::add(&mut project.context, &path, item);
    let new = project.context.keys().filter(|path| !before.contains_key(*path)).cloned().collect();
    Some((format!("{path} is new"), Blame::Files(new)))
}

fn remove(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let path = one_of(project, random, |_| true)?;
    let blame = names_of(project, &path);
    take(&mut project.context, &path);
    Some((format!("{path} is gone"), blame))
}

/// Takes a path and all below it out of a context; what was a link to something in it is a file of its own then.
fn take(context: &mut BTreeMap<String, Item>, path: &str) -> BTreeMap<String, Item> {
    let inside = format!("{path}/");
    let doomed: Vec<String> =
        context.keys().filter(|other| **other == path || other.starts_with(&inside)).cloned().collect();
    let taken: BTreeMap<String, Item> =
        doomed.into_iter().filter_map(|path| context.remove(&path).map(|item| (path, item))).collect();
    for item in context.values_mut() {
        if let ItemKind::Link(first) = &item.kind
            && let Some(origin) = taken.get(first)
        {
            item.kind = origin.kind.clone();
        }
    }
    taken
}

fn rename(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let path = one_of(project, random, |item| is_file(item) || matches!(item.kind, ItemKind::Symlink(_)))?;
    let new = format!("{path}{}", random.word());
    let Blame::Files(mut names) = names_of(project, &path) else { return None };
    let taken = take(&mut project.context, &path).remove(&path)?;
    project.context.insert(new.clone(), taken);
    names.push(new.clone());
    Some((format!("{path} is {new}"), Blame::Files(names)))
}

fn mode(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let path = one_of(project, random, |item| is_file(item) || item.kind == ItemKind::Directory)?;
    let item = project.context.get_mut(&path)?;
    let choices: &[u32] = if is_file(item) { &[0o600, 0o755, 0o640] } else { &[0o700, 0o755, 0o750] };
    let mode = *random.pick(choices);
    item.mode = mode;
    Some((format!("the permissions of {path}: {mode:o}"), names_of(project, &path)))
}

fn touch(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let path = one_of(project, random, |item| !matches!(item.kind, ItemKind::Link(_)))?;
    project.context.get_mut(&path)?.time += 5000;
    Some((format!("the time of {path}"), Blame::Nothing))
}

fn retarget(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let path = one_of(project, random, |item| matches!(item.kind, ItemKind::Symlink(_)))?;
    let target = (*random.pick(&["a", "e", "b", "../k", "sp ace"])).to_owned();
    project.context.get_mut(&path)?.kind = ItemKind::Symlink(target.clone());
    // Where it is a source itself, what it leads to is copied: other files than before.
    Some((format!("{path} leads to {target}"), Blame::AnyFiles))
}

fn ignore(project: &mut Project, random: &mut Random) -> Option<Changed> {
    if project.ignore.is_empty() || random.once_in(2) {
        let pattern = generate::pattern(random);
        project.ignore.push(pattern.clone());
        return Some((format!("ignored too: {pattern}"), Blame::AnyFiles));
    }
    let place = random.below(project.ignore.len());
    Some((format!("ignored no more: {}", project.ignore.remove(place)), Blame::AnyFiles))
}

fn argument(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let steps = project.stages.iter().flat_map(|stage| &stage.steps);
    let names: Vec<String> =
        steps.filter_map(|step| if let Step::Arg(name, _) = step { Some(name.clone()) } else { None }).collect();
    if names.is_empty() {
        return None;
    }
    let name = random.pick(&names).clone();
    let value = random.word();
    project.arguments.insert(name.clone(), value.clone());
    Some((format!("build argument {name}={value}"), Blame::Variables(vec![name])))
}

/// The place of an instruction for which `wanted` holds.
fn place_of(project: &Project, random: &mut Random, wanted: impl Fn(&Step) -> bool) -> Option<(usize, usize)> {
    let mut found = Vec::new();
    for (number, stage) in project.stages.iter().enumerate() {
        found.extend((0..stage.steps.len()).filter(|place| wanted(&stage.steps[*place])).map(|place| (number, place)));
    }
    (!found.is_empty()).then(|| *random.pick(&found))
}

fn environment(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let (number, place) = place_of(project, random, |step| matches!(step, Step::Env(..)))?;
    let Step::Env(name, value) = &mut project.stages[number].steps[place] else { return None };
    *value = random.word();
    let words = format!("ENV {name}={value} in stage {number}");
    // The values of others may name it.
    Some((words, Blame::Variables((0..3).map(|number| format!("E{number}")).collect())))
}

fn command(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let (number, place) = place_of(project, random, |step| matches!(step, Step::Run(_)))?;
    let Step::Run(run) = &mut project.stages[number].steps[place] else { return None };
    let at = random.below(run.commands.len() + 1);
    let command = generate::command(random, &run.mounts);
    let words = format!("a command of RUN {place} in stage {number}: {}", command.text());
    if at == run.commands.len() {
        run.commands.push(command);
    } else {
        run.commands[at] = command;
    }
    Some((words, Blame::Instructions { variables: Vec::new() }))
}

fn insert(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let number = random.below(project.stages.len());
    let step = generate::step(random, number, project, &project.stages[number]);
    let steps = &mut project.stages[number].steps;
    let place = random.below(steps.len() + 1);
    let words = format!("a new instruction {place} in stage {number}: {step:?}");
    let blame = Blame::Instructions { variables: set_by(&[&step]) };
    steps.insert(place, step);
    Some((words, blame))
}

fn take_out(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let (number, place) = place_of(project, random, |_| true)?;
    let steps = &mut project.stages[number].steps;
    if steps.len() < 2 {
        return None;
    }
    let step = steps.remove(place);
    let blame = Blame::Instructions { variables: set_by(&[&step]) };
    Some((format!("without instruction {place} of stage {number}: {step:?}"), blame))
}

fn swap(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let number = random.below(project.stages.len());
    let steps = &mut project.stages[number].steps;
    if steps.len() < 2 {
        return None;
    }
    let place = random.below(steps.len() - 1);
    steps.swap(place, place + 1);
    let blame = Blame::Instructions { variables: set_by(&[&steps[place], &steps[place + 1]]) };
    Some((format!("instructions {place} and {} of stage {number} swapped", place + 1), blame))
}

fn base(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let number = random.below(project.stages.len());
    let base = &mut project.stages[number].base;
    let new = match base {
        Base::Image(name) if *name == IMAGES[0] => IMAGES[1],
        Base::Image(_) => IMAGES[0],
        Base::Stage(_) | Base::Scratch => return None,
    };
    *base = Base::Image(new);
    Some((format!("the base of stage {number}: {new}"), Blame::Base))
}

fn clone(project: &mut Project) -> Option<Changed> {
    project.place += 1;
    project.context.values_mut().for_each(|item| item.time += 100_000);
    Some(("the context is another directory with other times".into(), Blame::Nothing))
}

fn link(project: &mut Project, random: &mut Random) -> Option<Changed> {
    if let Some(path) = one_of(project, random, |item| matches!(item.kind, ItemKind::Link(_))) {
        let ItemKind::Link(first) = &project.context[&path].kind else { return None };
        let origin = project.context[first].kind.clone();
        let words = format!("{path} is no hard link to {first} any more");
        let blame = Blame::Files(vec![path.clone(), first.clone()]);
        project.context.get_mut(&path)?.kind = origin;
        return Some((words, blame));
    }
    let first = one_of(project, random, is_file)?;
    let path = format!("{first}-2");
    let item = Item { kind: ItemKind::Link(first.clone()), ..project.context[&first].clone() };
    project.context.insert(path.clone(), item);
    Some((format!("{path} is another name of {first}"), Blame::Files(vec![path, first])))
}

fn options(project: &mut Project, random: &mut Random) -> Option<Changed> {
    let (number, place) = place_of(project, random, |step| matches!(step, Step::Copy(_)))?;
    let Step::Copy(copy) = &mut project.stages[number].steps[place] else { return None };
    match random.below(4) {
        0 => copy.link = !copy.link,
        1 => copy.chmod = if copy.chmod.is_some() { None } else { Some(0o755) },
        2 => copy.chown = if copy.chown.is_some() { None } else { Some((3, 3)) },
        _ => copy.exclude = if copy.exclude.is_empty() { vec!["**/*.log".into()] } else { Vec::new() },
    }
    let words = format!("options of instruction {place} in stage {number}: {copy:?}");
    Some((words, Blame::Instructions { variables: Vec::new() }))
}
