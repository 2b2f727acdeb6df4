//! The store as a whole: opening it, and the way to its parts.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use crate::database::Database;
use crate::durability;
use crate::epoch;
use crate::error::{At, Error, Result};
use crate::fault::{self, Operation};
use crate::layers::{LayerId, LayerInner};
use crate::locks::{LockKey, Locks, Sharing};
use crate::migrations::{self, FORMAT};
use crate::noted::Noted;
use crate::recency::Recency;
use crate::recovery;
use crate::reserve;
use crate::session::{self, Session};
use crate::version;
use crate::{
    Blobs, Builds, CacheMounts, Containers, Evictions, FileLists, Finding, Freed, Images, Layers, Leases, Logs, Mended,
    Prune, Records, Report, Repositories, Rescued, Resolutions, Settling, StatCache,
};

/// How long opening waits for others to finish what they are just putting in its place.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// How overlayfs spells its marks in this store. The two are not interchangeable on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `trusted.overlay.*`: kiln runs as real root.
    Root,
    /// `user.overlay.*`: kiln runs in a user namespace, or without any privilege.
    Rootless,
}

impl Mode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Rootless => "rootless",
        }
    }
}

/// A store on disk. Cheap to clone; every clone works in the same session.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) mode: Mode,
    pub(crate) epoch: String,
    pub(crate) locks: Locks,
    pub(crate) database: Arc<Database>,
    pub(crate) session: Session,
    pub(crate) open_layers: Mutex<HashMap<LayerId, Weak<LayerInner>>>,
    pub(crate) noted: Noted,
    pub(crate) recency: Recency,
    pub(crate) registry: crate::registry::State,
}

impl Store {
    /// Opens or creates the store in `root`, and sweeps what killed processes left there.
    pub fn open(root: &Path, mode: Mode) -> Result<Self> {
        reserve::release_if_full(root);
        let store = Self::open_unswept(root, mode)?;
        store.inner.sweep()?;
        recovery::recover(&store.inner)?;
        reserve::keep(store.root());
        Ok(store)
    }

    /// Makes the database of a store anew when it cannot be opened, of what can still be read of it and of what is on
    /// disk. What is damaged is kept in `damaged/`. A check should follow.
    ///
    /// # Errors
    /// [`Error::StoreInUse`] if another process has the store open; what the disk refuses.
    pub fn rescue(root: &Path, mode: Mode) -> Result<Rescued> {
        crate::rescue::rescue(root, mode)
    }

    /// Opens or creates the store, and leaves everything as it is.
    pub(crate) fn open_unswept(root: &Path, mode: Mode) -> Result<Self> {
        create_directory(root)?;
        let root = fs::canonicalize(root).at("examine", root)?;
        let locks = Locks::new(root.join("locks"))?;
        prepare(&root, mode, &locks)?;
        let database = Arc::new(Database::open_existing(&root.join("db.sqlite"), || !holds_anything(&root))?);
        let session = Session::begin(&root.join("tmp"), &locks)?;
        let epoch = epoch::current(&root, mode)?;
        let open_layers = Mutex::default();
        let (noted, recency) = (Noted::default(), Recency::default());
        let inner = Inner {
            root,
            mode,
            epoch,
            locks,
            database,
            session,
            open_layers,
            noted,
            recency,
            registry: Default::default(),
        };
        inner.release_leases(inner.session.name())?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The store's directory, without symbolic links.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// How overlayfs's marks are spelt here.
    pub fn mode(&self) -> Mode {
        self.inner.mode
    }

    /// A new empty directory (0700) of this session for scratch files, on the same file system as the layers.
    /// It goes with the session.
    pub fn scratch(&self) -> Result<PathBuf> {
        let path = self.inner.session.fresh_path();
        fault::run(Operation::MakeDirectory, || DirBuilder::new().mode(0o700).create(&path)).at("create", &path)?;
        Ok(path)
    }

    /// A descriptor that keeps this session's lock held: a helper process that may outlive this one inherits it.
    pub fn session_lock(&self) -> Result<OwnedFd> {
        self.inner.session.lock().duplicate()
    }

    /// Names this process's use of the store, for as long as it lasts.
    pub fn session_name(&self) -> &str {
        self.inner.session.name()
    }

    /// Whether the process with this session, or a helper of it, lives.
    pub fn is_session_alive(&self, name: &str) -> Result<bool> {
        Ok(name == self.session_name() || session::is_alive(name, &self.inner.locks)?)
    }

    /// Starts one sync of what earlier commands committed, beside the caller's work, unless it would be a long one.
    pub fn settle(&self) -> Settling {
        durability::settle(&self.inner)
    }

    /// Returns when everything that was committed so far would survive a crash of the machine.
    ///
    /// # Errors
    /// What the disk says; what it may have lost is then dropped.
    pub fn settle_now(&self) -> Result<()> {
        durability::settle_now(&self.inner)
    }

    /// Content-addressed bytes.
    pub fn blobs(&self) -> Blobs<'_> {
        Blobs { store: &self.inner }
    }

