//! The full log of every step, on disk.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{At, Result, named};
use crate::fault::{self, Operation};
use crate::store::{Inner, create_directory};

/// The logs of a store.
pub struct Logs<'a> {
    pub(crate) store: &'a Arc<Inner>,
}

/// A log being written, unbuffered: what was written is there after a crash of kiln.
#[derive(Debug)]
pub struct LogWriter {
    file: File,
    path: PathBuf,
}

impl Logs<'_> {
    /// Creates `logs/<build>/<step>.log`, empty. What cannot be part of a file name becomes `_`.
    pub fn create(&self, build: &str, step: &str) -> Result<LogWriter> {
        let directory = self.directory(build);
        create_directory(&directory)?;
        let path = directory.join(format!("{}.log", safe(step)));
        let file = fault::run(Operation::Create, || File::create(&path)).at("create", &path)?;
        Ok(LogWriter { file, path })
    }

    /// The directory of a build's logs.
    pub fn directory(&self, build: &str) -> PathBuf {
        self.store.root.join("logs").join(safe(build))
    }
}

impl LogWriter {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = fault::run(Operation::Write, || self.file.write(bytes));
        written.map_err(|error| named("write", &self.path, error))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn safe(name: &str) -> String {
    let good = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.chars().map(good).take(200).collect();
    if name.trim_start_matches('.').is_empty() { format!("_{name}") } else { name }
}
