//! The naive model of the cache: a step is executed unless the same operation was executed before on inputs that hold
//! the same.
//!
//! It knows every file of every step, because it interprets the commands itself; it has no keys, no digests and no
//! look-ups from the target backwards. What counts of an input is written down in `copy` (what a copy takes) and in
//! `tree` (what a layer holds).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::copy::{self, ARCHIVE, Part, Refusal, Source};
use crate::ignore::Patterns;
use crate::project::{Base, Copy, Item, ItemKind, Mount, Project, Run, Step};
use crate::shell::Machine;
use crate::tree::{Kind, Layer, Node, Time, Tree, base, components, join, parent};

/// What was executed so far in one store.
#[derive(Clone, Default)]
pub(crate) struct Model {
    executed: BTreeMap<Memory, Rc<Output>>,
    executions: u64,
    builds: u64,
}

/// An operation and what it worked on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Memory {
    operation: String,
    inputs: Vec<Input>,
}

/// What counts of an input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Input {
    Layers(Vec<Rc<Layer>>),
    Parts(Vec<Part>),
}

/// What an execution made.
struct Output {
    layer: Rc<Layer>,
    tree: Tree,
    build: u64,
    recipe: String,
}

/// The steps of a build: stage, and place among its numbered steps as kiln shows it.
pub(crate) type Label = (usize, usize);

/// What a build should do.
#[derive(Default)]
pub(crate) struct Prediction {
    /// The steps that are executed.
    pub(crate) executed: BTreeSet<Label>,
    /// Whether two steps of one build work on the same from different origins: either may find the other's result.
    pub(crate) ambiguous: bool,
}

/// A stage while its instructions are gone through.
#[derive(Clone)]
struct State {
    layers: Vec<Rc<Layer>>,
    tree: Tree,
    /// How it came about, for steps that are one and the same.
    recipe: String,
    environment: Vec<(String, String)>,
    arguments: Vec<(String, String)>,
    user: &'static str,
    directory: String,
    ordinal: usize,
}

impl Model {
    /// What a build of `project` executes, after which it is known.
    pub(crate) fn build(&mut self, project: &Project) -> Result<Prediction, Refusal> {
        self.builds += 1;
        let mut prediction = Prediction::default();
        // A context's own directory counts as made when the build looks at it.
        let context = context_tree(project, Time::During((1 << 40) + self.builds));
        let needed = project.needed_stages();
        let mut stages: Vec<Option<State>> = Vec::new();
        for (number, stage) in project.stages.iter().enumerate() {
            if !needed.contains(&number) {
                stages.push(None);
                continue;
            }
            let mut state = match &stage.base {
                Base::Image(name) => State::of_image(name),
                Base::Scratch => State::empty(),
                Base::Stage(other) => stages[*other].clone().ok_or("a stage without result")?.into_base(),
            };
            let mut build = Building {
                model: self,
                project,
                context: &context,
                stages: &stages,
                number,
                prediction: &mut prediction,
            };
            for step in &stage.steps {
                build.step(step, &mut state)?;
            }
            stages.push(Some(state));
        }
        Ok(prediction)
    }
}

impl State {
    fn empty() -> State {
        State {
            layers: Vec::new(),
            tree: Tree::new(),
            recipe: String::new(),
            environment: Vec::new(),
            arguments: Vec::new(),
            user: "",
            directory: String::new(),
            ordinal: 0,
        }
    }

    fn of_image(name: &str) -> State {
        State { layers: vec![Rc::new(Layer::Image(name.into()))], recipe: name.into(), ordinal: 1, ..State::empty() }
    }

    fn into_base(self) -> State {
        State { ordinal: 0, ..self }
    }

    fn variables(&self) -> BTreeMap<String, String> {
        self.arguments.iter().chain(&self.environment).cloned().collect()
    }

    fn expand(&self, text: &str) -> String {
        self.variables()
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
    }

    fn group(&self) -> u32 {
        self.user.split_once(':').map_or(0, |(_, group)| group.parse().unwrap_or(0))
    }
}

struct Building<'a> {
    model: &'a mut Model,
    project: &'a Project,
    context: &'a Tree,
    stages: &'a [Option<State>],
    number: usize,
    prediction: &'a mut Prediction,
}