    /// Layers.
    pub fn layers(&self) -> Layers<'_> {
        Layers { store: &self.inner }
    }

    /// Builds that were run.
    pub fn builds(&self) -> Builds<'_> {
        Builds { store: &self.inner }
    }

    /// Lists of the files that steps took.
    pub fn file_lists(&self) -> FileLists<'_> {
        FileLists { store: &self.inner }
    }

    /// Cache records that were deleted.
    pub fn evictions(&self) -> Evictions<'_> {
        Evictions { store: &self.inner }
    }

    /// Cache records.
    pub fn records(&self) -> Records<'_> {
        Records { store: &self.inner }
    }

    /// Images and their names.
    pub fn images(&self) -> Images<'_> {
        Images { store: &self.inner }
    }

    /// What image names were resolved to.
    pub fn resolutions(&self) -> Resolutions<'_> {
        Resolutions { store: &self.inner }
    }

    /// From which repositories blobs can be had.
    pub fn origins(&self) -> crate::Origins<'_> {
        crate::Origins { store: &self.inner }
    }

    /// The registry that is served from this store.
    pub fn registry(&self) -> crate::Registry<'_> {
        crate::Registry { store: &self.inner }
    }

    /// Locks between processes and threads.
    pub fn locks(&self) -> &Locks {
        &self.inner.locks
    }

    /// What must not be pruned while this process lives.
    pub fn leases(&self) -> Leases<'_> {
        Leases { store: &self.inner }
    }

    /// Containers.
    pub fn containers(&self) -> Containers<'_> {
        Containers { store: &self.inner }
    }

    /// Directories of cache mounts.
    pub fn cache_mounts(&self) -> CacheMounts<'_> {
        CacheMounts { store: &self.inner }
    }

    /// What was fetched of remote repositories.
    pub fn repositories(&self) -> Repositories<'_> {
        Repositories { store: &self.inner }
    }

    /// Logs of steps.
    pub fn logs(&self) -> Logs<'_> {
        Logs { store: &self.inner }
    }

    /// Digests of a context's files that need not be read again. `context` names it, such as its absolute path.
    pub fn stat_cache(&self, context: &Path) -> Result<StatCache> {
        StatCache::load(&self.inner, context)
    }

    /// Checks everything that is held against what the store says of it. `watch` is told how many bytes were read of
    /// how many, from several threads. Others may be at work in the store meanwhile.
    ///
    /// # Errors
    /// A database or a directory that cannot be read at all.
    pub fn check(&self, watch: &(dyn Fn(u64, u64) + Sync)) -> Result<Report> {
        crate::check::check(&self.inner, watch)
    }

    /// Mends a finding as far as the store can do it by itself: what would have to be unpacked or pulled again is
    /// dropped, with what is nothing without it.
    ///
    /// # Errors
    /// What the disk or the database refuses.
    pub fn mend(&self, finding: &Finding) -> Result<Mended> {
        crate::check::mend(&self.inner, finding)
    }

    /// Takes out of use what this process found damaged while it used it: for every look-up it is a miss then. Tells
    /// in words what that was; nothing if no damage was met since the last call.
    ///
    /// # Errors
    /// What the disk or the database refuses.
    pub fn drop_damage(&self) -> Result<Vec<String>> {
        crate::mending::drop_noted(&self.inner)
    }

    /// Forgets images that cannot be had any more, because a layer or config of theirs was damaged.
    ///
    /// # Errors
    /// What the database refuses.
    pub fn forget_lost_images(&self) -> Result<()> {
        self.inner.database.write(|db| crate::images::forget_lost(db))
    }

    /// Everything in the build cache, the one used last first.
    pub fn cache_entries(&self) -> Result<Vec<crate::CacheEntry>> {
        crate::prune::list(&self.inner, &Freed::default(), &std::collections::BTreeSet::new())
    }

    /// The same once what a prune of images is going to delete, and these containers, are gone.
    pub fn cache_entries_without(
        &self,
        gone: &Freed,
        containers: &std::collections::BTreeSet<String>,
    ) -> Result<Vec<crate::CacheEntry>> {
        crate::prune::list(&self.inner, gone, containers)
    }

    /// Brings the store within limits, least recently used first; nothing that anybody needs goes. One process does
    /// so at a time. With `grown_only`, quotas are looked at only if this session put something into the store.
    pub fn collect(&self, limits: &crate::Limits, grown_only: bool) -> Result<crate::Collected> {
        crate::prune::collect(&self.inner, limits, grown_only)
    }

    /// Bytes on disk of every layer; files that several share count for one of them.
    pub fn layer_sizes(&self) -> Result<std::collections::BTreeMap<LayerId, u64>> {
        Ok(crate::measure::sizes(&self.inner)?.layers)
    }

    /// Bytes on disk of a directory or file; what is not there has none.
    pub fn disk_use(&self, path: &Path) -> Result<u64> {
        crate::usage::Disk::default().add(path)
    }

    /// Bytes of the disk that the store is on: free, and all.
    pub fn disk(&self) -> Result<(u64, u64)> {
        crate::measure::disk(&self.inner)
    }

    /// Deletes what the policy names and nobody needs.
    pub fn prune(&self, policy: &Prune) -> Result<Freed> {
        crate::prune::prune(&self.inner, policy)
    }
}

