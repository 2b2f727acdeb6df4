//! The full log of every step.
use crate::*;
use std::io;
use std::path::{Path, PathBuf};

/// The logs of a store.
pub struct Logs<'a> {
    pub(crate) store: &'a Store,
}

/// A log being written, unbuffered: what was written is there after a crash of kiln.
pub struct LogWriter {}

impl Logs<'_> {
    /// Creates `logs/<build>/<step>.log`. Both names are made safe for a file name.
    pub fn create(&self, _build: &str, _step: &str) -> Result<LogWriter> {
        todo!()
    }
    /// The directory of a build's logs.
    pub fn directory(&self, _build: &str) -> PathBuf {
        todo!()
    }
}
impl LogWriter {
    /// Where it is.
    pub fn path(&self) -> &Path {
        todo!()
    }
}
impl io::Write for LogWriter {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        todo!()
    }
    fn flush(&mut self) -> io::Result<()> {
        todo!()
    }
}
