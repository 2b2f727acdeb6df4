//! A layer of the store as a build context: what was fetched or unpacked. It never changes, and its digests are known.

use std::fs::File;
use std::sync::{Arc, OnceLock};

use kiln_sandbox::users::Owner;
use kiln_store::{Entry, FileStamp, Index, Kind, Layer, Store, Union};

use super::{Context, ContextEntry, ContextError, IgnoreRule, Snapshot};

/// How large a file may be that is read whole, in bytes.
const LARGEST_TEXT: u64 = 16 << 20;

/// Files in a layer of the store.
#[derive(Clone)]
pub struct StoredFiles {
    identity: String,
    index: Arc<Index>,
    union: Union,
}

impl StoredFiles {
    /// The files of a layer, all of them hashed.
    pub(crate) fn new(store: &Store, layer: Layer, identity: String) -> Result<Self, kiln_store::Error> {
        let index = store.layers().hashed_index(&layer)?;
        Ok(StoredFiles { identity, index, union: Union::new(vec![layer])? })
    }

    /// A small regular file, symbolic links followed within the layer; `None` if there is none.
    ///
    /// # Errors
    /// Something else than a file of at most 16 MiB.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ContextError> {
        self.union.read_small(path, LARGEST_TEXT).map_err(|error| unreadable(path.as_bytes(), &error))
    }

    /// The names in a directory.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let children = self.union.children(directory);
        children.iter().map(|found| String::from_utf8_lossy(found.entry.name()).into_owned()).collect()
    }

    /// The files as a context: all of them, for an ignore file counts only where a directory is read, as in BuildKit.
    pub fn context(&self) -> StoredContext {
        StoredContext { files: self.clone(), snapshot: OnceLock::new() }
    }
}

/// Files in a layer of the store, as a context.
pub struct StoredContext {
    files: StoredFiles,
    snapshot: OnceLock<Arc<Snapshot>>,
}

impl Context for StoredContext {
    fn identity(&self) -> &str {
        &self.files.identity
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, ContextError> {
        let listed = self.snapshot.get_or_init(|| {
            let mut entries = Vec::new();
            if let Some(root) = self.files.index.get("") {
                self.list(&root, &mut entries);
            }
            Arc::new(Snapshot::new(entries))
        });
        Ok(Arc::clone(listed))
    }

    fn open(&self, path: &[u8]) -> Result<(File, ContextEntry), ContextError> {
        let found = self.files.union.lookup(path);
        let missing = || ContextError::entry(path, std::io::Error::from(std::io::ErrorKind::NotFound));
        let found = found.ok_or_else(missing)?;
        let file = self.files.union.open(&found).map_err(|error| unreadable(path, &error))?;
        Ok((file, described(&found.entry)))
    }

    fn ignored_by(&self, _: &[u8]) -> Option<IgnoreRule> {
        None
    }

    fn is_stored(&self) -> bool {
        true
    }

    fn note_damage(&self) {
        self.files.union.layers().iter().for_each(Layer::note_damage);
    }
}

impl StoredContext {
    /// What is in a directory.
    fn list(&self, directory: &Entry<'_>, entries: &mut Vec<ContextEntry>) {
        for child in self.files.index.children(directory).filter(|child| child.kind() != Kind::Whiteout) {
            entries.push(described(&child));
            if child.kind() == Kind::Directory {
                self.list(&child, entries);
            }
        }
    }
}

/// An entry as a context has it. Its stamp only tells names of one file from other files.
fn described(entry: &Entry<'_>) -> ContextEntry {
    let group = entry.link_group();
    let mtime = entry.mtime();
    let stamp = FileStamp { device: 0, inode: group.map_or(0, u64::from), size: entry.size(), mtime, ctime: mtime };
    ContextEntry {
        path: entry.path().into(),
        kind: entry.kind(),
        mode: entry.mode(),
        owner: Owner { uid: entry.uid(), gid: entry.gid() },
        stamp,
        links: if group.is_some() { 2 } else { 1 },
        rdev: entry.device(),
        target: (entry.kind() == Kind::Symlink).then(|| entry.target().into()),
        digest: entry.digest(),
    }
}

fn unreadable(path: &[u8], error: &kiln_store::Error) -> ContextError {
    let reason = crate::error::chain(error);
    ContextError::Entry { path: String::from_utf8_lossy(path).into_owned(), reason, code: None }
}

#[cfg(test)]
mod tests {
    use kiln_store::{Hashing, Metadata, Mode, Timestamp};

    use super::*;

    fn files(directory: &std::path::Path) -> StoredFiles {
        let mode = if rustix::process::geteuid().is_root() { Mode::Root } else { Mode::Rootless };
        let store = Store::open(&directory.join("store"), mode).unwrap();
        let metadata = |mode| Metadata { uid: 5, gid: 6, ..Metadata::root_owned(mode, Timestamp::from_seconds(7)) };
        let writer = store.layers().stage(&metadata(0o755)).unwrap().writer().unwrap();
        for path in ["d/x", "d/e/y", "d-z", "skip.md"] {
            let mut file = writer.file(path, &metadata(0o640), Hashing::Later).unwrap();
            std::io::Write::write_all(&mut file, path.as_bytes()).unwrap();
            file.finish().unwrap();
        }
        writer.symlink("link", b"/d/x", &metadata(0o777)).unwrap();
        writer.hard_link("d/other", "d/x").unwrap();
        StoredFiles::new(&store, writer.commit().unwrap(), "test".into()).unwrap()
    }

    fn paths(context: &StoredContext) -> Vec<String> {
        let snapshot = context.snapshot().unwrap();
        snapshot.entries().iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
    }

    #[test]
    fn everything_is_there_and_belongs_to_whom_it_did() {
        let directory = tempfile::tempdir().unwrap();
        let context = files(directory.path()).context();
        assert_eq!(paths(&context), ["d", "d/e", "d/e/y", "d/other", "d/x", "d-z", "link", "skip.md"]);
        let snapshot = context.snapshot().unwrap();
        assert_eq!(snapshot.get(b"d-z").unwrap().owner, Owner { uid: 5, gid: 6 });
        assert_eq!(snapshot.get(b"skip.md").unwrap().owner, Owner { uid: 5, gid: 6 });
    }

    #[test]
    fn digests_are_known_and_names_of_one_file_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let context = files(directory.path()).context();
        let snapshot = context.snapshot().unwrap();
        let (x, other) = (snapshot.get(b"d/x").unwrap(), snapshot.get(b"d/other").unwrap());
        assert_eq!(x.digest.unwrap().0, *blake3::hash(b"d/x").as_bytes());
        assert_eq!((x.stamp.inode, x.links), (other.stamp.inode, other.links));
        assert_eq!((x.mode, x.stamp.mtime.seconds), (0o640, 7));
        assert!(context.open(b"gone").is_err());
    }

    #[test]
    fn small_files_are_read_through_links_of_the_layer() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path());
        assert_eq!(files.read("link").unwrap().unwrap(), b"d/x");
        assert_eq!(files.read("../../d-z").unwrap().unwrap(), b"d-z");
        assert_eq!(files.read("missing").unwrap(), None);
        assert!(files.read("d").is_err());
        assert_eq!(files.names("d"), ["e", "other", "x"]);
    }
}