impl Building<'_> {
    fn step(&mut self, step: &Step, state: &mut State) -> Result<(), Refusal> {
        state.ordinal += usize::from(step.makes_a_layer());
        match step {
            Step::Run(run) => self.run(run, state),
            Step::Copy(copy) => self.copy(copy, state),
            Step::Text { content, to } => self.text(content, &state.expand(to), state),
            Step::Workdir(path) => self.workdir(&state.expand(path), state),
            Step::Env(name, value) => {
                let value = state.expand(value);
                match state.environment.iter_mut().find(|(known, _)| known == name) {
                    Some(known) => known.1 = value,
                    None => state.environment.push((name.clone(), value)),
                }
                Ok(())
            }
            Step::Arg(name, default) => {
                let value = self.project.arguments.get(name).or(default.as_ref());
                state.arguments.extend(value.map(|value| (name.clone(), value.clone())));
                Ok(())
            }
            Step::User(user) => {
                state.user = user;
                Ok(())
            }
            Step::Label(..) => Ok(()),
        }
    }

    /// Takes a step's result from memory, or executes it on `tree`.
    fn made(
        &mut self,
        memory: Memory,
        recipe: String,
        label: Label,
        tree: &Tree,
        execute: impl FnOnce(&mut Tree, Time) -> Result<(), Refusal>,
    ) -> Result<Rc<Output>, Refusal> {
        if let Some(known) = self.model.executed.get(&memory) {
            self.prediction.ambiguous |= known.build == self.model.builds && known.recipe != recipe;
            return Ok(Rc::clone(known));
        }
        self.model.executions += 1;
        let mut made = tree.clone();
        execute(&mut made, Time::During(self.model.executions))?;
        let layer = Rc::new(made.commit(tree));
        let output = Rc::new(Output { layer, tree: made, build: self.model.builds, recipe });
        self.model.executed.insert(memory, Rc::clone(&output));
        self.prediction.executed.insert(label);
        Ok(output)
    }

    /// The same for a step on top of the stage so far.
    fn on_top(
        &mut self,
        operation: String,
        others: Vec<Input>,
        state: &mut State,
        execute: impl FnOnce(&mut Tree, Time) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let inputs = std::iter::once(Input::Layers(state.layers.clone())).chain(others).collect();
        let recipe = format!("{}\n{operation}", state.recipe);
        let label = (self.number, state.ordinal);
        let output = self.made(Memory { operation, inputs }, recipe.clone(), label, &state.tree, execute)?;
        state.recipe = recipe;
        state.layers.push(Rc::clone(&output.layer));
        state.tree = output.tree.clone();
        Ok(())
    }

    fn run(&mut self, run: &Run, state: &mut State) -> Result<(), Refusal> {
        let (mut words, mut others, mut mounted) = (Vec::new(), Vec::new(), Vec::new());
        for (place, mount) in run.mounts.iter().enumerate() {
            words.push(match mount {
                Mount::Bind { source, .. } => format!("{place} {:?}", components(source).collect::<Vec<_>>()),
                Mount::Cache(_) => "cache".into(),
                Mount::Tmpfs => "tmpfs".into(),
                Mount::Secret => "secret".into(),
            });
            if let Mount::Bind { from, source } = mount {
                let source = copy::take(source, self.source_tree(*from)?)?;
                others.push(Input::Parts(copy::parts(std::slice::from_ref(&source), true)));
                mounted.push((format!("m{place}"), copy::mounted(&source)));
            }
        }
        let (environment, arguments) = (&state.environment, &state.arguments);
        let operation = format!(
            "run {:?} {environment:?} {arguments:?} {:?} {:?} {words:?}",
            run.script(),
            state.user,
            state.directory
        );
        let (variables, group) = (state.variables(), state.group());
        self.on_top(operation, others, state, |tree, now| {
            mounted.iter().for_each(|(target, mounted)| Machine::mount(tree, target, mounted));
            let mut machine = Machine { tree, variables: &variables, now, group };
            run.commands.iter().for_each(|command| command.run(&mut machine));
            mounted.iter().for_each(|(target, _)| Machine::unmount(tree, target));
            Ok(())
        })
    }

    fn source_tree(&self, from: Option<usize>) -> Result<&Tree, Refusal> {
        match from {
            None => Ok(self.context),
            Some(stage) => self.stages[stage].as_ref().map(|state| &state.tree).ok_or("no such stage".into()),
        }
    }

    fn copy(&mut self, copy: &Copy, state: &mut State) -> Result<(), Refusal> {
        let sources = copy::select(copy, self.source_tree(copy.from)?)?;
        let to = state.expand(&copy.to);
        let written: Vec<String> = copy.sources.iter().map(|source| clean(source)).collect();
        let is_linked = copy.link && copy.chmod.is_none();
        let operation = format!(
            "copy {} {written:?} {} {} {:?} {:?} {:?} {is_linked}",
            copy.add,
            clean(&to),
            to.ends_with('/'),
            copy.chown,
            copy.chmod,
            copy.exclude
        );
        let parts = copy::parts(&sources, false);
        if is_linked {
            self.linked(copy, &to, &sources, operation, parts, state)
        } else {
            let origin = copy.from.and_then(|stage| self.stages[stage].as_ref()).map(|state| state.recipe.clone());
            state.recipe = format!("{} {origin:?}", state.recipe);
            self.on_top(operation, vec![Input::Parts(parts)], state, |tree, now| {
                copy::land(copy, &to, &sources, tree, now)
            })
        }
    }

    fn linked(
        &mut self,
        copy: &Copy,
        to: &str,
        sources: &[Source],
        operation: String,
        parts: Vec<Part>,
        state: &mut State,
    ) -> Result<(), Refusal> {
        let origin = copy.from.and_then(|stage| self.stages[stage].as_ref()).map(|state| state.recipe.clone());
        let recipe = format!("link {operation} {origin:?}");
        let label = (self.number, state.ordinal);
        let memory = Memory { operation, inputs: vec![Input::Parts(parts)] };
        let output = self
            .made(memory, recipe.clone(), label, &Tree::new(), |tree, now| copy::land(copy, to, sources, tree, now))?;
        state.recipe = format!("{}\n{recipe}", state.recipe);
        state.layers.push(Rc::clone(&output.layer));
        state.tree.apply(&output.layer);
        Ok(())
    }

    fn text(&mut self, content: &str, to: &str, state: &mut State) -> Result<(), Refusal> {
        let operation = format!("text {content:?} {to:?}");
        self.on_top(operation, Vec::new(), state, |tree, now| {
            let made = Node { kind: Kind::Directory, mode: 0o755, owner: (0, 0), time: now };
            let mut at = tree.follow(to, true).ok_or("a circle of links")?;
            copy::make_directories(tree, if to.ends_with('/') { &at } else { parent(&at) }, &made)?;
            if tree.get(&at).is_some_and(Node::is_directory) {
                at = join(&at, "note");
            }
            if tree.get(&at).is_some_and(Node::is_directory) {
                return Err(format!("{at} is a directory"));
            }
            tree.insert(&at, Node { kind: Kind::File(format!("{content}\n")), mode: 0o644, ..made });
            Ok(())
        })
    }

    fn workdir(&mut self, path: &str, state: &mut State) -> Result<(), Refusal> {
        let operation = format!("workdir {} {:?}", clean(path), state.user);
        let owner = (0, state.group());
        state.directory = clean(path);
        self.on_top(operation, Vec::new(), state, |tree, now| {
            let at = tree.follow(path, true).ok_or("a circle of links")?;
            let made = Node { kind: Kind::Directory, mode: 0o755, owner, time: now };
            copy::make_directories(tree, &at, &made).map(drop)
        })
    }
}

