//! A blob on its way out in pieces: what is read is hashed on another thread while the one who asked uses it.
//!
//! Does not know where the bytes go.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use kiln_oci::Hasher;

use crate::blobs::BlobReader;

/// Bytes of a piece.
const PIECE: usize = 512 * 1024;
/// Pieces that may wait for whoever uses them, and as many for the hash function.
const WAITING: usize = 4;
/// Pieces after which the first is probably used and hashed, so that its memory can be filled again.
const AROUND: usize = WAITING + 2;

/// A piece of a blob, shared by who hashes and who uses it.
pub type Piece = Arc<Vec<u8>>;

/// The bytes of a blob in order. The last item is an error if they do not have the blob's digest: who writes them
/// somewhere has written wrong bytes then, and must say so.
pub struct Pieces {
    way: Way,
}

enum Way {
    /// A blob of one piece is not worth a thread.
    Alone(BlobReader),
    Beside {
        pieces: Receiver<io::Result<Piece>>,
        reading: JoinHandle<BlobReader>,
        hashing: JoinHandle<Option<Hasher>>,
    },
    Over,
}

impl BlobReader {
    /// The blob from its beginning in pieces of at most 512 KiB; a few of them are in memory at once.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn pieces(mut self) -> io::Result<Pieces> {
        if self.size() <= PIECE as u64 {
            return Ok(Pieces { way: Way::Alone(self) });
        }
        let mut hasher = self.hasher.take();
        let (to_hash, hashed) = sync_channel::<Piece>(WAITING);
        let (sender, pieces) = sync_channel(WAITING);
        let reading = Builder::new().name("blob-read".into()).spawn(move || read_all(self, &to_hash, &sender))?;
        let hashing = Builder::new().name("blob-hash".into()).spawn(move || {
            for piece in hashed {
                if let Some(hasher) = &mut hasher {
                    hasher.update(&piece);
                }
            }
            hasher
        })?;
        Ok(Pieces { way: Way::Beside { pieces, reading, hashing } })
    }
}

/// Reads until the end, or until nobody wants more.
fn read_all(mut blob: BlobReader, to_hash: &SyncSender<Piece>, sender: &SyncSender<io::Result<Piece>>) -> BlobReader {
    let mut sent: VecDeque<Piece> = VecDeque::new();
    loop {
        let oldest = if sent.len() < AROUND { None } else { sent.pop_front() };
        let memory = oldest.and_then(|piece| Arc::try_unwrap(piece).ok()).unwrap_or_default();
        let piece = match next_piece(&mut blob, memory) {
            Ok(piece) if piece.is_empty() => return blob,
            Ok(piece) => Arc::new(piece),
            Err(error) => {
                // Whoever is gone needs no error.
                let _ = sender.send(Err(error));
                return blob;
            }
        };
        sent.push_back(Arc::clone(&piece));
        if to_hash.send(Arc::clone(&piece)).is_err() || sender.send(Ok(piece)).is_err() {
            return blob;
        }
    }
}

/// The next piece, in `memory` that nobody needs any more.
fn next_piece(blob: &mut BlobReader, memory: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut piece = memory;
    piece.clear();
    piece.reserve_exact(PIECE);
    blob.take(PIECE as u64).read_to_end(&mut piece)?;
    Ok(piece)
}

impl Iterator for Pieces {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<io::Result<Piece>> {
        match std::mem::replace(&mut self.way, Way::Over) {
            Way::Alone(mut blob) => {
                let piece = next_piece(&mut blob, Vec::new());
                Some(piece.map(Arc::new)).filter(|piece| !piece.as_ref().is_ok_and(|piece| piece.is_empty()))
            }
            Way::Beside { pieces, reading, hashing } => match pieces.recv() {
                Ok(Ok(piece)) => {
                    self.way = Way::Beside { pieces, reading, hashing };
                    Some(Ok(piece))
                }
                Ok(Err(error)) => Some(Err(error)),
                Err(_) => verdict(reading, hashing).err().map(Err),
            },
            Way::Over => None,
        }
    }
}

/// Compares the digest once all was read and hashed.
fn verdict(reading: JoinHandle<BlobReader>, hashing: JoinHandle<Option<Hasher>>) -> io::Result<()> {
    let gone = |_| io::Error::other("a reading thread ended early");
    let mut blob = reading.join().map_err(gone)?;
    blob.hasher = hashing.join().map_err(gone)?;
    blob.verify()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::place;
    use crate::testing::store;

    fn collected(pieces: Pieces) -> io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        for piece in pieces {
            whole.extend_from_slice(&piece?);
        }
        Ok(whole)
    }

    #[test]
    fn pieces_make_the_whole() {
        let (_directory, store) = store();
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 20 * PIECE + 7] {
            let bytes: Vec<u8> = (0..length).map(|n| (n / 3 % 251) as u8).collect();
            let digest = store.blobs().insert(&bytes).unwrap().digest;
            let pieces = store.blobs().open(&digest).unwrap().pieces().unwrap();
            assert!(collected(pieces).unwrap() == bytes, "{length}");
        }
    }

    #[test]
    fn wrong_bytes_end_with_an_error() {
        let (_directory, store) = store();
        for length in [10, 3 * PIECE] {
            let digest = store.blobs().insert(&vec![7; length]).unwrap().digest;
            let mut damaged = vec![7; length];
            damaged[length / 2] = 8;
            std::fs::write(place(&store.inner, &digest), &damaged).unwrap();
            let pieces = store.blobs().open(&digest).unwrap().pieces().unwrap();
            assert_eq!(collected(pieces).unwrap_err().kind(), io::ErrorKind::InvalidData, "{length}");
        }
    }

    #[test]
    fn nobody_waits_for_what_is_given_up() {
        let (_directory, store) = store();
        let digest = store.blobs().insert(&vec![7; 40 * PIECE]).unwrap().digest;
        let mut pieces = store.blobs().open(&digest).unwrap().pieces().unwrap();
        assert_eq!(pieces.next().unwrap().unwrap().len(), PIECE);
        let Way::Beside { pieces, reading, hashing } = pieces.way else { panic!("threads were expected") };
        drop(pieces);
        assert!(reading.join().is_ok() && hashing.join().is_ok());
    }
}
