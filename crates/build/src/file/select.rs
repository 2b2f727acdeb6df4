//! Which entries of a source tree a copy reads, and where they lie relative to its destination.
//!
//! The answer depends on the source tree and the instruction only, never on the base: it is what a cache key
//! of a copy covers. The rules are BuildKit's: a source that is a symlink is followed, a directory means its
//! contents, a wildcard that matches nothing is no error, a plain name that is missing is one.

use kiln_dockerfile::ignore::IgnoreMatcher;
use kiln_graph::Copy;
use kiln_store::Kind;

use super::FileError;
use super::missing::{Guess, guess};
use super::wildcard::{has_wildcard, matches};
use crate::tree::{Node, Tree, base_name, components, join, lossy};

/// What one copy reads.
pub(crate) struct Selection {
    /// The sources in order; those of a wildcard sorted.
    pub(crate) sources: Vec<Selected>,
    /// Whether a source that is a directory counts itself: a mount shows it, a copy makes one of its own.
    pub(super) mounted: bool,
}

/// What a step wants of one of its inputs.
#[derive(Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// What a copy reads.
    Copy(&'a Copy),
    /// What lies at a path, symlinks followed: for a mount.
    Mount(&'a str),
}

impl Wanted<'_> {
    /// Finds it in `tree`.
    pub(crate) fn select(self, tree: &Tree) -> Result<Selection, FileError> {
        match self {
            Wanted::Copy(copy) => select(copy, tree),
            Wanted::Mount(source) => {
                let selected = select_one(source, source.as_bytes(), Parents::Left, tree)?;
                Ok(Selection { sources: vec![selected], mounted: true })
            }
        }
    }
}

/// What becomes of the directories above a source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parents {
    /// `--parents`
    Kept,
    Left,
}

/// An entry with its path relative to something.
pub(crate) type Placed = (Vec<u8>, Node);

/// One source of a copy.
pub(crate) struct Selected {
    /// The name that the copy has in a destination that is a directory.
    pub(crate) name: Vec<u8>,
    /// The source itself, symlinks followed.
    pub(crate) root: Node,
    /// For a directory: what is in it, parents before children.
    pub(crate) below: Vec<Node>,
    /// With `--parents`: the directories above the source, outermost first, by the path they get.
    pub(crate) parents: Vec<Placed>,
}

impl Selected {
    /// What is in a directory, with paths relative to it.
    pub(crate) fn contents(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        let skip = if self.root.path.is_empty() { 0 } else { self.root.path.len() + 1 };
        self.below.iter().map(move |node| (&node.path[skip..], node))
    }
}

/// What `copy` reads from `tree`.
pub(crate) fn select(copy: &Copy, tree: &Tree) -> Result<Selection, FileError> {
    let exclude = exclusion(&copy.exclude)?;
    let mut sources = Vec::new();
    let parents = if copy.parents { Parents::Kept } else { Parents::Left };
    for source in &copy.sources {
        for path in expand(source.as_bytes(), tree)? {
            let selected = select_one(source, &path, parents, tree)?;
            sources.extend(without_excluded(selected, exclude.as_ref())?);
        }
    }
    Ok(Selection { sources, mounted: false })
}

fn exclusion(patterns: &[String]) -> Result<Option<IgnoreMatcher>, FileError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    IgnoreMatcher::new(patterns).map(Some).map_err(|e| FileError::Pattern(e.to_string()))
}

/// The paths that a source stands for: as BuildKit has it, a backslash escapes only where there are wildcards,
/// and a pattern may match nothing, but not in a directory that is not there.
fn expand(source: &[u8], tree: &Tree) -> Result<Vec<Vec<u8>>, FileError> {
    if !has_wildcard(source) {
        return Ok(vec![source.to_vec()]);
    }
    let parts: Vec<&[u8]> = components(source).collect();
    let fixed = parts.iter().take_while(|part| !has_wildcard(part)).count();
    let prefix = parts[..fixed].iter().fold(Vec::new(), |path, part| join(&path, part));
    let start = tree.resolve(&prefix)?;
    if !start.is_empty() && tree.lookup(&start).is_none() {
        return Err(FileError::NoSuchDirectory { path: lossy(&start), guess: guess(&start, tree) });
    }
    let mut found = Vec::new();
    expand_below(&start, &prefix, &parts[fixed..], tree, &mut found).map_err(|_| FileError::Pattern(lossy(source)))?;
    Ok(found)
}

