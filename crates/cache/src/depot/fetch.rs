//! The bytes of a blob on their way out of a depot, verified while they come.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use kiln_oci::{Descriptor, Hasher};
use kiln_registry::{BlobSource, BlobStream};
use object_store::GetResult;

use super::{Error, Result};

/// How many bytes of a file are in memory at once.
const PIECE: usize = 256 << 10;

/// A blob that is being fetched.
#[derive(Debug)]
pub struct Fetch {
    depot: String,
    origin: Origin,
}

enum Origin {
    File(Arc<File>, Box<Check>),
    /// Takes up broken connections by itself.
    Object(BoxStream<'static, object_store::Result<Bytes>>, Box<Check>),
    /// Verifies by itself, and takes up broken connections.
    Registry(Box<BlobStream>),
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::File(_, check) | Origin::Object(_, check) => check.fmt(f),
            Origin::Registry(stream) => stream.fmt(f),
        }
    }
}

/// Compares what came with what was asked for.
struct Check {
    descriptor: Descriptor,
    hasher: Hasher,
    received: u64,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes of {}", self.received, self.descriptor.size, self.descriptor.digest)
    }
}

impl Fetch {
    /// Reads an open file.
    pub(super) fn file(depot: String, descriptor: &Descriptor, file: File) -> Result<Fetch> {
        let check = Check::new(&depot, descriptor)?;
        Ok(Fetch { depot, origin: Origin::File(Arc::new(file), Box::new(check)) })
    }

    /// Reads what an object store sends.
    pub(super) fn object(depot: String, descriptor: &Descriptor, found: GetResult) -> Result<Fetch> {
        let check = Check::new(&depot, descriptor)?;
        if found.meta.size != descriptor.size {
            return Err(check.wrong(&depot, "it has another size than it should"));
        }
        Ok(Fetch { depot, origin: Origin::Object(found.into_stream(), Box::new(check)) })
    }

    /// Reads what a registry sends.
    pub(super) fn registry(depot: String, stream: BlobStream) -> Fetch {
        Fetch { depot, origin: Origin::Registry(Box::new(stream)) }
    }

    /// The next piece; `None` at the end, and only then the bytes are known to be the right ones.
    ///
    /// # Errors
    /// Wrong bytes ([`Error::Damaged`]), or a place that cannot be read on. Nothing comes after an error.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        match &mut self.origin {
            Origin::File(file, check) => {
                let piece = read(&self.depot, file, check).await?;
                check.take(&self.depot, piece)
            }
            Origin::Object(stream, check) => {
                let piece = stream.try_next().await.map_err(|source| Error::Objects {
                    depot: self.depot.clone(),
                    doing: "read",
                    source: Box::new(source),
                })?;
                check.take(&self.depot, piece)
            }
            Origin::Registry(stream) => stream
                .chunk()
                .await
                .map_err(|source| Error::Registry { depot: self.depot.clone(), source: Box::new(source) }),
        }
    }

    /// Bytes handed out so far.
    pub fn received(&self) -> u64 {
        match &self.origin {
            Origin::File(_, check) | Origin::Object(_, check) => check.received,
            Origin::Registry(stream) => stream.received(),
        }
    }
}

async fn read(depot: &str, file: &Arc<File>, check: &Check) -> Result<Option<Bytes>> {
    let (reading, offset) = (Arc::clone(file), check.received);
    let piece = tokio::task::spawn_blocking(move || reading.read_at(offset, PIECE)).await;
    let piece = piece.map_err(std::io::Error::other).and_then(|answer| answer);
    let piece = piece.map_err(|source| Error::Disk {
        depot: depot.to_owned(),
        doing: "read",
        path: check.descriptor.digest.to_string().into(),
        source,
    })?;
    Ok((!piece.is_empty()).then_some(piece))
}

impl Check {
    fn new(depot: &str, descriptor: &Descriptor) -> Result<Check> {
        let hasher = descriptor.digest.hasher().ok_or_else(|| Error::Damaged {
            depot: depot.to_owned(),
            what: descriptor.digest.to_string(),
            detail: "its hash function is not supported".into(),
        })?;
        Ok(Check { descriptor: descriptor.clone(), hasher, received: 0 })
    }

    fn take(&mut self, depot: &str, piece: Option<Bytes>) -> Result<Option<Bytes>> {
        if let Some(piece) = &piece {
            self.received += piece.len() as u64;
            self.hasher.update(piece);
        }
        let wanted = &self.descriptor;
        let wrong = match &piece {
            Some(_) if self.received > wanted.size => "it has more bytes than it should",
            None if self.received < wanted.size => "it has fewer bytes than it should",
            None if self.hasher.clone().finish() != wanted.digest => "its bytes do not have its digest",
            _ => return Ok(piece),
        };
        Err(self.wrong(depot, wrong))
    }

    fn wrong(&self, depot: &str, detail: &str) -> Error {
        let what = self.descriptor.digest.to_string();
        Error::Damaged { depot: depot.to_owned(), what, detail: detail.to_owned() }
    }
}