impl Inner {
    /// Removes what dead sessions left: first layers that never got their row, then their directories.
    fn sweep(&self) -> Result<()> {
        let tmp = self.root.join("tmp");
        let dead = session::dead(&tmp, &self.locks)?;
        if dead.is_empty() {
            return Ok(());
        }
        if !self.sweep_places()? {
            return Ok(());
        }
        recovery::drop_fileless(self)?;
        for (name, _lock) in &dead {
            self.release_leases(name)?;
            self.session.discard(&tmp.join(name))?;
        }
        Ok(())
    }

    /// Removes what was put in its place and never got its row. False if it could not, because somebody is just
    /// putting something in its place for long.
    pub(crate) fn sweep_places(&self) -> Result<bool> {
        // Placing takes milliseconds. If somebody is stopped in the middle of it, a later process sweeps.
        let started = std::time::Instant::now();
        let patience = || started.elapsed() > PATIENCE;
        let _alone = match self.locks.acquire(Inner::placing_key(), Sharing::Exclusive, &patience) {
            Err(Error::Cancelled) => return Ok(false),
            guard => guard?,
        };
        crate::layers::sweep(self)?;
        crate::blobs::sweep(self)?;
        crate::containers::sweep(self)?;
        Ok(true)
    }

    /// Held shared while something is put in its place before its row; a sweeper needs it alone.
    pub(crate) fn placing_key() -> LockKey {
        LockKey::new("placing", b"")
    }

    pub(crate) fn release_leases(&self, session: &str) -> Result<()> {
        let held = "SELECT 1 FROM leases WHERE session = ?1";
        if self.database.read(|db| db.prepare_cached(held)?.exists([session]))? {
            let delete = "DELETE FROM leases WHERE session = ?1";
            self.database.write(|db| db.execute(delete, [session]))?;
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A process that was killed may have held its lock still when this one began. What cannot be tidied up now
        // the next process tidies up.
        let _ = self.sweep();
        if self.release_leases(self.session.name()).is_err() {
            self.session.leave();
        }
        reserve::keep(&self.root);
    }
}

/// Creates a directory (0700) with its parents, if it is missing.
pub(crate) fn create_directory(path: &Path) -> Result<()> {
    match fault::run(Operation::MakeDirectory, || DirBuilder::new().mode(0o700).create(path)) {
        Ok(()) => Ok(()),
        Err(_) if path.is_dir() => Ok(()),
        Err(_) => DirBuilder::new().mode(0o700).recursive(true).create(path).at("create", path),
    }
}

/// Checks the version file; a store that is missing is made, one of an older format migrated.
fn prepare(root: &Path, mode: Mode, locks: &Locks) -> Result<()> {
    if format(root, mode)? == Some(FORMAT) {
        return Ok(());
    }
    let _alone = locks.acquire(LockKey::new("creating", b""), Sharing::Exclusive, &|| false)?;
    if format(root, mode)? == Some(FORMAT) {
        return Ok(());
    }
    for name in ["blobs", "layers", "cache-mounts", "containers", "contexts", "logs", "tmp"] {
        create_directory(&root.join(name))?;
    }
    Database::open_existing(&root.join("db.sqlite"), || !holds_anything(root))?;
    let _not_swept = locks.acquire(session::key(version::NEW), Sharing::Exclusive, &|| false)?;
    version::write(root, mode)
}

/// Whether there are layers or blobs, which a new database would not know.
fn holds_anything(root: &Path) -> bool {
    let has_entries = |name: &str| fs::read_dir(root.join(name)).is_ok_and(|mut entries| entries.next().is_some());
    ["layers", "blobs"].into_iter().any(has_entries)
}

/// The format of the store in `root`, `None` if none is there; an error if this program cannot use it in this mode.
pub(crate) fn format(root: &Path, mode: Mode) -> Result<Option<u32>> {
    let Some(version) = version::read(root)? else { return Ok(None) };
    let (path, found) = (root.to_owned(), version.format);
    if found < migrations::OLDEST {
        return Err(Error::OlderFormat { path, found, oldest: migrations::OLDEST, known: FORMAT });
    }
    if found > FORMAT {
        return Err(Error::NewerFormat { path, found, known: FORMAT, kiln: version.kiln });
    }
    if version.mode != mode {
        return Err(Error::OtherMode { path, found: version.mode.as_str(), wanted: mode.as_str() });
    }
    Ok(Some(found))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
