//! Decompresses and hashes on one thread while another consumes, with few pieces in between.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use kiln_oci::{Digest, Hasher};

use super::UnpackError;
use super::limits::{Limits, bounded};

/// Bytes handed over at once.
const PIECE: usize = 256 * 1024;
/// Pieces that may wait.
const WAITING: usize = 8;

/// Runs `consume` over the decompressed bytes of `blob`; returns the digest of all of them, those
/// that `consume` left unread included. `blob` is read to its end.
pub(super) fn hashed<R: Read + Send>(
    blob: R,
    consume: impl FnOnce(&mut Pieces) -> Result<(), UnpackError>,
) -> Result<Digest, UnpackError> {
    let (sender, receiver) = sync_channel(WAITING);
    std::thread::scope(|scope| {
        let producer = scope.spawn(move || produce(blob, &sender));
        let mut pieces = Pieces { receiver, current: Vec::new(), used: 0 };
        consume(&mut pieces)?;
        io::copy(&mut pieces, &mut io::sink()).map_err(UnpackError::Read)?;
        match producer.join() {
            Ok(digest) => digest.map_err(UnpackError::Read),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Sends every piece; a failure is sent too, so that the consumer stops where it happened.
fn produce<R: Read>(blob: R, sender: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<Digest> {
    let mut hasher = Hasher::sha256();
    let mut plain = match bounded(blob, Limits::settled()) {
        Ok(plain) => plain,
        Err(error) => return Err(send_failure(error, sender)),
    };
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        if let Err(error) = plain.by_ref().take(PIECE as u64).read_to_end(&mut piece) {
            return Err(send_failure(error, sender));
        }
        if piece.is_empty() {
            return Ok(hasher.finish());
        }
        hasher.update(&piece);
        if sender.send(Ok(piece)).is_err() {
            return Err(io::Error::other("the consumer gave up"));
        }
    }
}

fn send_failure(error: io::Error, sender: &SyncSender<io::Result<Vec<u8>>>) -> io::Error {
    let copy = io::Error::new(error.kind(), error.to_string());
    // A consumer that is gone has its own error.
    let _ = sender.send(Err(error));
    copy
}

/// The consumer's end: a stream of the decompressed bytes.
pub(super) struct Pieces {
    receiver: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    used: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.current.len() {
            match self.receiver.recv() {
                Ok(piece) => self.current = piece?,
                Err(_) => return Ok(0),
            }
            self.used = 0;
        }
        let left = self.current.get(self.used..).unwrap_or_default();
        let count = left.len().min(buffer.len());
        for (to, from) in [(buffer.get_mut(..count), left.get(..count))] {
            if let (Some(to), Some(from)) = (to, from) {
                to.copy_from_slice(from);
            }
        }
        self.used += count;
        Ok(count)
    }
}
