//! A file system in memory as an overlay has it, and the layer that a step leaves in it.
//!
//! Written from what overlayfs does and from what images hold, without a look at kiln's own code. Paths have no slash
//! at either end; the empty path is the root.

use std::collections::{BTreeMap, BTreeSet};

/// A modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Time {
    /// Seconds since 1970, as somebody set it.
    At(i64),
    /// The time of day when the execution of this number ran: equal to no other.
    During(u64),
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A regular file with this content.
    File(String),
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Symlink(String),
}

/// An entry without its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) kind: Kind,
    /// Permissions.
    pub(crate) mode: u32,
    /// User and group.
    pub(crate) owner: (u32, u32),
    /// When it was modified.
    pub(crate) time: Time,
}

impl Node {
    /// Whether it is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// Its content, if it is a regular file.
    pub(crate) fn content(&self) -> Option<&str> {
        match &self.kind {
            Kind::File(content) => Some(content),
            Kind::Directory | Kind::Symlink(_) => None,
        }
    }

    fn same_apart_from_time(&self, other: &Node) -> bool {
        (&self.kind, self.mode, self.owner) == (&other.kind, other.mode, other.owner)
    }
}

/// An entry of a layer: the node and the first name of the file in the layer where it has several; `None` hides what
/// lies below.
pub(crate) type Changed = Option<(Node, Option<String>)>;

/// What a step added to a root file system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// All of a base image, by its name.
    Image(String),
    /// What differs from the layers below.
    Step(BTreeMap<String, Changed>),
}

/// A file system.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    names: BTreeMap<String, usize>,
    nodes: Vec<Node>,
    /// Nodes below this number belong to lower layers: a change by one name does not show by another.
    lower: usize,
}

impl Tree {
    /// A root directory.
    pub(crate) fn new() -> Self {
        let mut tree = Tree::default();
        let root = Node { kind: Kind::Directory, mode: 0o755, owner: (0, 0), time: Time::At(0) };
        tree.insert("", root);
        tree.lower = 1;
        tree
    }

