//! Blobs of which only the beginning came: what broke off, or was killed, is continued by whoever wants the blob next.
//!
//! The bytes lie in `partial/<algorithm>-<hex>`, without a row. Nothing of them is believed: the digest of the whole
//! decides, and a beginning that proves wrong is thrown away.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use kiln_oci::{Algorithm, Digest, Hasher};
use rustix::fs::OFlags;

use crate::blobs::{BlobWriter, Blobs};
use crate::content::with_block;
use crate::error::{At, Result};
use crate::fault::{self, Operation};
use crate::locks::{LockKey, Sharing};
use crate::store::{Inner, create_directory};

/// Where they lie, below the store's root.
pub(crate) const DIRECTORY: &str = "partial";

/// Held by whoever writes the partial blob of this name.
pub(crate) fn key(name: &str) -> LockKey {
    LockKey::new("partial", name.as_bytes())
}

/// Throws away all that nobody is just at; tells whether there was any.
pub(crate) fn discard_idle(store: &Inner) -> Result<bool> {
    let directory = store.root.join(DIRECTORY);
    let mut any = false;
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries.at("list", &directory)?,
    };
    for entry in entries {
        let entry = entry.at("list", &directory)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(_alone) = store.locks.try_acquire(key(&name), Sharing::Exclusive)? {
            store.session.discard(&entry.path())?;
            any = true;
        }
    }
    Ok(any)
}

impl Blobs<'_> {
    /// Continues a blob of which an earlier process may have left the beginning, at most `size` bytes; begins it
    /// otherwise. Where another process is just at it, this one begins by itself, and what it leaves is no use later.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn resume(&self, digest: &Digest, size: u64) -> Result<BlobWriter> {
        let name = format!("{}-{}", digest.algorithm().as_str(), digest.hex());
        let Some(lock) = self.store.locks.try_acquire(key(&name), Sharing::Exclusive)? else {
            return self.create_for(Some(digest));
        };
        let directory = self.store.root.join(DIRECTORY);
        create_directory(&directory)?;
        let path = directory.join(name);
        let open = || {
            let flags = OFlags::NOFOLLOW.bits() as i32;
            OpenOptions::new().read(true).write(true).create(true).mode(0o600).custom_flags(flags).open(&path)
        };
        let file = fault::run(Operation::Create, open).at("open", &path)?;
        if file.metadata().at("examine", &path)?.len() > size {
            file.set_len(0).at("truncate", &path)?;
        }
        let other = (digest.algorithm() != Algorithm::Sha256).then(|| digest.hasher()).flatten();
        let (store, sha256) = (Arc::clone(self.store), Hasher::sha256());
        let mut writer = BlobWriter { store, path, file, sha256, other, size: 0, partial: Some(lock), is_kept: false };
        writer.take_what_is_there()?;
        Ok(writer)
    }
}

impl BlobWriter {
    /// A hasher of the digest's kind that has taken all bytes so far; `None` if this writer does not compute such
    /// digests.
    pub fn hasher(&self, digest: &Digest) -> Option<Hasher> {
        match digest.algorithm() {
            Algorithm::Sha256 => Some(self.sha256.clone()),
            _ => self.other.clone(),
        }
    }

    /// The bytes so far, from the first on. What is written meanwhile is not among them.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn written(&self) -> Result<impl Read + Send + use<>> {
        let file = File::open(&self.path).at("open", &self.path)?;
        Ok(file.take(self.size))
    }

    /// Whether bytes stay where the blob is not completed: true for a blob from [`Blobs::resume`] until it is told
    /// otherwise. What a killed process wrote stays in any case.
    pub fn keep_for_later(&mut self, keep: bool) {
        self.is_kept = keep && self.partial.is_some();
    }

    /// Hashes what an earlier process left, and stands at its end.
    fn take_what_is_there(&mut self) -> Result<()> {
        with_block(|block| {
            loop {
                let count = match self.file.read(block) {
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error).at("read", &self.path),
                };
                if count == 0 {
                    return Ok(());
                }
                self.sha256.update(&block[..count]);
                if let Some(other) = &mut self.other {
                    other.update(&block[..count]);
                }
                self.size += count as u64;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::testing;

    #[test]
    fn a_blob_that_broke_off_is_continued_and_nothing_stays() {
        let (_directory, store) = testing::store();
        let digest = Digest::of(b"abcdef");
        let mut writer = store.blobs().resume(&digest, 6).unwrap();
        writer.write_all(b"abc").unwrap();
        writer.keep_for_later(true);
        // Whoever comes while it is written begins by itself.
        assert_eq!(store.blobs().resume(&digest, 6).unwrap().size(), 0);
        drop(writer);

        let mut writer = store.blobs().resume(&digest, 6).unwrap();
        let mut before = String::new();
        writer.written().unwrap().read_to_string(&mut before).unwrap();
        assert_eq!((writer.size(), before.as_str()), (3, "abc"));
        assert_eq!(writer.hasher(&digest).unwrap().length(), 3);
        writer.write_all(b"def").unwrap();
        writer.commit(Some(&digest), Some(6)).unwrap();
        assert_eq!(store.blobs().read(&digest, 10).unwrap(), b"abcdef");
        assert_eq!(std::fs::read_dir(store.inner.root.join(DIRECTORY)).unwrap().count(), 0);
    }

    #[test]
    fn what_nobody_is_at_goes_for_lack_of_room() {
        let (_directory, store) = testing::store();
        assert!(!discard_idle(&store.inner).unwrap());
        let begun = |text: &[u8]| {
            let mut writer = store.blobs().resume(&Digest::of(text), 6).unwrap();
            writer.write_all(b"abc").unwrap();
            writer.keep_for_later(true);
            writer
        };
        let busy = begun(b"busy");
        drop(begun(b"idle"));
        assert!(discard_idle(&store.inner).unwrap());
        assert!(!discard_idle(&store.inner).unwrap());
        drop(busy);
        assert_eq!(store.blobs().resume(&Digest::of(b"busy"), 6).unwrap().size(), 3);
        assert_eq!(store.blobs().resume(&Digest::of(b"idle"), 6).unwrap().size(), 0);
    }

    #[test]
    fn a_beginning_that_is_wrong_or_too_long_goes() {
        let (_directory, store) = testing::store();
        let digest = Digest::of(b"abcdef");
        let begin = |bytes: &[u8], keep| {
            let mut writer = store.blobs().resume(&digest, 6).unwrap();
            writer.write_all(bytes).unwrap();
            writer.keep_for_later(keep);
            writer
        };
        drop(begin(b"too long", true));
        assert_eq!(store.blobs().resume(&digest, 6).unwrap().size(), 0);
        begin(b"abcdeX", false).commit(Some(&digest), Some(6)).unwrap_err();
        assert_eq!(store.blobs().resume(&digest, 6).unwrap().size(), 0);
        drop(begin(b"abc", false));
        assert_eq!(std::fs::read_dir(store.inner.root.join(DIRECTORY)).unwrap().count(), 0);
    }
}
