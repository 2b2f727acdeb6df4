//! Commands of a `RUN` whose effect is known: as text for busybox, and as changes of a tree in memory.

use std::collections::BTreeMap;

use crate::tree::{Kind, Node, Time, Tree, join, parent};

/// The time that [`Command::Settle`] gives to everything.
const SETTLED: i64 = 77;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Nothing, with a word that only the text shows.
    Nothing(String),
    /// Writes a line to a file.
    Write { text: String, to: String },
    /// Adds a line to a file.
    Append { text: String, to: String },
    /// Writes the value of a variable to a file.
    Variable { name: String, to: String },
    /// Writes the contents of files to a file.
    Cat { from: Vec<String>, to: String },
    /// Writes the names in a directory to a file.
    List { directory: String, to: String },
    /// Writes permissions and owner of what a path leads to, to a file.
    Status { of: String, to: String },
    /// Removes with all below.
    Remove(String),
    /// Makes a directory and its parents.
    MakeDirectories(String),
    /// Changes permissions.
    Mode(u32, String),
    /// Changes user and group.
    Own((u32, u32), String),
    /// Makes a symbolic link in the place of what is there.
    Symlink { target: String, at: String },
    /// Gives a file another name.
    Link { of: String, at: String },
    /// Sets a modification time.
    Touch(i64, String),
    /// Sets the modification times of all below `/w`, so that another execution comes out the same.
    Settle,
}

/// What a command works with.
pub(crate) struct Machine<'a> {
    /// The file system with everything that is mounted.
    pub(crate) tree: &'a mut Tree,
    /// The environment.
    pub(crate) variables: &'a BTreeMap<String, String>,
    /// What "now" is.
    pub(crate) now: Time,
    /// The group of the process.
    pub(crate) group: u32,
}

impl Command {
    /// The command as busybox's shell takes it.
    pub(crate) fn text(&self) -> String {
        match self {
            Command::Nothing(word) => format!(": {word}"),
            Command::Write { text, to } => format!("echo '{text}' > /{to}"),
            Command::Append { text, to } => format!("echo '{text}' >> /{to}"),
            Command::Variable { name, to } => format!("echo \"v:${name}\" > /{to}"),
            Command::Cat { from, to } => {
                let from: Vec<String> = from.iter().map(|path| format!("/{path}")).collect();
                format!("x=$(cat {} 2>/dev/null); echo \"c:$x\" > /{to}", from.join(" "))
            }
            Command::List { directory, to } => format!("x=$(ls -A /{directory}/ 2>/dev/null); echo \"l:$x\" > /{to}"),
            Command::Status { of, to } => {
                format!("x=$(stat -L -c '%a %u %g' /{of} 2>/dev/null); echo \"s:$x\" > /{to}")
            }
            Command::Remove(path) => format!("rm -rf /{path}"),
            Command::MakeDirectories(path) => format!("mkdir -p /{path}"),
            Command::Mode(mode, path) => format!("chmod {mode:o} /{path}"),
            Command::Own((user, group), path) => format!("chown {user}:{group} /{path}"),
            Command::Symlink { target, at } => format!("rm -rf /{at}; ln -s {target} /{at}"),
            Command::Link { of, at } => format!("[ -f /{of} ] && [ ! -L /{of} ] && rm -rf /{at} && ln /{of} /{at}"),
            Command::Touch(time, path) => format!("touch -h -c -d @{time} /{path}"),
            Command::Settle => format!("find /w -exec touch -h -c -d @{SETTLED} {{}} +"),
        }
    }

    /// Does it.
    pub(crate) fn run(&self, machine: &mut Machine<'_>) {
        match self {
            Command::Nothing(_) => {}
            Command::Write { text, to } => machine.write(to, format!("{text}\n")),
            Command::Append { text, to } => {
                let before = machine.tree.arrive(to, true).and_then(|at| machine.content(&at)).unwrap_or_default();
                machine.write(to, format!("{before}{text}\n"));
            }
            Command::Variable { name, to } => {
                let value = machine.variables.get(name).cloned().unwrap_or_default();
                machine.write(to, format!("v:{value}\n"));
            }
            Command::Cat { from, to } => {
                let all: String = from.iter().filter_map(|path| machine.read(path)).collect();
                machine.write(to, format!("c:{}\n", all.trim_end_matches('\n')));
            }
            Command::List { directory, to } => {
                let names = machine.names(directory);
                machine.write(to, format!("l:{}\n", names.join("\n")));
            }
            Command::Status { of, to } => {
                let status = machine.status(of);
                machine.write(to, format!("s:{status}\n"));
            }
            Command::Remove(path) => machine.remove(path),
            Command::MakeDirectories(path) => machine.make_directories(path),
            Command::Mode(mode, path) => machine.change(path, |node| node.mode = *mode),
            Command::Own(owner, path) => machine.change(path, |node| node.owner = *owner),
            Command::Symlink { target, at } => {
                machine.remove(at);
                machine.symlink(target, at);
            }
            Command::Link { of, at } => machine.link(of, at),
            Command::Touch(time, path) => machine.touch(*time, path),
            Command::Settle => {
                let all: Vec<String> = machine.tree.at_or_below("w").map(|(path, _)| path.to_owned()).collect();
                all.iter().for_each(|path| machine.tree.change(path, |node| node.time = Time::At(SETTLED)));
            }
        }
    }
}

