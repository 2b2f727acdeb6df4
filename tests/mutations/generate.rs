//! Random projects: contexts and Dockerfiles.

use std::collections::BTreeMap;

use crate::project::{Base, Copy, Item, ItemKind, Mount, Project, Run, Stage, Step};
use crate::random::Random;
use crate::shell::Command;
use crate::tree::parent;

/// The base images.
pub(crate) const IMAGES: [&str; 2] = ["busybox", "other"];
/// Where commands read and write.
const IMAGE_PATHS: [&str; 10] =
    ["w/a", "w/b", "w/c", "w/l", "w/d", "w/d/a", "w/d/x.log", "w/d/e", "w/d/e/y", "w/new/a.txt"];
/// Where files of a context are.
const CONTEXT_PATHS: [&str; 16] = [
    "a.txt",
    "b.txt",
    "c.log",
    "k",
    "d/a",
    "d/b",
    "d/x.log",
    "d/e/y",
    "d/e/z.log",
    "d/sp ace",
    "d/-dash",
    "f/a",
    "f/#h",
    "f/g/deep.txt",
    ".hidden",
    "empty",
];
const MODES: [u32; 6] = [0o644, 0o600, 0o755, 0o640, 0o444, 0o777];
const PATTERNS: [&str; 9] = ["*.log", "**/*.log", "d/e", "k", "f", "!d/x.log", "!f/a", ".hidden", ".dockerignore"];

/// A random project with a context in directory `place`.
pub(crate) fn project(random: &mut Random, place: usize) -> Project {
    let mut project = Project {
        place,
        context: context(random),
        ignore: Vec::new(),
        stages: Vec::new(),
        layout: random.number(),
        arguments: BTreeMap::new(),
        secret: random.word(),
    };
    for _ in 0..random.below(3) {
        project.ignore.push(pattern(random));
    }
    for number in 0..1 + random.below(3) {
        let stage = stage(random, number, &project);
        project.stages.push(stage);
    }
    project
}

/// A line of an ignore file.
pub(crate) fn pattern(random: &mut Random) -> String {
    (*random.pick(&PATTERNS)).to_owned()
}

fn context(random: &mut Random) -> BTreeMap<String, Item> {
    let mut context = BTreeMap::new();
    for path in CONTEXT_PATHS {
        if !random.once_in(4) {
            let content = if random.once_in(6) { String::new() } else { random.word() };
            add(&mut context, path, Item { kind: ItemKind::File(content), ..item(random) });
        }
    }
    if random.once_in(2) {
        add(&mut context, "p.tar", Item { kind: ItemKind::Archive(random.word()), ..item(random) });
    }
    if random.once_in(2) {
        let target = (*random.pick(&["a", "e", "../a.txt", "nowhere", "/a.txt"])).to_owned();
        add(&mut context, "d/link", Item { kind: ItemKind::Symlink(target), mode: 0o777, ..item(random) });
    }
    if random.once_in(3)
        && let Some(first) = context.get("d/a").cloned()
    {
        add(&mut context, "d/same", Item { kind: ItemKind::Link("d/a".into()), ..first });
    }
    if random.once_in(3) {
        let mode = *random.pick(&[0o755, 0o700]);
        add(&mut context, "d/void", Item { kind: ItemKind::Directory, mode, ..item(random) });
    }
    context
}

/// An empty file at some time in the past.
pub(crate) fn item(random: &mut Random) -> Item {
    let mode = if random.once_in(3) { *random.pick(&MODES) } else { 0o644 };
    Item { kind: ItemKind::File(String::new()), mode, time: 1_600_000_000 + random.below(1000) as i64 }
}

/// Adds an item with the directories that it is in.
pub(crate) fn add(context: &mut BTreeMap<String, Item>, path: &str, item: Item) {
    let mut directory = parent(path);
    while !directory.is_empty() {
        let new = Item { kind: ItemKind::Directory, mode: 0o755, time: 1_600_000_500 };
        context.entry(directory.to_owned()).or_insert(new);
        directory = parent(directory);
    }
    context.insert(path.to_owned(), item);
}

fn stage(random: &mut Random, number: usize, project: &Project) -> Stage {
    let base = match random.below(6) {
        0 if number > 0 => Base::Scratch,
        1 | 2 if number > 0 => Base::Stage(random.below(number)),
        _ => Base::Image(if random.once_in(4) { IMAGES[1] } else { IMAGES[0] }),
    };
    let mut stage = Stage { base, steps: Vec::new() };
    if let Base::Image(_) = stage.base {
        let mut commands = vec![
            Command::MakeDirectories("w/d/e".into()),
            Command::Write { text: format!("stage {number} {}", random.pick(&["x", "y", "z"])), to: "w/stage".into() },
        ];
        if !random.once_in(3) {
            commands.push(Command::Settle);
        }
        stage.steps.push(Step::Run(Run { mounts: Vec::new(), commands, heredoc: false }));
    }
    for _ in 0..1 + random.below(5) {
        stage.steps.push(step(random, number, project, &stage));
    }
    stage
}

