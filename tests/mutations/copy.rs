//! What a COPY or a bind mount takes from a tree, and how it lands in another.

use crate::ignore::Patterns;
use crate::project::Copy;
use crate::tree::{Kind, Node, Time, Tree, base, components, join, parent};

/// One thing that is taken: a directory with what is in it, or a file.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The name that it has in a directory.
    name: String,
    /// Itself, symlinks followed.
    root: Node,
    /// What is in it, by paths relative to it, with the first name of files that have several.
    below: Vec<(String, Node, Option<String>)>,
}

/// An entry as it counts: without a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    path: String,
    kind: Option<Kind>,
    mode: u32,
    owner: (u32, u32),
    first_name: Option<String>,
}

/// Why a copy cannot be done.
pub(crate) type Refusal = String;

/// What `copy` takes from `tree`.
pub(crate) fn select(copy: &Copy, tree: &Tree) -> Result<Vec<Source>, Refusal> {
    let exclude = Patterns::new(&copy.exclude);
    let mut sources = Vec::new();
    for written in &copy.sources {
        for path in expand(written, tree)? {
            let mut source = take(&path, tree)?;
            let at = tree.follow(&path, true).unwrap_or_default();
            if !source.root.is_directory() && exclude.exclude(&at) {
                continue;
            }
            source.below.retain(|(path, ..)| !exclude.exclude(path) && !exclude.exclude(&join(&at, path)));
            sources.push(source);
        }
    }
    Ok(sources)
}

/// What lies at a path, for a copy or a mount.
pub(crate) fn take(path: &str, tree: &Tree) -> Result<Source, Refusal> {
    let at = tree.follow(path, true).ok_or_else(|| format!("{path} leads in a circle"))?;
    let root = tree.get(&at).ok_or_else(|| format!("{path} is not there"))?.clone();
    let mut below = Vec::new();
    let mut first_names: Vec<(usize, String)> = Vec::new();
    for (inside, node) in tree.at_or_below(&at).filter(|(inside, _)| root.is_directory() && *inside != at) {
        let relative = inside[at.len()..].trim_start_matches('/').to_owned();
        let inode = tree.inode(inside).unwrap_or_default();
        let known = first_names.iter().find(|(number, _)| *number == inode && node.content().is_some());
        let first = known.map(|(_, first)| first.clone());
        if first.is_none() {
            first_names.push((inode, relative.clone()));
        }
        below.push((relative, node.clone(), first));
    }
    Ok(Source { name: base(path).to_owned(), root, below })
}

/// The paths that a source with at most one `*` in its last component stands for.
fn expand(written: &str, tree: &Tree) -> Result<Vec<String>, Refusal> {
    let clean: Vec<&str> = components(written).collect();
    let clean = clean.join("/");
    if !clean.contains('*') {
        return Ok(vec![clean]);
    }
    let (directory, pattern) = (parent(&clean), base(&clean));
    let at = tree.follow(directory, true).filter(|at| tree.get(at).is_some());
    let at = at.ok_or_else(|| format!("{directory} is not there"))?;
    let matching = tree.children(&at).into_iter().filter(|name| crate::ignore::matches(pattern, name));
    Ok(matching.map(|name| join(directory, &name)).collect())
}

/// What counts of sources: names, kinds, contents, permissions, owners, links.
pub(crate) fn parts(sources: &[Source], mounted: bool) -> Vec<Part> {
    let mut parts = Vec::new();
    for source in sources {
        let plain = source.root.is_directory() && !mounted;
        parts.push(Part {
            path: if source.root.is_directory() { String::new() } else { source.name.clone() },
            kind: Some(source.root.kind.clone()),
            mode: if plain { 0 } else { source.root.mode },
            owner: if plain { (0, 0) } else { source.root.owner },
            first_name: None,
        });
        parts.extend(source.below.iter().map(|(path, node, first)| Part {
            path: path.clone(),
            kind: Some(node.kind.clone()),
            mode: node.mode,
            owner: node.owner,
            first_name: first.clone(),
        }));
        parts.push(Part { path: String::new(), kind: None, mode: 0, owner: (0, 0), first_name: None });
    }
    parts
}

/// A tree of one source, for a mount.
pub(crate) fn mounted(source: &Source) -> Tree {
    let mut tree = Tree::new();
    tree.insert("", source.root.clone());
    source.below.iter().for_each(|(path, node, _)| tree.insert(path, node.clone()));
    tree
}

/// Puts sources into a tree.
pub(crate) fn land(copy: &Copy, to: &str, sources: &[Source], tree: &mut Tree, now: Time) -> Result<(), Refusal> {
    for source in sources {
        Landing { copy, now, tree }.source(source, to)?;
    }
    Ok(())
}

struct Landing<'a> {
    copy: &'a Copy,
    now: Time,
    tree: &'a mut Tree,
}

