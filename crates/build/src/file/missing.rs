//! A source of a copy that is not there: what may have been meant. Looked for only when a build fails.

use kiln_dockerfile::suggestion;
use kiln_store::Kind;

use crate::context::IgnoreRule;
use crate::tree::{Node, Tree, base_name, components, join, lossy};

/// How many files of the same name elsewhere are told.
const NAMESAKES: usize = 3;

/// What may have been meant by a source that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guess {
    /// It is there, but a rule of an ignore file leaves it out.
    Ignored {
        /// The path.
        path: String,
        /// The rule.
        rule: IgnoreRule,
    },
    /// This is there, and differs only in upper and lower case.
    OtherCase(String),
    /// This is there, and nearly has the name.
    Similar(String),
    /// These have the same name in other directories.
    Elsewhere(Vec<String>),
    /// What was taken for a directory is none.
    NotADirectory(String),
    /// The context has no files at all.
    EmptyContext,
}

/// What may have been meant by `path`, which `tree` does not have.
pub(super) fn guess(path: &[u8], tree: &Tree) -> Option<Box<Guess>> {
    let parts: Vec<&[u8]> = components(path).filter(|part| *part != b"..").collect();
    let plain = parts.join(&b'/');
    let guess = ignored(&plain, tree).or_else(|| empty(tree)).or_else(|| nearby(&parts, tree));
    guess.or_else(|| elsewhere(&plain, tree)).map(Box::new)
}

/// A path as people write it: absolute in a root file system, relative in a context.
fn written(path: &[u8], tree: &Tree) -> String {
    format!("{}{}", if tree.is_context() { "" } else { "/" }, lossy(path))
}

fn ignored(path: &[u8], tree: &Tree) -> Option<Guess> {
    let Tree::Context(context, _) = tree else { return None };
    context.ignored_by(path).map(|rule| Guess::Ignored { path: lossy(path), rule })
}

fn empty(tree: &Tree) -> Option<Guess> {
    let is_empty = matches!(tree, Tree::Context(_, snapshot) if snapshot.entries().is_empty());
    is_empty.then_some(Guess::EmptyContext)
}

/// Descends as far as the path goes, and looks at the names beside the first that is missing.
fn nearby(parts: &[&[u8]], tree: &Tree) -> Option<Guess> {
    let mut at = Vec::new();
    for (place, part) in parts.iter().enumerate() {
        let next = tree.resolve(&join(&at, part)).ok()?;
        match tree.lookup(&next) {
            Some(node) if node.kind == Kind::Directory => at = next,
            Some(node) => return Some(Guess::NotADirectory(written(&node.path, tree))),
            None => return beside(&at, part, &parts[place + 1..], tree),
        }
    }
    None
}

fn beside(directory: &[u8], name: &[u8], rest: &[&[u8]], tree: &Tree) -> Option<Guess> {
    let siblings = tree.children(directory);
    let complete = |node: &Node| {
        let whole = rest.iter().fold(node.path.to_vec(), |path, part| join(&path, part));
        written(if tree.lookup(&whole).is_some() { &whole[..] } else { &node.path[..] }, tree)
    };
    if let Some(node) = siblings.iter().find(|node| base_name(&node.path).eq_ignore_ascii_case(name)) {
        return Some(Guess::OtherCase(complete(node)));
    }
    let names: Vec<String> = siblings.iter().map(|node| lossy(base_name(&node.path))).collect();
    let near = suggestion(&lossy(name), names.iter().map(String::as_str))?;
    let place = names.iter().position(|name| *name == near)?;
    siblings.get(place).map(|node| Guess::Similar(complete(node)))
}

fn elsewhere(path: &[u8], tree: &Tree) -> Option<Guess> {
    let name = base_name(path);
    if name.is_empty() {
        return None;
    }
    let everything = tree.below(b"");
    let mut found: Vec<&Node> = everything.iter().filter(|node| base_name(&node.path) == name).collect();
    found.sort_by_key(|node| components(&node.path).count());
    let paths: Vec<String> = found.into_iter().take(NAMESAKES).map(|node| written(&node.path, tree)).collect();
    (!paths.is_empty()).then_some(Guess::Elsewhere(paths))
}