/// Descends one component of the pattern at a time; `shown` is the path as written, `at` where it leads.
fn expand_below(
    at: &[u8],
    shown: &[u8],
    parts: &[&[u8]],
    tree: &Tree,
    found: &mut Vec<Vec<u8>>,
) -> Result<(), super::wildcard::BadPattern> {
    let Some((part, rest)) = parts.split_first() else { return Ok(()) };
    for child in tree.children(at) {
        let name = base_name(&child.path);
        if !matches(part, name)? {
            continue;
        }
        if rest.is_empty() {
            found.push(join(shown, name));
        } else if child.kind == Kind::Directory {
            expand_below(&child.path, &join(shown, name), rest, tree, found)?;
        }
    }
    Ok(())
}

fn select_one(source: &str, path: &[u8], parents: Parents, tree: &Tree) -> Result<Selected, FileError> {
    let resolved = tree.resolve(path)?;
    let missing = || FileError::NotFound { path: shown(source, path), guess: guess(path, tree) };
    let root = tree.lookup(&resolved).ok_or_else(missing)?;
    if root.kind != Kind::Directory && path.ends_with(b"/") && !resolved.is_empty() {
        let guess = Some(Box::new(Guess::NotADirectory(lossy(&resolved))));
        return Err(FileError::NotFound { path: shown(source, path), guess });
    }
    let below = match root.kind {
        Kind::Directory => tree.below(&resolved),
        _ => Vec::new(),
    };
    let (parents, name) = match parents {
        Parents::Kept => parents_of(source, path, tree)?,
        Parents::Left => (Vec::new(), base_name(path).to_vec()),
    };
    Ok(Selected { name, root, below, parents })
}

fn shown(source: &str, path: &[u8]) -> String {
    if path.is_empty() { source.trim_start_matches('/').to_owned() } else { lossy(path).trim_matches('/').to_owned() }
}

/// With `--parents`: the directories above a source that are kept, and the path of the source below them. A
/// `/./` in the source says where what is kept begins.
fn parents_of(source: &str, path: &[u8], tree: &Tree) -> Result<(Vec<Placed>, Vec<u8>), FileError> {
    let skipped = source.find("/./").map_or(0, |pivot| components(&source.as_bytes()[..pivot]).count());
    let all: Vec<&[u8]> = components(path).collect();
    let kept = &all[skipped.min(all.len())..];
    let mut parents = Vec::new();
    for depth in 1..kept.len() {
        let full = all[..skipped + depth].join(&b'/');
        let resolved = tree.resolve(&full)?;
        let missing = || FileError::NotFound { path: lossy(&full), guess: None };
        parents.push((kept[..depth].join(&b'/'), tree.lookup(&resolved).ok_or_else(missing)?));
    }
    Ok((parents, kept.join(&b'/')))
}

/// Leaves out what `--exclude` names, by paths relative to the tree's root or to the source.
fn without_excluded(mut selected: Selected, exclude: Option<&IgnoreMatcher>) -> Result<Option<Selected>, FileError> {
    let Some(exclude) = exclude else { return Ok(Some(selected)) };
    let excluded = |path: &[u8]| exclude.excludes(&lossy(path)).map_err(|error| FileError::Pattern(error.to_string()));
    if selected.root.kind != Kind::Directory && excluded(&selected.root.path)? {
        return Ok(None);
    }
    let keep: Result<Vec<bool>, FileError> =
        selected.contents().map(|(below, node)| Ok(!excluded(&node.path)? && !excluded(below)?)).collect();
    let mut keep = keep?.into_iter();
    selected.below.retain(|_| keep.next().unwrap_or(true));
    Ok(Some(selected))
}
