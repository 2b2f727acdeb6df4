//! What can go wrong in the store, with the path, digest or id it is about and a hint where one helps.

use std::io;
use std::path::{Path, PathBuf};

use kiln_oci::Digest;

use crate::layers::LayerId;

/// What helps against damage.
const REPAIR: &str = "`kiln system check --repair` mends the store";

/// What helps against a database that cannot be read.
const REBUILD: &str = "; `kiln system check --repair` moves it aside and makes a new one of what can still be read";

/// The store's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that an operation of the store can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a file failed.
    #[error("cannot {action} {}: {source}{}", path.display(), hint(source))]
    Io {
        /// What was tried, as a verb: "create", "rename".
        action: &'static str,
        /// The file it was tried on.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The metadata database refused something.
    #[error("the store's database {} failed: {source}{}", path.display(), database_hint(source))]
    Database {
        /// The database file.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// The store's format is older than any that can be migrated: that of development versions.
    #[error("the store {} has format {found}, which no released kiln wrote; this kiln reads formats {oldest} to {known}: choose another KILN_ROOT, or delete the directory", path.display())]
    OlderFormat {
        /// The store's directory.
        path: PathBuf,
        /// The format found on disk.
        found: u32,
        /// The oldest format that this program migrates.
        oldest: u32,
        /// The format that this program writes.
        known: u32,
    },
    /// The store was migrated by a later kiln.
    #[error("the store {} has format {found}{}, this kiln ({}) reads formats up to {known}: {}, or choose another KILN_ROOT; a store is never migrated back", path.display(), written_by(kiln.as_deref()), env!("CARGO_PKG_VERSION"), newer_kiln(kiln.as_deref()))]
    NewerFormat {
        /// The store's directory.
        path: PathBuf,
        /// The format found on disk.
        found: u32,
        /// The newest format that this program knows.
        known: u32,
        /// The version of the kiln that migrated it, if the store says so.
        kiln: Option<String>,
    },
    /// The store has things in it and no database.
    #[error(
        "the store's database {} is missing or empty; `kiln system check --repair` makes a new one of what is in the \
         store", path.display()
    )]
    LostDatabase {
        /// The database file.
        path: PathBuf,
    },
    /// Something needs the store for itself.
    #[error("another kiln is at work in the store {} (session {session}): try again when it has ended", path.display())]
    StoreInUse {
        /// The store's directory.
        path: PathBuf,
        /// One session: its process's number first.
        session: String,
    },
    /// The store's `version` file makes no sense.
    #[error("{} is not the version file of a kiln store (it says {found:?}); is KILN_ROOT right?", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// Its beginning.
        found: String,
    },
    /// A root store was opened rootless or the other way round.
    #[error("the store {} belongs to {found} and cannot be used {wanted}: layers are spelt differently; choose another KILN_ROOT", path.display())]
    OtherMode {
        /// The store's directory.
        path: PathBuf,
        /// What its version file says.
        found: &'static str,
        /// What the caller asked for.
        wanted: &'static str,
    },
    /// A path cannot name an entry of a layer.
    #[error("the path {path:?} cannot be used in a layer: {reason}")]
    BadPath {
        /// The path as given, lossily.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// Too many symbolic links on the way to a path.
    #[error("too many symbolic links while resolving {path:?}")]
    SymlinkLoop {
        /// The path that was being resolved, lossily.
        path: String,
    },
    /// A layer's index cannot be read.
    #[error("the layer index {} is damaged: {what}; {REPAIR}", path.display())]
    DamagedIndex {
        /// The index file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A file of a layer is not what the index says.
    #[error("layer {layer} is damaged at {path:?}: {what}; {REPAIR}")]
    DamagedLayer {
        /// The layer.
        layer: LayerId,
        /// The entry, lossily.
        path: String,
        /// What differs.
        what: &'static str,
    },
    /// An overlay upper directory holds a form that must not become a layer.
    #[error("{} cannot become a layer: it has the xattr {xattr}, which refers to other directories", path.display())]
    RefusedUpper {
        /// The entry in the upper directory.
        path: PathBuf,
        /// The xattr's full name.
        xattr: String,
    },
    /// Bytes do not have the digest they were promised to have.
    #[error("digest mismatch: expected {expected}, the bytes have {actual}")]
    DigestMismatch {
        /// What was promised.
        expected: Digest,
        /// What was found.
        actual: Digest,
    },
    /// Bytes are more or fewer than promised.
    #[error("size mismatch: {digest} has {found} bytes instead of {expected}")]
    SizeMismatch {
        /// Digest of the bytes found.
        digest: Digest,
        /// Bytes promised.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// A digest whose hash function is not known here.
    #[error("cannot verify {0}: its hash function is not supported")]
    UnsupportedDigest(Digest),
    /// A blob's file has another size than its row.
    #[error("the blob {digest} is damaged: {found} bytes instead of {expected}; {REPAIR}")]
    DamagedBlob {
        /// The blob.
        digest: Digest,
        /// Bytes recorded.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// A blob's bytes are not those that it was stored with.
    #[error("the blob {digest} is damaged: its bytes have the digest {actual}; {REPAIR}")]
    ChangedBlob {
        /// The blob.
        digest: Digest,
        /// The digest of what is there now.
        actual: Digest,
    },
    /// No such blob.
    #[error("the store does not hold the blob {0}")]
    MissingBlob(Digest),
    /// No such layer.
    #[error("the store does not hold layer {0}")]
    MissingLayer(LayerId),
    /// No such entry in a layer or union.
    #[error("no such file or directory: {path:?}")]
    MissingEntry {
        /// The path, lossily.
        path: String,
    },
    /// The entry is of another kind than the operation needs.
    #[error("{path:?} is not {wanted}")]
    WrongKind {
        /// The path, lossily.
        path: String,
        /// What was needed: "a regular file".
        wanted: &'static str,
    },
    /// A file is larger than the caller allows.
    #[error("{path:?} is {size} bytes long, more than the {limit} allowed here")]
    TooLarge {
        /// The path, lossily.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// The allowed size in bytes.
        limit: u64,
    },
    /// An id prefix fits several things.
    #[error("{prefix:?} is ambiguous: it fits {count} {what}")]
    Ambiguous {
        /// The prefix as given.
        prefix: String,
        /// How many it fits.
        count: usize,
        /// What they are: "images", "containers".
        what: &'static str,
    },
    /// The name is taken.
    #[error("the name {name:?} is already used by container {by}")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        by: String,
    },
    /// No such container.
    #[error("no such container: {0}")]
    MissingContainer(String),
    /// No such image.
    #[error("no such image: {0}")]
    MissingImage(String),
    /// A container uses the image.
    #[error("image {image} is used by container {container}")]
    ImageInUse {
        /// The image's id.
        image: Digest,
        /// One container that uses it.
        container: String,
    },
    /// A wait was given up because the caller said so.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Whether the store's database, or its description of itself, cannot be read: [`crate::Store::rescue`] is for that.
    pub fn asks_for_rescue(&self) -> bool {
        match self {
            Self::LostDatabase { .. } | Self::NotAStore { .. } => true,
            Self::Database { source, .. } => database_hint(source) == REBUILD,
            _ => false,
        }
    }

    /// Whether a disk had no room, or its user none left.
    pub fn is_full_disk(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_full(source.kind()),
            Self::Database { source, .. } => is_full_database(source),
            _ => false,
        }
    }

    /// Whether the disk failed, rather than what was to be put on it.
    pub fn is_of_disk(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_of_disk(source),
            Self::Database { .. } => true,
            _ => false,
        }
    }

    /// Wraps what the kernel said about `path`.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }
}

