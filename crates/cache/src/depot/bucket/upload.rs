//! Sends a blob to an object store: a small one in one request, a large one in parts, a few at the same time. Nothing
//! appears unless all bytes were the right ones.

use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::Hasher;
use kiln_registry::BlobSource;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::task::JoinSet;

use super::Objects;
use crate::depot::{Error, Parcel, Result};

/// The smallest part, in bytes; S3 wants at least 5 MiB.
const PART: u64 = 8 << 20;

/// How many parts an upload has at most; S3 takes 10,000.
const PARTS: u64 = 9_000;

/// How many parts are under way at once, where nothing else is said.
const AT_ONCE: usize = 4;

/// Reads a source in parts and checks what it says.
struct Reader<'a> {
    objects: &'a Objects,
    parcel: &'a Parcel,
    hasher: Hasher,
    part: usize,
}

impl Objects {
    /// Sends the bytes of a blob.
    pub(super) async fn upload(&self, parcel: &Parcel) -> Result<()> {
        let digest = &parcel.descriptor.digest;
        let size = parcel.descriptor.size;
        let part = usize::try_from(PART.max(size / PARTS)).unwrap_or(usize::MAX);
        let mut reader = Reader { objects: self, parcel, hasher: Hasher::sha256(), part };
        let place = self.blob(digest).ok_or_else(|| reader.bad("only SHA-256 digests can be stored"))?;
        let first = reader.next().await?;
        if first.len() as u64 == size {
            reader.finish()?;
            let payload = PutPayload::from(first);
            self.store().await?.put(&place, payload).await.map_err(|e| self.failed("write", e))?;
            return Ok(());
        }
        self.in_parts(reader, first, &place).await
    }

    async fn in_parts(&self, mut reader: Reader<'_>, first: Bytes, place: &Path) -> Result<()> {
        let mut upload = self.store().await?.put_multipart(place).await.map_err(|e| self.failed("write", e))?;
        let sent = match self.send_parts(&mut reader, first, &mut *upload).await {
            Ok(()) => reader.finish(),
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            // What cannot be taken back now, the rules of the bucket remove.
            let _ = upload.abort().await;
            return Err(error);
        }
        upload.complete().await.map_err(|e| self.failed("write", e))?;
        Ok(())
    }

    async fn send_parts(&self, reader: &mut Reader<'_>, first: Bytes, upload: &mut dyn MultipartUpload) -> Result<()> {
        let limit = self.0.bucket.upload_parallelism.unwrap_or(AT_ONCE).max(1);
        let mut under_way = JoinSet::new();
        let mut next = first;
        while !next.is_empty() {
            under_way.spawn(upload.put_part(PutPayload::from(next)));
            while under_way.len() >= limit {
                self.one_done(&mut under_way).await?;
            }
            next = reader.next().await?;
        }
        while !under_way.is_empty() {
            self.one_done(&mut under_way).await?;
        }
        Ok(())
    }

    async fn one_done(&self, under_way: &mut JoinSet<object_store::Result<()>>) -> Result<()> {
        match under_way.join_next().await {
            None => Ok(()),
            Some(Ok(answer)) => answer.map_err(|e| self.failed("write", e)),
            Some(Err(failure)) if failure.is_panic() => std::panic::resume_unwind(failure.into_panic()),
            Some(Err(_)) => Err(Error::Stopped),
        }
    }
}

impl Reader<'_> {
    /// The next part; an empty one at the end.
    async fn next(&mut self) -> Result<Bytes> {
        let (source, offset, length) = (Arc::clone(&self.parcel.source), self.hasher.length(), self.part);
        let read = tokio::task::spawn_blocking(move || read_full(&*source, offset, length)).await;
        let part = match read {
            Ok(answer) => answer.map_err(|e| self.bad(&e.to_string()))?,
            Err(failure) if failure.is_panic() => std::panic::resume_unwind(failure.into_panic()),
            Err(_) => return Err(Error::Stopped),
        };
        self.hasher.update(&part);
        if self.hasher.length() > self.parcel.descriptor.size {
            return Err(self.bad("it has more bytes than its descriptor says"));
        }
        Ok(part)
    }

    /// Whether all bytes came and are the right ones.
    fn finish(&self) -> Result<()> {
        let wanted = &self.parcel.descriptor;
        if self.hasher.length() == wanted.size && self.hasher.clone().finish() == wanted.digest {
            return Ok(());
        }
        Err(self.bad("its bytes are not those that its descriptor names"))
    }

    fn bad(&self, detail: &str) -> Error {
        let (depot, digest) = (self.objects.to_string(), self.parcel.descriptor.digest.clone());
        Error::Source { depot, digest, detail: detail.to_owned() }
    }
}

/// Reads until there are `length` bytes or no more. Blocks.
fn read_full(source: &dyn BlobSource, offset: u64, length: usize) -> std::io::Result<Bytes> {
    let mut bytes = source.read_at(offset, length)?;
    if bytes.len() == length || bytes.is_empty() {
        return Ok(bytes);
    }
    let mut all = Vec::from(bytes);
    while all.len() < length {
        bytes = source.read_at(offset + all.len() as u64, length - all.len())?;
        if bytes.is_empty() {
            break;
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all.into())
}
