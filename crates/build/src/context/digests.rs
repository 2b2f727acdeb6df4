//! Digests of a context's files, each read once: those of earlier builds by their stamps, new ones as they
//! are hashed or copied.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use kiln_store::{FileDigest, FileStamp, Kind, StatCache, Store, Timestamp};

use super::{Context, ContextError, Snapshot, describe};

const BUFFER: usize = 256 << 10;
const ATTEMPTS: usize = 8;

/// What is known of the bytes of a context's files.
pub(crate) struct ContextDigests {
    earlier: Option<StatCache>,
    fresh: Mutex<HashMap<FileStamp, Known>>,
    scan_started: Timestamp,
}

/// What a file in a certain state holds.
#[derive(Clone, Copy)]
struct Known {
    digest: FileDigest,
    /// Whether another state would tell of any change; if not, the digest counts for this build only.
    lasts: bool,
}

impl ContextDigests {
    /// What earlier builds knew of the context. Call it before the context is walked. Without a readable cache
    /// everything is hashed again.
    pub(crate) fn open(store: &Store, context: &dyn Context) -> Self {
        let scan_started = Timestamp::now();
        let earlier = store.stat_cache(Path::new(context.identity())).ok();
        ContextDigests { earlier, fresh: Mutex::default(), scan_started }
    }

    /// The digest of a file in this state, if it is known.
    pub(crate) fn get(&self, stamp: &FileStamp) -> Option<FileDigest> {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.get(stamp).map(|known| known.digest).or_else(|| self.earlier.as_ref()?.get(stamp))
    }

    /// Remembers what a file in this state holds, whose status tells of changes.
    pub(crate) fn add(&self, stamp: FileStamp, digest: FileDigest) {
        self.keep(stamp, Known { digest, lasts: true });
    }

    fn keep(&self, stamp: FileStamp, new: Known) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let known = fresh.entry(stamp).or_insert(new);
        let lasts = known.lasts && new.lasts && known.digest == new.digest;
        *known = Known { lasts, ..new };
    }

    /// The digest of a file in this state, if it may be kept for later builds.
    fn lasting(&self, stamp: &FileStamp) -> Option<FileDigest> {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        match fresh.get(stamp) {
            Some(known) => known.lasts.then_some(known.digest),
            None => self.earlier.as_ref()?.get(stamp),
        }
    }

    /// Reads and hashes a file, again if it is written to meanwhile.
    pub(crate) fn hash(&self, context: &dyn Context, path: &[u8]) -> Result<FileDigest, ContextError> {
        let mut buffer = vec![0; BUFFER];
        for _ in 0..ATTEMPTS {
            let (mut file, before) = context.open(path)?;
            let lasts = kiln_store::status_tells_changes(&file);
            let mut hasher = blake3::Hasher::new();
            loop {
                match file.read(&mut buffer).map_err(|error| ContextError::entry(path, error))? {
                    0 => break,
                    count => _ = hasher.update(&buffer[..count]),
                }
            }
            if describe(&file, path)?.stamp == before.stamp {
                let digest = FileDigest(*hasher.finalize().as_bytes());
                self.keep(before.stamp, Known { digest, lasts });
                return Ok(digest);
            }
        }
        let reason = "it kept changing while it was read".into();
        Err(ContextError::Entry { path: String::from_utf8_lossy(path).into_owned(), reason, code: None })
    }

    /// Keeps what is known of the files of `snapshot` for later builds, if this build learnt anything.
    pub(crate) fn save(&self, snapshot: &Snapshot) -> Result<(), kiln_store::Error> {
        let Some(cache) = &self.earlier else { return Ok(()) };
        if self.fresh.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Ok(());
        }
        let files = snapshot.entries().iter().filter(|entry| entry.kind == Kind::File);
        let known = files.filter_map(|entry| Some((entry.stamp, self.lasting(&entry.stamp)?)));
        cache.save(known.collect(), self.scan_started)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use kiln_store::Mode;

    use super::super::LocalContext;
    use super::*;

    fn store(directory: &Path) -> Store {
        let mode = if rustix::process::geteuid().is_root() { Mode::Root } else { Mode::Rootless };
        Store::open(&directory.join("store"), mode).unwrap()
    }

    fn context(directory: &Path) -> LocalContext {
        LocalContext::open(&directory.join("context"), None).unwrap()
    }

    #[test]
    fn a_file_that_just_changed_is_not_remembered_for_later_builds() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("context")).unwrap();
        let store = store(directory.path());
        let context = context(directory.path());
        let digests = ContextDigests::open(&store, &context);
        let file = directory.path().join("context/f");
        std::fs::write(&file, "x").unwrap();
        let old = SystemTime::now() - Duration::from_secs(1000);
        std::fs::File::open(&file).unwrap().set_modified(old).unwrap();
        let stamp = context.snapshot().unwrap().get(b"f").unwrap().stamp;
        assert_eq!(digests.get(&stamp), None);
        let digest = digests.hash(&context, b"f").unwrap();
        assert_eq!(digest, FileDigest(*blake3::hash(b"x").as_bytes()));
        assert_eq!(digests.get(&stamp), Some(digest));
        digests.save(&context.snapshot().unwrap()).unwrap();
        // Its status changed about when it was looked at: another change could leave the same stamp.
        assert_eq!(ContextDigests::open(&store, &context).get(&stamp), None);
    }

    #[test]
    fn a_change_with_the_same_size_and_time_is_another_state() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("context")).unwrap();
        let file = directory.path().join("context/f");
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let write = |content: &str| {
            std::fs::write(directory.path().join("new"), content).unwrap();
            std::fs::rename(directory.path().join("new"), &file).unwrap();
            std::fs::File::open(&file).unwrap().set_modified(moment).unwrap();
            context(directory.path()).snapshot().unwrap().get(b"f").unwrap().stamp
        };
        let (before, after) = (write("one"), write("two"));
        assert_eq!((before.size, before.mtime), (after.size, after.mtime));
        assert_ne!(before, after);
    }
}
