//! What a process tells others about something that it works on alone: lines that those who wait can follow.
//!
//! An announcement is a file in the session's part of `tmp/`, so that nothing of it outlives its process for long. Its
//! end takes its name away; who reads it already can go on reading what was written last. What the lines mean is not
//! known here.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use crate::error::{At, Error, Result};
use crate::session;
use crate::store::Store;

/// The longest that is read at once, in bytes.
const PIECE: usize = 64 << 10;

/// Something that is announced; dropping it ends that.
#[derive(Debug)]
pub struct Announcement {
    file: File,
    path: PathBuf,
}

/// A file that another process writes, read as it grows.
#[derive(Debug)]
pub struct Following {
    file: File,
    offset: u64,
}

impl Store {
    /// Announces work on `name`, which only the holder of its lock does; no lines yet.
    ///
    /// # Errors
    /// A file that cannot be made.
    pub fn announce(&self, name: &[u8]) -> Result<Announcement> {
        let path = self.root().join("tmp").join(self.inner.session.name()).join(file_name(name));
        let file = File::create(&path).at("create", &path)?;
        Ok(Announcement { file, path })
    }

    /// What another process announces under `name`, if one does now.
    ///
    /// # Errors
    /// A directory that cannot be listed.
    pub fn announced(&self, name: &[u8]) -> Result<Option<Following>> {
        let (tmp, name) = (self.root().join("tmp"), file_name(name));
        for session in std::fs::read_dir(&tmp).at("list", &tmp)? {
            let session = session.at("list", &tmp)?;
            let Ok(following) = Following::open(session.path().join(&name)) else { continue };
            // What a killed process left says nothing.
            if session::is_alive(&session.file_name().to_string_lossy(), &self.inner.locks)? {
                return Ok(Some(following));
            }
        }
        Ok(None)
    }
}

impl Announcement {
    /// Tells those who wait; `text` gets a line end.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn tell(&mut self, text: &str) -> Result<()> {
        self.file.write_all(format!("{text}\n").as_bytes()).at("write", &self.path)
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // What stays goes with the session.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Following {
    /// Follows a file from its beginning.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(path: PathBuf) -> Result<Self> {
        let file = File::open(&path).map_err(|error| Error::io("open", &path, error))?;
        Ok(Following { file, offset: 0 })
    }

    /// Whether both follow the same file.
    pub fn is_same(&self, other: &Following) -> bool {
        let place = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
        place(&self.file) == place(&other.file)
    }

    /// What came since the last time; empty if nothing did.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; PIECE];
        let count = self.file.read_at(&mut bytes, self.offset)?;
        self.offset += count as u64;
        bytes.truncate(count);
        Ok(bytes)
    }
}

fn file_name(name: &[u8]) -> String {
    format!("announced-{}", blake3::hash(name).to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Mode;

    #[test]
    fn who_follows_reads_the_last_words_although_the_name_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| Store::open(directory.path(), Mode::Root).unwrap());
        assert!(other.announced(b"step").unwrap().is_none());
        let mut announcement = one.announce(b"step").unwrap();
        let mut following = other.announced(b"step").unwrap().unwrap();
        assert!(following.read().unwrap().is_empty());
        announcement.tell("begun").unwrap();
        assert_eq!(following.read().unwrap(), b"begun\n");
        announcement.tell("over").unwrap();
        assert!(following.is_same(&other.announced(b"step").unwrap().unwrap()));
        drop(announcement);
        let next = one.announce(b"step").unwrap();
        assert!(!following.is_same(&other.announced(b"step").unwrap().unwrap()));
        drop(next);
        assert_eq!(following.read().unwrap(), b"over\n");
        assert!(other.announced(b"step").unwrap().is_none());
        assert!(other.announced(b"another").unwrap().is_none());
    }
}
