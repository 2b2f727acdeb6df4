//! Random changes of a project.

use std::collections::BTreeMap;

use crate::generate::{self, IMAGES};
use crate::project::{Base, Item, ItemKind, Project, Step};
use crate::random::Random;

/// Changes `project` somehow and says how; `None` if the kind of change that came up has nothing to work on.
pub(crate) fn change(project: &mut Project, random: &mut Random) -> Option<String> {
    let words = some_change(project, random);
    // Names of one file have its permissions and time.
    let origins = project.context.clone();
    for item in project.context.values_mut() {
        if let ItemKind::Link(first) = &item.kind {
            (item.mode, item.time) = (origins[first].mode, origins[first].time);
        }
    }
    words
}

fn some_change(project: &mut Project, random: &mut Random) -> Option<String> {
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
            Some("comments, blanks and case".into())
        }
        21 => clone(project),
        22 => {
            project.secret = random.word();
            Some("the value of the secret".into())
        }
        23 => link(project, random),
        24 => options(project, random),
        _ => Some("nothing".into()),
    }
}

/// The files of a context whose kind is as wanted.
fn one_of(project: &Project, random: &mut Random, wanted: impl Fn(&Item) -> bool) -> Option<String> {
    let found: Vec<&String> = project.context.iter().filter(|(_, item)| wanted(item)).map(|(path, _)| path).collect();
    (!found.is_empty()).then(|| (*random.pick(&found)).clone())
}

fn is_file(item: &Item) -> bool {
    matches!(item.kind, ItemKind::File(_))
}

fn edit(project: &mut Project, random: &mut Random) -> Option<String> {
    let path = one_of(project, random, |item| matches!(item.kind, ItemKind::File(_) | ItemKind::Archive(_)))?;
    let item = project.context.get_mut(&path)?;
    match &mut item.kind {
        ItemKind::File(content) | ItemKind::Archive(content) => content.push_str(&random.word()),
        _ => return None,
    }
    item.time += 1;
    Some(format!("the content of {path}"))
}

fn edit_unseen(project: &mut Project, random: &mut Random) -> Option<String> {
    let path = one_of(project, random, |item| matches!(&item.kind, ItemKind::File(text) if !text.is_empty()))?;
    let ItemKind::File(content) = &mut project.context.get_mut(&path)?.kind else { return None };
    let last = content.pop()?;
    content.push(if last == 'q' { 'r' } else { 'q' });
    Some(format!("the content of {path}, of equal size and time"))
}

fn add(project: &mut Project, random: &mut Random) -> Option<String> {
    let directory = random.pick(&["", "d/", "d/e/", "f/", "new/", "new/er/"]);
    let path = format!("{directory}{}{}", random.word(), random.pick(&["", ".txt", ".log"]));
    let item = Item { kind: ItemKind::File(random.word()), ..generate::item(random) };
    generate::add(&mut project.context, &path, item);
    Some(format!("{path} is new"))
}

