//! A writer that hashes what passes through it.

use std::io::{self, Write};

use kiln_oci::{Digest, Hasher};

/// Passes bytes on to `W` and hashes them.
pub(crate) struct Hashing<W> {
    inner: W,
    hasher: Hasher,
}

impl<W: Write> Hashing<W> {
    /// Hashes what goes to `inner` with SHA-256.
    pub(crate) fn new(inner: W) -> Hashing<W> {
        Hashing { inner, hasher: Hasher::sha256() }
    }

    /// The stream behind, and the digest of all bytes.
    pub(crate) fn finish(self) -> (W, Digest) {
        (self.inner, self.hasher.finish())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
