//! What files are copied from: a context or a root file system, looked at in the same way.
//!
//! Paths are relative to the tree's root, without a leading slash; the empty path is the root.

use std::fs::File;
use std::sync::Arc;

use kiln_store::{Device, FileDigest, FileStamp, Found, Kind, Timestamp, Union};

use crate::context::{Context, ContextEntry, ContextError, Snapshot};

const LINK_LIMIT: usize = 40;
const CAPABILITY: &[u8] = b"security.capability";

/// A tree of files to copy from.
pub(crate) enum Tree {
    /// A context of the caller's; owners and xattrs in it do not count.
    Context(Arc<dyn Context>, Arc<Snapshot>),
    /// Layers, one over another.
    Rootfs(Union),
}

/// An entry of a tree.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) path: Arc<[u8]>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    pub(crate) content: Content,
    rare: Option<Box<Rare>>,
}

/// What few entries have.
#[derive(Clone, Debug, Default)]
struct Rare {
    target: Vec<u8>,
    device: Device,
    capability: Option<Vec<u8>>,
    link: Option<(u64, u64)>,
}

/// What is known of a file's bytes without reading them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing to read: it is no regular file.
    None,
    /// They hash to this.
    Digest(FileDigest),
    /// A context's file in this state.
    Stamp(FileStamp),
    /// A layer's file that nobody hashed yet.
    Unhashed,
}

/// Why a tree cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum TreeError {
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error("{0}")]
    Store(Arc<kiln_store::Error>),
    #[error("too many symbolic links while resolving {0:?}")]
    Loop(String),
}

impl From<kiln_store::Error> for TreeError {
    fn from(error: kiln_store::Error) -> Self {
        TreeError::Store(Arc::new(error))
    }
}

impl Tree {
    /// The entry at this very path, no symlink followed. The root of a context is a directory without owner.
    pub(crate) fn lookup(&self, path: &[u8]) -> Option<Node> {
        match self {
            Tree::Context(_, _) if path.is_empty() => Some(Node::directory()),
            Tree::Context(_, snapshot) => snapshot.get(path).map(Node::from_context),
            Tree::Rootfs(union) => match union.lookup(path) {
                Some(found) => Some(Node::from_layer(&found, path)),
                None => path.is_empty().then(Node::directory),
            },
        }
    }

    /// The entries of a directory, sorted by name.
    pub(crate) fn children(&self, directory: &[u8]) -> Vec<Node> {
        match self {
            Tree::Context(_, snapshot) => {
                let depth = if directory.is_empty() { 0 } else { directory.len() + 1 };
                let direct = |entry: &&ContextEntry| !entry.path[depth..].contains(&b'/');
                snapshot.below(directory).iter().filter(direct).map(Node::from_context).collect()
            }
            Tree::Rootfs(union) => {
                union.children(directory).iter().map(|found| Node::from_layer(found, found.entry.path())).collect()
            }
        }
    }

    /// Everything below a directory, parents before children, siblings by name.
    pub(crate) fn below(&self, directory: &[u8]) -> Vec<Node> {
        match self {
            Tree::Context(_, snapshot) => snapshot.below(directory).iter().map(Node::from_context).collect(),
            Tree::Rootfs(union) => {
                let all = union.walk(directory);
                let inside = all.iter().filter(|found| found.entry.path() != directory);
                inside.map(|found| Node::from_layer(found, found.entry.path())).collect()
            }
        }
    }

    /// Where a path leads when symlinks are followed beneath the root, the last one too. Components that do not
    /// exist are kept.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, TreeError> {
        resolve_with(path, |at| {
            self.lookup(at).filter(|node| node.kind == Kind::Symlink).map(|node| node.target().to_vec())
        })
    }

    /// Opens a regular file. For a context that may change: with what it is now, which may not be what the node says.
    pub(crate) fn open(&self, node: &Node) -> Result<(File, Option<ContextEntry>), TreeError> {
        match self {
            Tree::Context(context, _) => {
                let (file, now) = context.open(&node.path)?;
                Ok((file, (!context.is_stored()).then_some(now)))
            }
            Tree::Rootfs(union) => match union.lookup(&node.path) {
                Some(found) => Ok((union.open(&found)?, None)),
                None => Err(kiln_store::Error::MissingEntry { path: lossy(&node.path) }.into()),
            },
        }
    }

    /// Has the store remember that a file of a layer is not what it was.
    pub(crate) fn note_damage(&self, node: &Node) {
        match self {
            Tree::Context(context, _) => context.note_damage(),
            Tree::Rootfs(union) => {
                if let Some(found) = union.lookup(&node.path) {
                    union.layers()[found.layer].note_damage();
                }
            }
        }
    }

    /// What an open file of a context is now.
    pub(crate) fn status(&self, file: &File, path: &[u8]) -> Result<ContextEntry, TreeError> {
        Ok(crate::context::describe(file, path)?)
    }

    /// Whether it is what the caller of the build offers, not what a step made.
    pub(crate) fn is_context(&self) -> bool {
        matches!(self, Tree::Context(..))
    }
}