fn clean(path: &str) -> String {
    components(path).collect::<Vec<_>>().join("/")
}

/// The context without what is ignored; everything belongs to root.
fn context_tree(project: &Project, now: Time) -> Tree {
    let mut tree = Tree::new();
    tree.change("", |root| root.time = now);
    let ignore = Patterns::new(&project.ignore);
    let files = project.files();
    let kept = |path: &str| {
        let below = format!("{path}/");
        let inside = |other: &&String| other.starts_with(&below) && !ignore.exclude(other);
        !ignore.exclude(path) || files.keys().any(|other| inside(&other))
    };
    for (path, item) in files.iter().filter(|(path, _)| kept(path)) {
        match &item.kind {
            ItemKind::Link(first) if tree.get(first).is_some() => tree.link(first, path),
            ItemKind::Link(first) => tree.insert(path, node(&files[first])),
            _ => tree.insert(path, node(item)),
        }
    }
    tree
}

fn node(item: &Item) -> Node {
    let kind = match &item.kind {
        ItemKind::File(content) => Kind::File(content.clone()),
        ItemKind::Archive(content) => Kind::File(format!("{ARCHIVE}{content}")),
        ItemKind::Directory => Kind::Directory,
        ItemKind::Symlink(target) => Kind::Symlink(target.clone()),
        ItemKind::Link(first) => Kind::File(format!("another name of {}", base(first))),
    };
    Node { kind, mode: item.mode, owner: (0, 0), time: Time::At(item.time) }
}
