//! What the server needs of the place where everything lies. Its methods block; the server calls them from threads
//! that may.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

use kiln_oci::{Algorithm, Digest};

use super::names::{ManifestName, Repository, Tag};

/// What a storage fails with, in words for the server's log. Whoever sent the request is not told.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StorageError {
    /// What failed, where, and what can be done.
    pub message: String,
    /// Whether the disk was full: the client is told that much.
    pub is_full: bool,
}

/// A storage's result.
pub type Stored<T> = Result<T, StorageError>;

/// Everything that a registry holds. A blob or manifest is there for a repository only if it came into that
/// repository; what was answered with success survives a crash of the machine.
pub trait Storage: Send + Sync + 'static {
    /// A blob's size in bytes; `None` if the repository does not hold it.
    fn blob(&self, repository: &Repository, digest: &Digest) -> Stored<Option<u64>>;

    /// A part of a blob, or all of it; a read fails where the bytes proved damaged. The part lies within the blob.
    fn read_blob(&self, repository: &Repository, digest: &Digest, part: Option<Range<u64>>) -> Stored<Option<Bytes>>;

    /// Makes a blob of another repository, or of any, this one's too. False if there is none.
    fn mount(&self, repository: &Repository, digest: &Digest, from: Option<&Repository>) -> Stored<bool>;

    /// Takes a blob out of a repository; false if it is not there.
    fn delete_blob(&self, repository: &Repository, digest: &Digest) -> Stored<bool>;

    /// Begins an upload; answers its id: letters, digits and dashes.
    fn begin_upload(&self, repository: &Repository) -> Stored<String>;

    /// Bytes that an upload has so far; `None` if there is none of that id.
    fn upload(&self, repository: &Repository, id: &str) -> Stored<Option<u64>>;

    /// Reads an upload from its beginning. Where it ends at the moment nothing is read, and more later.
    fn read_upload(&self, repository: &Repository, id: &str) -> Stored<Option<Box<dyn Read + Send>>>;

    /// Goes on with an upload, whose digest will probably be one of `algorithm`; `None` if there is none of that id.
    /// The caller sees to it that nobody else goes on with it meanwhile.
    fn resume_upload(&self, repository: &Repository, id: &str, algorithm: Algorithm)
    -> Stored<Option<Box<dyn Upload>>>;

    /// Gives an upload up; false if there is none of that id.
    fn cancel_upload(&self, repository: &Repository, id: &str) -> Stored<bool>;

    /// What a tag or digest names; `None` if nothing.
    fn manifest(&self, repository: &Repository, name: &ManifestName) -> Stored<Option<ManifestFacts>>;

    /// A manifest's bytes; a read fails where they proved damaged.
    fn read_manifest(&self, repository: &Repository, digest: &Digest) -> Stored<Option<Bytes>>;

    /// Takes a manifest in, and gives it a tag. What it is made of must be there.
    fn put_manifest(&self, repository: &Repository, manifest: &NewManifest, tag: Option<&Tag>) -> Stored<Placed>;

    /// Takes a manifest out of a repository with all its tags; false if it is not there.
    fn delete_manifest(&self, repository: &Repository, digest: &Digest) -> Stored<bool>;

    /// Takes a tag away; false if it is not there.
    fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Stored<bool>;

    /// At most `limit` tags in the order of [`Tag::order`], after the one given; `None` for a repository that never held
    /// anything.
    fn tags(&self, repository: &Repository, after: Option<&str>, limit: usize) -> Stored<Option<Vec<String>>>;

    /// At most `limit` repositories in the order of their bytes, after the one given.
    fn repositories(&self, after: Option<&str>, limit: usize) -> Stored<Vec<String>>;

    /// At most `limit` manifests whose subject is this one, in the order of their digests, after the one given.
    fn referrers(&self, wanted: &WantedReferrers<'_>, limit: usize) -> Stored<Vec<Referrer>>;
}

/// An upload that somebody is going on with.
pub trait Upload: Send {
    /// Bytes so far.
    fn size(&self) -> u64;

    /// Adds bytes.
    fn append(&mut self, bytes: &[u8]) -> Stored<()>;

    /// Makes it a blob of the repository, if that is its digest. It is there after a crash of the machine. With
    /// another digest the upload is gone.
    fn finish(self: Box<Self>, digest: &Digest) -> Stored<Finished>;
}

/// What became of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    /// The repository holds the blob.
    Blob,
    /// The bytes have another digest.
    OtherDigest,
}

/// Bytes on their way out.
pub struct Bytes {
    /// How many there will be.
    pub length: u64,
    /// Where they come from; it fails rather than ends early.
    pub reader: Box<dyn Read + Send>,
}

/// What is known of a manifest besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFacts {
    /// Its digest.
    pub digest: Digest,
    /// Its media type, as it was pushed.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A manifest on its way in.
#[derive(Debug, Clone)]
pub struct NewManifest {
    /// The bytes as they were sent.
    pub bytes: Vec<u8>,
    /// Their digest, which was checked.
    pub digest: Digest,
    /// Their media type.
    pub media_type: String,
    /// Config and layers.
    pub blobs: Vec<Digest>,
    /// What an index lists.
    pub manifests: Vec<Digest>,
    /// It is taken even if what it is made of is not there: that may come later.
    pub is_partial: bool,
    /// What it says something about.
    pub subject: Option<Digest>,
    /// What a list of referrers says of it.
    pub artifact_type: Option<String>,
    /// The same.
    pub annotations: BTreeMap<String, String>,
}

/// What became of a manifest that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// It is there.
    Done,
    /// The repository lacks this of what it is made of; nothing was changed.
    Lacks(Vec<Digest>),
}

/// Which referrers are asked for.
#[derive(Debug, Clone, Copy)]
pub struct WantedReferrers<'a> {
    /// Of which repository.
    pub repository: &'a Repository,
    /// Of which manifest.
    pub subject: &'a Digest,
    /// Only those of this type.
    pub artifact_type: Option<&'a str>,
    /// Only those after this digest.
    pub after: Option<&'a Digest>,
}

/// A manifest that says something about another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// The manifest.
    pub facts: ManifestFacts,
    /// Its artefact type, if it has one.
    pub artifact_type: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}