impl Node {
    fn directory() -> Self {
        Node {
            path: Arc::default(),
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Timestamp::now(),
            content: Content::None,
            rare: None,
        }
    }

    /// Where a symlink points; empty for anything else.
    pub(crate) fn target(&self) -> &[u8] {
        self.rare.as_ref().map_or(&[], |rare| &rare.target)
    }

    /// The number of a device node.
    pub(crate) fn device(&self) -> Device {
        self.rare.as_ref().map_or(Device::default(), |rare| rare.device)
    }

    /// `security.capability`, where it counts.
    pub(crate) fn capability(&self) -> Option<&[u8]> {
        self.rare.as_ref()?.capability.as_deref()
    }

    /// Names with the same value are names of one file.
    pub(crate) fn link(&self) -> Option<(u64, u64)> {
        self.rare.as_ref()?.link
    }

    fn from_context(entry: &ContextEntry) -> Self {
        let regular = entry.kind == Kind::File;
        let rare = Rare {
            target: entry.target.as_deref().unwrap_or_default().to_vec(),
            device: entry.rdev,
            capability: None,
            link: (regular && entry.links > 1).then_some((entry.stamp.device, entry.stamp.inode)),
        };
        Node {
            path: entry.path.clone(),
            kind: entry.kind,
            mode: entry.mode,
            uid: entry.owner.uid,
            gid: entry.owner.gid,
            mtime: entry.stamp.mtime,
            content: match entry.digest {
                _ if !regular => Content::None,
                Some(digest) => Content::Digest(digest),
                None => Content::Stamp(entry.stamp),
            },
            rare: rare.boxed(),
        }
    }

    fn from_layer(found: &Found<'_>, path: &[u8]) -> Self {
        let entry = &found.entry;
        let content = match (entry.kind(), entry.digest()) {
            (Kind::File, Some(digest)) => Content::Digest(digest),
            (Kind::File, None) => Content::Unhashed,
            _ => Content::None,
        };
        let rare = Rare {
            target: entry.target().to_vec(),
            device: entry.device(),
            capability: entry.xattr(CAPABILITY).map(<[u8]>::to_vec),
            link: entry.link_group().map(|group| (found.layer as u64, u64::from(group))),
        };
        Node {
            path: path.into(),
            kind: entry.kind(),
            mode: entry.mode(),
            uid: entry.uid(),
            gid: entry.gid(),
            mtime: entry.mtime(),
            content,
            rare: rare.boxed(),
        }
    }
}

impl Rare {
    /// `None` if an entry has nothing of this.
    fn boxed(self) -> Option<Box<Self>> {
        let plain = self.target.is_empty()
            && self.device == Device::default()
            && self.capability.is_none()
            && self.link.is_none();
        (!plain).then(|| Box::new(self))
    }
}

/// Follows symlinks beneath a root; `link` gives the target of a symlink at a resolved path.
pub(crate) fn resolve_with(path: &[u8], link: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Result<Vec<u8>, TreeError> {
    let mut resolved: Vec<u8> = Vec::new();
    let mut rest: Vec<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
    rest.reverse();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == b".." {
            resolved.truncate(resolved.iter().rposition(|c| *c == b'/').unwrap_or(0));
            continue;
        }
        let next = join(&resolved, &name);
        let Some(target) = link(&next) else {
            resolved = next;
            continue;
        };
        links += 1;
        if links > LINK_LIMIT {
            return Err(TreeError::Loop(lossy(path)));
        }
        if target.first() == Some(&b'/') {
            resolved.clear();
        }
        rest.extend(components(&target).map(<[u8]>::to_vec).collect::<Vec<_>>().into_iter().rev());
    }
    Ok(resolved)
}

/// The components of a path, empty ones and `.` left out.
pub(crate) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|c| *c == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// A path with one more component.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

/// The last component of a path; empty for the root.
pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    components(path).last().unwrap_or_default()
}

/// A path for a message.
pub(crate) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, links: &[(&str, &str)], want: &str) {
        let link =
            |at: &[u8]| links.iter().find(|(from, _)| from.as_bytes() == at).map(|(_, to)| to.as_bytes().to_vec());
        assert_eq!(lossy(&resolve_with(path.as_bytes(), link).unwrap()), want);
    }

    #[test]
    fn links_are_followed_beneath_the_root() {
        check("a/b", &[], "a/b");
        check("/a//./b/", &[], "a/b");
        check("a/b", &[("a", "/x/y")], "x/y/b");
        check("a/b", &[("a/b", "../c")], "c");
        check("../../a", &[("a", "../../../etc")], "etc");
        check("a", &[("a", "b"), ("b", "missing/leaf")], "missing/leaf");
    }

    #[test]
    fn a_loop_of_links_is_an_error() {
        let error = resolve_with(b"a", |at| (at == b"a").then(|| b"a".to_vec())).unwrap_err();
        assert!(matches!(error, TreeError::Loop(_)));
    }
}