/// A random instruction for a stage of this number.
pub(crate) fn step(random: &mut Random, number: usize, project: &Project, stage: &Stage) -> Step {
    let has_shell = has_shell(&stage.base, project);
    match random.below(16) {
        0..=5 if has_shell => Step::Run(run(random, number)),
        0..=9 => Step::Copy(copy(random, number)),
        10 => Step::Text { content: random.word(), to: destination(random) },
        11 => Step::Env(format!("E{}", random.below(3)), value(random)),
        12 => {
            let name = format!("A{}", random.below(1_000_000));
            Step::Arg(name, (!random.once_in(3)).then(|| random.word()))
        }
        13 => Step::Workdir(format!("/wd/{}", random.pick(&["x", "y", "x/z"]))),
        14 => Step::User(["root", "0", "0:5"][random.below(3)]),
        _ => Step::Label(random.word(), random.word()),
    }
}

fn has_shell(base: &Base, project: &Project) -> bool {
    match base {
        Base::Image(_) => true,
        Base::Scratch => false,
        Base::Stage(number) => has_shell(&project.stages[*number].base, project),
    }
}

fn value(random: &mut Random) -> String {
    match random.below(3) {
        0 => format!("{}-${{E{}}}", random.word(), random.below(3)),
        _ => random.word(),
    }
}

fn destination(random: &mut Random) -> String {
    let choices = ["/w/", "/w/d/", "/w/d", "/w/copied", "/w/new/", "/w/new", "/w/v${E0}/", "/w/deep/er/", "/w/l"];
    (*random.pick(&choices)).to_owned()
}

fn run(random: &mut Random, number: usize) -> Run {
    let mut mounts = Vec::new();
    for _ in 0..3 {
        if random.once_in(4) {
            mounts.push(mount(random, number));
        }
    }
    mounts.sort_by_key(|mount| !matches!(mount, Mount::Bind { .. }));
    mounts.dedup_by_key(|mount| match mount {
        Mount::Bind { source, .. } => source.clone(),
        Mount::Cache(_) => "cache".into(),
        Mount::Tmpfs => "tmpfs".into(),
        Mount::Secret => "secret".into(),
    });
    let mut commands: Vec<Command> = (0..1 + random.below(3)).map(|_| command(random, &mounts)).collect();
    if random.once_in(2) {
        commands.push(Command::Settle);
    }
    Run { mounts, commands, heredoc: random.once_in(5) }
}

fn mount(random: &mut Random, number: usize) -> Mount {
    match random.below(6) {
        0 => Mount::Cache(random.word()),
        1 => Mount::Tmpfs,
        2 => Mount::Secret,
        3 if number > 0 => {
            let source = (*random.pick(&["w", "w/d", "w/stage"])).to_owned();
            Mount::Bind { from: Some(random.below(number)), source }
        }
        _ => Mount::Bind { from: None, source: (*random.pick(&["d", "a.txt", ".", "d/e"])).to_owned() },
    }
}

/// A random command.
pub(crate) fn command(random: &mut Random, mounts: &[Mount]) -> Command {
    let path = |random: &mut Random| (*random.pick(&IMAGE_PATHS)).to_owned();
    let to = path(random);
    match random.below(17) {
        0 => Command::Nothing(random.word()),
        1..=3 => Command::Write { text: random.word(), to },
        4 => Command::Append { text: random.word(), to },
        5 => Command::Variable { name: format!("E{}", random.below(3)), to },
        6 | 7 => {
            let bind = mounts.iter().position(|mount| matches!(mount, Mount::Bind { .. }));
            let mounted = bind.map(|place| [format!("m{place}"), format!("m{place}/a"), format!("m{place}/d/a")]);
            let from = mounted.into_iter().flatten().chain([path(random), path(random)]).collect();
            Command::Cat { from, to }
        }
        8 => Command::List { directory: path(random), to },
        9 => Command::Status { of: path(random), to },
        10 => Command::Remove(to),
        11 => Command::MakeDirectories(to),
        12 => Command::Mode(*random.pick(&[0o700, 0o755, 0o644, 0o600]), to),
        13 => Command::Own((random.below(3) as u32, random.below(3) as u32), to),
        14 => Command::Symlink { target: (*random.pick(&["a", "d", "/w/b", "nowhere", "e/y"])).to_owned(), at: to },
        15 => Command::Link { of: path(random), at: to },
        _ => Command::Touch(1000 + random.below(3) as i64, to),
    }
}

fn copy(random: &mut Random, number: usize) -> Copy {
    let from = (number > 0 && random.once_in(3)).then(|| random.below(number));
    let pool: &[&str] = match from {
        Some(_) => &["w", "w/d", "w/stage", "w/d/e", "w/*", "w/a*"],
        None => &["a.txt", "d", "d/", "f", ".", "./d/e", "*.txt", "d/*", "k*", "d/a", "d/link", "p.tar", "empty", "*"],
    };
    let mut sources = vec![(*random.pick(pool)).to_owned()];
    let mut to = destination(random);
    if random.once_in(4) {
        sources.push((*random.pick(pool)).to_owned());
        to = "/w/several/".into();
    }
    Copy {
        add: from.is_none() && random.once_in(4),
        from,
        sources,
        to,
        link: random.once_in(4),
        chown: random.once_in(5).then(|| (random.below(3) as u32, random.below(3) as u32)),
        chmod: random.once_in(5).then(|| *random.pick(&MODES)),
        exclude: if random.once_in(5) { vec![random.pick(&["**/*.log", "e", "d/e"]).to_string()] } else { Vec::new() },
    }
}