impl Machine<'_> {
    fn content(&self, at: &str) -> Option<String> {
        self.tree.get(at)?.content().map(str::to_owned)
    }

    fn read(&self, path: &str) -> Option<String> {
        self.content(&self.tree.arrive(path, true)?)
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let at = self.tree.arrive(directory, true).filter(|at| self.tree.get(at).is_some_and(Node::is_directory));
        at.map(|at| self.tree.children(&at)).unwrap_or_default()
    }

    fn status(&self, path: &str) -> String {
        let node = self.tree.arrive(path, true).and_then(|at| self.tree.get(&at));
        node.map(|node| format!("{:o} {} {}", node.mode, node.owner.0, node.owner.1)).unwrap_or_default()
    }

    fn new_node(&self, kind: Kind, mode: u32) -> Node {
        Node { kind, mode, owner: (0, self.group), time: self.now }
    }

    /// Adds an entry, which changes its directory.
    fn add(&mut self, at: &str, node: Node) {
        self.tree.insert(at, node);
        self.modified(parent(at));
    }

    fn modified(&mut self, directory: &str) {
        let now = self.now;
        self.tree.change(directory, |node| node.time = now);
    }

    fn write(&mut self, path: &str, content: String) {
        let Some(at) = self.tree.arrive(path, true) else { return };
        let now = self.now;
        match self.tree.get(&at).map(|node| &node.kind) {
            Some(Kind::File(_)) => {
                self.tree.change(&at, |node| (node.kind, node.time) = (Kind::File(content), now));
            }
            Some(_) => {}
            None => self.add(&at, self.new_node(Kind::File(content), 0o644)),
        }
    }

    fn remove(&mut self, path: &str) {
        let Some(at) = self.tree.arrive(path, false) else { return };
        if self.tree.remove(&at) {
            self.modified(parent(&at));
        }
    }

    fn make_directories(&mut self, path: &str) {
        let parts: Vec<&str> = path.split('/').collect();
        for depth in 1..=parts.len() {
            let Some(at) = self.tree.arrive(&parts[..depth].join("/"), true) else { return };
            let unfollowed = self.tree.arrive(&parts[..depth].join("/"), false);
            match self.tree.get(&at) {
                Some(node) if node.is_directory() => {}
                Some(_) => return,
                // A link that leads nowhere is in the way.
                None if unfollowed.as_ref() != Some(&at) => return,
                None => self.add(&at, self.new_node(Kind::Directory, 0o755)),
            }
        }
    }

    fn change(&mut self, path: &str, change: impl FnOnce(&mut Node)) {
        if let Some(at) = self.tree.arrive(path, true) {
            self.tree.change(&at, change);
        }
    }

    fn symlink(&mut self, target: &str, path: &str) {
        let Some(at) = self.tree.arrive(path, false) else { return };
        if self.tree.get(&at).is_none() {
            self.add(&at, self.new_node(Kind::Symlink(target.to_owned()), 0o777));
        }
    }

    fn link(&mut self, of: &str, path: &str) {
        let Some(source) = self.tree.arrive(of, false).filter(|at| self.content(at).is_some()) else { return };
        self.remove(path);
        let Some(at) = self.tree.arrive(path, false) else { return };
        if self.content(&source).is_some() && self.tree.get(&at).is_none() {
            self.tree.link(&source, &at);
            self.modified(parent(&at));
        }
    }

    fn touch(&mut self, time: i64, path: &str) {
        if let Some(at) = self.tree.arrive(path, false) {
            self.tree.change(&at, |node| node.time = Time::At(time));
        }
    }

    /// Shows a tree at a directory while commands run. Call [`Machine::unmount`] before the tree is looked at.
    pub(crate) fn mount(tree: &mut Tree, target: &str, mounted: &Tree) {
        for (path, node) in mounted.at_or_below("") {
            let at = if path.is_empty() { target.to_owned() } else { join(target, path) };
            tree.insert(&at, node.clone());
        }
    }

    /// Takes away what was mounted.
    pub(crate) fn unmount(tree: &mut Tree, target: &str) {
        tree.remove(target);
    }
}