fn remove(project: &mut Project, random: &mut Random) -> Option<String> {
    let path = one_of(project, random, |_| true)?;
    take(&mut project.context, &path);
    Some(format!("{path} is gone"))
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

fn rename(project: &mut Project, random: &mut Random) -> Option<String> {
    let path = one_of(project, random, |item| is_file(item) || matches!(item.kind, ItemKind::Symlink(_)))?;
    let new = format!("{path}{}", random.word());
    let taken = take(&mut project.context, &path).remove(&path)?;
    project.context.insert(new.clone(), taken);
    Some(format!("{path} is {new}"))
}

fn mode(project: &mut Project, random: &mut Random) -> Option<String> {
    let path = one_of(project, random, |item| is_file(item) || item.kind == ItemKind::Directory)?;
    let item = project.context.get_mut(&path)?;
    let choices: &[u32] = if is_file(item) { &[0o600, 0o755, 0o640] } else { &[0o700, 0o755, 0o750] };
    let mode = *random.pick(choices);
    item.mode = mode;
    Some(format!("the permissions of {path}: {mode:o}"))
}

fn touch(project: &mut Project, random: &mut Random) -> Option<String> {
    let path = one_of(project, random, |item| !matches!(item.kind, ItemKind::Link(_)))?;
    project.context.get_mut(&path)?.time += 5000;
    Some(format!("the time of {path}"))
}

fn retarget(project: &mut Project, random: &mut Random) -> Option<String> {
    let path = one_of(project, random, |item| matches!(item.kind, ItemKind::Symlink(_)))?;
    let target = (*random.pick(&["a", "e", "b", "../k", "sp ace"])).to_owned();
    project.context.get_mut(&path)?.kind = ItemKind::Symlink(target.clone());
    Some(format!("{path} leads to {target}"))
}

fn ignore(project: &mut Project, random: &mut Random) -> Option<String> {
    if project.ignore.is_empty() || random.once_in(2) {
        let pattern = generate::pattern(random);
        project.ignore.push(pattern.clone());
        return Some(format!("ignored too: {pattern}"));
    }
    let place = random.below(project.ignore.len());
    Some(format!("ignored no more: {}", project.ignore.remove(place)))
}

fn argument(project: &mut Project, random: &mut Random) -> Option<String> {
    let steps = project.stages.iter().flat_map(|stage| &stage.steps);
    let names: Vec<String> =
        steps.filter_map(|step| if let Step::Arg(name, _) = step { Some(name.clone()) } else { None }).collect();
    if names.is_empty() {
        return None;
    }
    let name = random.pick(&names).clone();
    let value = random.word();
    project.arguments.insert(name.clone(), value.clone());
    Some(format!("build argument {name}={value}"))
}

/// The place of an instruction for which `wanted` holds.
fn place_of(project: &Project, random: &mut Random, wanted: impl Fn(&Step) -> bool) -> Option<(usize, usize)> {
    let mut found = Vec::new();
    for (number, stage) in project.stages.iter().enumerate() {
        found.extend((0..stage.steps.len()).filter(|place| wanted(&stage.steps[*place])).map(|place| (number, place)));
    }
    (!found.is_empty()).then(|| *random.pick(&found))
}

fn environment(project: &mut Project, random: &mut Random) -> Option<String> {
    let (number, place) = place_of(project, random, |step| matches!(step, Step::Env(..)))?;
    let Step::Env(name, value) = &mut project.stages[number].steps[place] else { return None };
    *value = random.word();
    Some(format!("ENV {name}={value} in stage {number}"))
}

fn command(project: &mut Project, random: &mut Random) -> Option<String> {
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
    Some(words)
}

fn insert(project: &mut Project, random: &mut Random) -> Option<String> {
    let number = random.below(project.stages.len());
    let step = generate::step(random, number, project, &project.stages[number]);
    let steps = &mut project.stages[number].steps;
    let place = random.below(steps.len() + 1);
    let words = format!("a new instruction {place} in stage {number}: {step:?}");
    steps.insert(place, step);
    Some(words)
}

fn take_out(project: &mut Project, random: &mut Random) -> Option<String> {
    let (number, place) = place_of(project, random, |_| true)?;
    let steps = &mut project.stages[number].steps;
    (steps.len() > 1).then(|| format!("without instruction {place} of stage {number}: {:?}", steps.remove(place)))
}

fn swap(project: &mut Project, random: &mut Random) -> Option<String> {
    let number = random.below(project.stages.len());
    let steps = &mut project.stages[number].steps;
    if steps.len() < 2 {
        return None;
    }
    let place = random.below(steps.len() - 1);
    steps.swap(place, place + 1);
    Some(format!("instructions {place} and {} of stage {number} swapped", place + 1))
}

fn base(project: &mut Project, random: &mut Random) -> Option<String> {
    let number = random.below(project.stages.len());
    let base = &mut project.stages[number].base;
    let new = match base {
        Base::Image(name) if *name == IMAGES[0] => IMAGES[1],
        Base::Image(_) => IMAGES[0],
        Base::Stage(_) | Base::Scratch => return None,
    };
    *base = Base::Image(new);
    Some(format!("the base of stage {number}: {new}"))
}

fn clone(project: &mut Project) -> Option<String> {
    project.place += 1;
    project.context.values_mut().for_each(|item| item.time += 100_000);
    Some("the context is another directory with other times".into())
}

fn link(project: &mut Project, random: &mut Random) -> Option<String> {
    if let Some(path) = one_of(project, random, |item| matches!(item.kind, ItemKind::Link(_))) {
        let ItemKind::Link(first) = &project.context[&path].kind else { return None };
        let origin = project.context[first].kind.clone();
        let words = format!("{path} is no hard link to {first} any more");
        project.context.get_mut(&path)?.kind = origin;
        return Some(words);
    }
    let first = one_of(project, random, is_file)?;
    let path = format!("{first}-2");
    let item = Item { kind: ItemKind::Link(first.clone()), ..project.context[&first].clone() };
    project.context.insert(path.clone(), item);
    Some(format!("{path} is another name of {first}"))
}

fn options(project: &mut Project, random: &mut Random) -> Option<String> {
    let (number, place) = place_of(project, random, |step| matches!(step, Step::Copy(_)))?;
    let Step::Copy(copy) = &mut project.stages[number].steps[place] else { return None };
    match random.below(4) {
        0 => copy.link = !copy.link,
        1 => copy.chmod = if copy.chmod.is_some() { None } else { Some(0o755) },
        2 => copy.chown = if copy.chown.is_some() { None } else { Some((3, 3)) },
        _ => copy.exclude = if copy.exclude.is_empty() { vec!["**/*.log".into()] } else { Vec::new() },
    }
    Some(format!("options of instruction {place} in stage {number}: {copy:?}"))
}