/// Adds the path to a kernel's answer.
pub(crate) trait At<T> {
    /// Names what was tried, and on which file.
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::io(action, path, source))
    }
}

/// The same for callers that know the kernel's errors only: its kind stays, and its text names the path.
pub(crate) fn named(action: &'static str, path: &Path, source: io::Error) -> io::Error {
    match source.kind() {
        io::ErrorKind::Interrupted => source,
        kind => io::Error::new(kind, Error::io(action, path, source)),
    }
}

/// A layer path for a message.
pub(crate) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn written_by(kiln: Option<&str>) -> String {
    kiln.map(|version| format!(", written by kiln {version}")).unwrap_or_default()
}

fn newer_kiln(kiln: Option<&str>) -> String {
    let newer = || "use the newer kiln that migrated it".to_owned();
    kiln.map_or_else(newer, |version| format!("use kiln {version} or a later one"))
}

/// Whether the kernel's answer is about a disk: no room, read-only, broken.
fn is_of_disk(source: &io::Error) -> bool {
    let kind = source.kind();
    is_full(kind) || kind == io::ErrorKind::ReadOnlyFilesystem || source.raw_os_error() == Some(libc::EIO)
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// SQLite says so of its log and its tables; of the log's index it says that it cannot be made longer.
fn is_full_database(source: &rusqlite::Error) -> bool {
    source.sqlite_error().is_some_and(|error| {
        error.code == rusqlite::ErrorCode::DiskFull || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
    })
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        kind if is_full(kind) => "; `kiln system prune` frees what nobody needs",
        io::ErrorKind::ReadOnlyFilesystem => "; set KILN_ROOT to a directory that can be written",
        io::ErrorKind::PermissionDenied => "; does the store belong to another user? KILN_ROOT chooses another place",
        _ => "",
    }
}

fn database_hint(source: &rusqlite::Error) -> &'static str {
    use rusqlite::ErrorCode;
    if is_full_database(source) {
        return hint(&io::ErrorKind::StorageFull.into());
    }
    match source.sqlite_error_code() {
        Some(ErrorCode::ReadOnly) => hint(&io::ErrorKind::ReadOnlyFilesystem.into()),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => hint(&io::ErrorKind::PermissionDenied.into()),
        Some(ErrorCode::DatabaseBusy) => "; another kiln holds it since a minute: is it stopped?",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => REBUILD,
        _ => match source {
            // A table that is gone, a value that is none.
            rusqlite::Error::SqlInputError { .. }
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => REBUILD,
            _ => "",
        },
    }
}