    /// The entry at this very path.
    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.names.get(path).map(|&number| &self.nodes[number])
    }

    /// What tells names of one file from other files.
    pub(crate) fn inode(&self, path: &str) -> Option<usize> {
        self.names.get(path).copied()
    }

    /// Adds or replaces an entry; its parent stays as it is.
    pub(crate) fn insert(&mut self, path: &str, node: Node) {
        self.names.insert(path.to_owned(), self.nodes.len());
        self.nodes.push(node);
    }

    /// Gives a file another name.
    pub(crate) fn link(&mut self, path: &str, other: &str) {
        self.change(path, |_| ());
        if let Some(&number) = self.names.get(path) {
            self.names.insert(other.to_owned(), number);
        }
    }

    /// Changes an entry in place, by this name; lower layers keep what they have.
    pub(crate) fn change(&mut self, path: &str, change: impl FnOnce(&mut Node)) {
        let Some(&number) = self.names.get(path) else { return };
        let place = if number < self.lower && !self.nodes[number].is_directory() {
            self.nodes.push(self.nodes[number].clone());
            self.names.insert(path.to_owned(), self.nodes.len() - 1);
            self.nodes.len() - 1
        } else {
            number
        };
        change(&mut self.nodes[place]);
    }

    /// Takes an entry away with all below it; whether there was one.
    pub(crate) fn remove(&mut self, path: &str) -> bool {
        let doomed: Vec<String> = self.at_or_below(path).map(|(path, _)| path.to_owned()).collect();
        doomed.iter().for_each(|path| {
            self.names.remove(path);
        });
        !doomed.is_empty()
    }

    /// What is at a path and below it, in order.
    pub(crate) fn at_or_below(&self, path: &str) -> impl Iterator<Item = (&str, &Node)> {
        let inside = format!("{path}/");
        let all = path.is_empty();
        let path = path.to_owned();
        let wanted = move |name: &&String| all || **name == path || name.starts_with(&inside);
        self.names.keys().filter(wanted).map(|name| (name.as_str(), &self.nodes[self.names[name]]))
    }

    /// The names in a directory, in order of their bytes.
    pub(crate) fn children(&self, directory: &str) -> Vec<String> {
        let below = self.at_or_below(directory).filter(|(path, _)| !path.is_empty() && *path != directory);
        below.filter(|(path, _)| parent(path) == directory).map(|(path, _)| base(path).to_owned()).collect()
    }

    /// Where the kernel arrives for a path: symlinks followed, the last one only if asked. All but the last component
    /// must be there.
    pub(crate) fn arrive(&self, path: &str, follow: bool) -> Option<String> {
        let arrived = self.follow(path, follow)?;
        let known = arrived.is_empty() || self.get(parent(&arrived)).is_some_and(Node::is_directory);
        known.then_some(arrived)
    }

    /// Where a path leads, symlinks followed beneath the root; what is missing is kept as it is written.
    pub(crate) fn follow(&self, path: &str, last: bool) -> Option<String> {
        let mut rest: Vec<String> = components(path).rev().map(str::to_owned).collect();
        let mut at = String::new();
        for _ in 0..200 {
            let Some(name) = rest.pop() else { return Some(at) };
            if name == ".." {
                at = parent(&at).to_owned();
                continue;
            }
            let next = join(&at, &name);
            match self.get(&next).map(|node| &node.kind) {
                Some(Kind::Symlink(target)) if last || !rest.is_empty() => {
                    if target.starts_with('/') {
                        at.clear();
                    }
                    rest.extend(components(target).rev().map(str::to_owned));
                }
                _ => at = next,
            }
        }
        None
    }

    /// What differs from `before`, of which this tree was a copy. What ended as it was belongs to the lower layers
    /// again, and so does everything from now on.
    pub(crate) fn commit(&mut self, before: &Tree) -> Layer {
        let paths: BTreeSet<String> = self.names.keys().chain(before.names.keys()).cloned().collect();
        let mut layer = BTreeMap::new();
        let mut hidden: Vec<String> = Vec::new();
        for path in paths {
            let is_hidden = hidden.iter().any(|directory| path.starts_with(directory));
            let (now, then) = (self.inode(&path), before.inode(&path));
            match (now, then) {
                (None, _) if is_hidden || !self.get(parent(&path)).is_some_and(Node::is_directory) => {}
                (None, _) => drop(layer.insert(path, None)),
                (Some(now), then) => {
                    let node = &self.nodes[now];
                    let same = !is_hidden && then.is_some_and(|then| is_same(node, now, &before.nodes[then], then));
                    if same {
                        let number = then.unwrap_or(now);
                        self.names.insert(path, number);
                        continue;
                    }
                    if node.is_directory() && then.is_some_and(|then| then != now) {
                        hidden.push(format!("{path}/"));
                    }
                    layer.insert(path, Some((node.clone(), None)));
                }
            }
        }
        self.name_links(&mut layer);
        self.lower = self.nodes.len();
        Layer::Step(layer)
    }

    fn name_links(&self, layer: &mut BTreeMap<String, Changed>) {
        let mut names: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for path in layer.iter().filter(|(_, changed)| changed.is_some()).map(|(path, _)| path) {
            names.entry(self.names[path]).or_default().push(path.clone());
        }
        for group in names.into_values().filter(|group| group.len() > 1) {
            for path in &group {
                if let Some(Some((_, first))) = layer.get_mut(path) {
                    *first = Some(group[0].clone());
                }
            }
        }
    }

    /// Lays a layer over this tree that was made on an empty one: nothing in it hides a directory's content.
    pub(crate) fn apply(&mut self, layer: &Layer) {
        let Layer::Step(layer) = layer else { return };
        let mut first_names: BTreeMap<&str, usize> = BTreeMap::new();
        for (path, changed) in layer {
            let both_directories = |node: &Node| node.is_directory() && self.get(path).is_some_and(Node::is_directory);
            match changed {
                None => {
                    self.remove(path);
                }
                Some((node, _)) if both_directories(node) => self.change(path, |old| *old = node.clone()),
                Some((node, first)) => {
                    self.remove(path);
                    match first.as_deref().and_then(|first| first_names.get(first)) {
                        Some(number) => {
                            self.names.insert(path.clone(), *number);
                        }
                        None => self.insert(path, node.clone()),
                    }
                    if let Some(first) = first {
                        first_names.entry(first).or_insert(self.names[path]);
                    }
                }
            }
        }
        self.lower = self.nodes.len();
    }
}

/// Whether an entry ended as it was; the time of a directory alone does not count.
fn is_same(now: &Node, number: usize, then: &Node, was: usize) -> bool {
    match now.kind {
        Kind::Directory => number == was && now.same_apart_from_time(then),
        _ => now == then,
    }
}

/// The directory that holds a path.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The last component.
pub(crate) fn base(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, base)| base)
}

/// A path with one more component.
pub(crate) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// The components of a path.
pub(crate) fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}