impl Landing<'_> {
    fn source(&mut self, source: &Source, to: &str) -> Result<(), Refusal> {
        let at = self.tree.follow(to, true).ok_or("a circle of links")?;
        if let Some(content) = self.archive(source) {
            return self.unpack(content, &at);
        }
        let inside = to.ends_with('/');
        make_directories(self.tree, if inside { &at } else { parent(&at) }, &self.made())?;
        match source.root.is_directory() {
            true => self.directory(source, &at),
            false => {
                let within = self.tree.get(&at).is_some_and(Node::is_directory);
                let at = if within { join(&at, &source.name) } else { at };
                self.file(&source.root, &at)
            }
        }
    }

    fn archive(&self, source: &Source) -> Option<String> {
        let content = source.root.content()?.strip_prefix(ARCHIVE)?;
        self.copy.add.then(|| content.to_owned())
    }

    fn unpack(&mut self, content: String, at: &str) -> Result<(), Refusal> {
        make_directories(self.tree, at, &Node { mode: 0o755, ..self.made() })?;
        let owner = self.copy.chown.unwrap_or_default();
        for (path, kind, mode) in archive_entries(&content) {
            let at = join(at, path);
            let node = Node { kind, mode, owner, time: Time::At(ARCHIVE_TIME) };
            match self.tree.get(&at).map(Node::is_directory) {
                Some(true) if node.is_directory() => self.tree.change(&at, |old| *old = node),
                Some(true) => return Err(format!("{at} is a directory")),
                Some(false) if node.is_directory() => return Err(format!("{at} is no directory")),
                _ => self.tree.insert(&at, node),
            }
        }
        Ok(())
    }

    /// A directory that has to be made on the way.
    fn made(&self) -> Node {
        let mode = self.copy.chmod.map_or(0o755, |mode| mode & 0o777);
        Node { kind: Kind::Directory, mode, owner: self.copy.chown.unwrap_or_default(), time: self.now }
    }

    fn as_copied(&self, node: &Node) -> Node {
        let is_link = matches!(node.kind, Kind::Symlink(_));
        let mode = if is_link { node.mode } else { self.copy.chmod.unwrap_or(node.mode) };
        Node { mode, owner: self.copy.chown.unwrap_or(node.owner), ..node.clone() }
    }

    fn directory(&mut self, source: &Source, at: &str) -> Result<(), Refusal> {
        if make_directories(self.tree, at, &self.made())? {
            self.tree.change(at, |node| node.time = source.root.time);
        }
        for (path, node, first) in &source.below {
            let to = join(at, path);
            match (node.is_directory(), self.tree.get(&to).map(Node::is_directory)) {
                (true, None) => self.tree.insert(&to, self.as_copied(node)),
                (true, Some(true)) => {
                    let copied = self.as_copied(node);
                    self.tree.change(&to, |old| *old = copied);
                }
                (true, Some(false)) => return Err(format!("{to} is no directory")),
                (false, _) => match first {
                    Some(_) if self.tree.get(&to).is_some_and(Node::is_directory) => {
                        return Err(format!("{to} is a directory"));
                    }
                    Some(first) => self.tree.link(&join(at, first), &to),
                    None => self.file(node, &to)?,
                },
            }
        }
        Ok(())
    }

    fn file(&mut self, node: &Node, at: &str) -> Result<(), Refusal> {
        match self.tree.get(at).is_some_and(Node::is_directory) {
            true => Err(format!("{at} is a directory")),
            false => {
                self.tree.insert(at, self.as_copied(node));
                Ok(())
            }
        }
    }
}

/// Makes the directories of a path that are missing, like `made`; whether the last one was.
pub(crate) fn make_directories(tree: &mut Tree, path: &str, made: &Node) -> Result<bool, Refusal> {
    let mut at = String::new();
    let mut new = false;
    for name in components(path) {
        at = join(&at, name);
        new = match tree.get(&at).map(Node::is_directory) {
            Some(true) => false,
            Some(false) => return Err(format!("{at} is no directory")),
            None => {
                tree.insert(&at, made.clone());
                true
            }
        };
    }
    Ok(new)
}

/// How the content of an archive begins in the model, which has no bytes of one.
pub(crate) const ARCHIVE: &str = "archive:";
/// The time of everything in an archive.
pub(crate) const ARCHIVE_TIME: i64 = 0;

/// What is in the archive of this content.
pub(crate) fn archive_entries(content: &str) -> Vec<(&'static str, Kind, u32)> {
    vec![
        ("t1", Kind::File(content.to_owned()), 0o644),
        ("td", Kind::Directory, 0o644),
        ("td/t2", Kind::File(format!("second {content}")), 0o644),
        ("td/t3", Kind::Symlink("t2".into()), 0o777),
    ]
}
