//! One layer from the network to the disk: kept as a blob and unpacked in the same pass.

use std::io::{self, Read, Write};

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest};
use kiln_registry::BlobStream;
use kiln_store::{BlobWriter, Store};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Job, PullError};
use crate::import::ImportError;
use crate::unpack;

/// Pieces of the network that may wait for the disk.
const WAITING: usize = 16;

/// Downloads and unpacks the job's layer.
pub(super) async fn download(job: &Job) -> Result<(), PullError> {
    let stream = job.client.blob(&job.reference, &job.blob).await?;
    let (sender, receiver) = channel(WAITING);
    let (store, blob, diff_id) = (job.store.clone(), job.blob.clone(), job.diff_id.clone());
    let disk = tokio::task::spawn_blocking(move || receive(&store, receiver, &blob, &diff_id));
    let network = forward(stream, sender, job).await;
    let disk = disk.await.map_err(|_| PullError::GivenUp)?;
    // When the network fails the disk fails too, and knows less about why.
    network?;
    disk
}

/// Hands the pieces on until the end, or until nobody wants them any more.
async fn forward(mut stream: BlobStream, sender: Sender<io::Result<Bytes>>, job: &Job) -> Result<(), PullError> {
    loop {
        match stream.chunk().await {
            Ok(Some(bytes)) => {
                job.task.progress(stream.received(), Some(job.blob.size));
                if sender.send(Ok(bytes)).await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                // A receiver that is gone has its own error.
                let _ = sender.send(Err(io::Error::other("the download failed"))).await;
                return Err(error.into());
            }
        }
    }
}

fn receive(
    store: &Store,
    receiver: Receiver<io::Result<Bytes>>,
    blob: &Descriptor,
    diff_id: &Digest,
) -> Result<(), PullError> {
    let mut pieces = Pieces { receiver, current: Bytes::new(), copy: store.blobs().create()? };
    let bad = |source| ImportError::Unpack { digest: blob.digest.clone(), source: Box::new(source) };
    let staged = unpack::staged(store, &mut pieces, Some(diff_id)).map_err(bad)?;
    // The blob first: a layer that is there is not downloaded again, and an image is told by its blobs.
    pieces.copy.commit(Some(&blob.digest), Some(blob.size))?;
    staged.keep(store).map_err(bad)?;
    Ok(())
}

/// The network's pieces as a stream; what is read is kept as a blob as well.
struct Pieces {
    receiver: Receiver<io::Result<Bytes>>,
    current: Bytes,
    copy: BlobWriter,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
            self.copy.write_all(&self.current)?;
        }
        let count = self.current.len().min(buffer.len());
        let piece = self.current.split_to(count);
        if let Some(part) = buffer.get_mut(..count) {
            part.copy_from_slice(&piece);
        }
        Ok(count)
    }
}
