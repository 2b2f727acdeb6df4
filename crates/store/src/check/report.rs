//! What a check found, and what can be done about it.

use std::path::PathBuf;

use kiln_oci::Digest;

use crate::layers::LayerId;

/// How many findings about one layer are listed; the rest are counted.
pub(super) const LISTED: usize = 50;

/// What something is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The store's own description of itself: the file `version`.
    Version,
    /// The metadata database.
    Database,
    /// A layer.
    Layer(LayerId),
    /// A blob.
    Blob(Digest),
    /// An image, by its config.
    Image(Digest),
    /// A name and what it means.
    Name(String),
    /// A cache record.
    Record(i64),
    /// A container.
    Container(String),
    /// The directory of a cache mount.
    CacheMount(String),
    /// The digests known of a context.
    StatCache(String),
    /// A repository that was fetched.
    Repository(String),
    /// Logs of a build.
    Log(String),
    /// A lease of a session that is gone.
    Lease(String),
    /// Something in `tmp/` that belongs to nobody alive.
    Leftover(String),
}

/// What mends a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// The layer is unpacked again from this blob, which the store holds.
    Unpack(Digest),
    /// The image is pulled again under this name.
    Pull(String),
    /// What is damaged is dropped; steps that made it run again when they are wanted.
    Drop,
    /// The same, and these images go with it, because nothing here can make them whole.
    DropImages(Vec<String>),
    /// What nobody knows is removed.
    Remove,
    /// It is moved to `damaged/`: it may hold what somebody wants.
    SetAside,
    /// What is wrong is written anew.
    Correct,
    /// The database is moved to `damaged/` and made anew from what can still be read.
    Rebuild,
    /// Nothing can be done here; why.
    None(&'static str),
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub subject: Subject,
    /// The file or directory on disk.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
    /// What depends on it, in words: images by name, containers, steps.
    pub needed_by: Vec<String>,
    /// What a repair does about it.
    pub remedy: Remedy,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Layers.
    pub layers: u64,
    /// Entries of layers.
    pub entries: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes of files and blobs that were read and compared with a digest.
    pub bytes: u64,
    /// Images.
    pub images: u64,
    /// Cache records.
    pub records: u64,
    /// Containers.
    pub containers: u64,
}

/// What could not be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unverified {
    /// Files that nobody had hashed, and whose inode and time of change are those of the day they were stored: only
    /// a failing disk could have changed them unseen. Hashed now.
    pub hashed_now: u64,
    /// Files that nobody had hashed and of which nothing is known but size and time (the store was copied, or they
    /// have several names). Hashed now.
    pub unknown: u64,
    /// Entries that this user may not look into.
    pub closed: u64,
    /// Blobs whose hash function is not known here.
    pub blobs: u64,
}

/// The result of a check.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What is wrong, sorted.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub counted: Counted,
    /// What could not be told.
    pub unverified: Unverified,
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version => f.write_str("version"),
            Self::Database => f.write_str("database"),
            Self::Layer(id) => write!(f, "layer {id}"),
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::Image(id) => write!(f, "image {id}"),
            Self::Name(name) => write!(f, "name {name}"),
            Self::Record(id) => write!(f, "cache record {id}"),
            Self::Container(id) => write!(f, "container {id}"),
            Self::CacheMount(name) => write!(f, "cache mount {name}"),
            Self::StatCache(name) => write!(f, "context digests {name}"),
            Self::Repository(name) => write!(f, "repository {name}"),
            Self::Log(name) => write!(f, "log {name}"),
            Self::Lease(session) => write!(f, "lease of session {session}"),
            Self::Leftover(name) => write!(f, "leftover {name}"),
        }
    }
}

impl Subject {
    /// Its kind in one word, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Database => "database",
            Self::Layer(_) => "layer",
            Self::Blob(_) => "blob",
            Self::Image(_) => "image",
            Self::Name(_) => "name",
            Self::Record(_) => "record",
            Self::Container(_) => "container",
            Self::CacheMount(_) => "cache-mount",
            Self::StatCache(_) => "stat-cache",
            Self::Repository(_) => "repository",
            Self::Log(_) => "log",
            Self::Lease(_) => "lease",
            Self::Leftover(_) => "leftover",
        }
    }

    /// Which of its kind, if there are several.
    pub fn name(&self) -> String {
        match self {
            Self::Version | Self::Database => String::new(),
            Self::Layer(id) => id.to_string(),
            Self::Blob(digest) | Self::Image(digest) => digest.to_string(),
            Self::Record(id) => id.to_string(),
            Self::Name(name)
            | Self::Container(name)
            | Self::CacheMount(name)
            | Self::StatCache(name)
            | Self::Repository(name)
            | Self::Log(name)
            | Self::Lease(name)
            | Self::Leftover(name) => name.clone(),
        }
    }
}

impl std::fmt::Display for Remedy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unpack(blob) => write!(f, "unpacks it again from the blob {blob}"),
            Self::Pull(name) => write!(f, "pulls {name} again"),
            Self::Drop => f.write_str("drops it; the steps that it came from run again when they are wanted"),
            Self::DropImages(images) => {
                write!(f, "drops it, and forgets {}: build or load it again", images.join(", "))
            }
            Self::Remove => f.write_str("removes it"),
            Self::SetAside => f.write_str("moves it to damaged/ in the store"),
            Self::Correct => f.write_str("writes it anew"),
            Self::Rebuild => f.write_str("moves it to damaged/ and makes a new one of what can still be read"),
            Self::None(why) => write!(f, "can do nothing: {why}"),
        }
    }
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    pub(super) fn add(&mut self, other: Report) {
        self.findings.extend(other.findings);
        let (counted, more) = (&mut self.counted, other.counted);
        counted.layers += more.layers;
        counted.entries += more.entries;
        counted.blobs += more.blobs;
        counted.bytes += more.bytes;
        counted.images += more.images;
        counted.records += more.records;
        counted.containers += more.containers;
        let (unverified, more) = (&mut self.unverified, other.unverified);
        unverified.hashed_now += more.hashed_now;
        unverified.unknown += more.unknown;
        unverified.closed += more.closed;
        unverified.blobs += more.blobs;
    }
}
