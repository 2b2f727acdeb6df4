//! An archive on its way into a file of the user's.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::os_error;

/// A file that gets its name when it is complete; what is no ordinary file is written in place.
pub(super) struct ArchiveFile {
    file: BufWriter<File>,
    path: PathBuf,
    temporary: Option<PathBuf>,
}

impl ArchiveFile {
    /// Opens `path`, or a file beside it that takes its place in the end. A directory and a device are refused, and so
    /// is a directory that is missing; the message begins with what failed by that.
    pub(super) fn create(path: &Path, what_fails: &str) -> Result<Self, Failure> {
        let place = Self::place(path).map_err(|reason| Failure::new(format!("{what_fails}: {reason}")))?;
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        let file = options.open(place.as_deref().unwrap_or(path));
        let file = file.map_err(|error| {
            Failure::new(format!("{what_fails}: open {}: {}", path.display(), os_error::words(&error)))
        })?;
        Ok(ArchiveFile { file: BufWriter::new(file), path: path.to_owned(), temporary: place })
    }

    /// The file to write first, where `path` shall be an ordinary one; or why nothing can be written there.
    fn place(path: &Path) -> Result<Option<PathBuf>, String> {
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        if let Some((directory, error)) = directory.and_then(|path| Some((path, path.metadata().err()?))) {
            return Err(format!("invalid output path: stat {}: {}", directory.display(), os_error::words(&error)));
        }
        let kind = path.metadata().ok().map(|found| found.file_type());
        match kind {
            Some(kind) if kind.is_dir() => Err("cannot write to a directory".to_owned()),
            Some(kind) if kind.is_block_device() => Err("cannot write to a block device file".to_owned()),
            Some(kind) if kind.is_char_device() => Err("cannot write to a character device file".to_owned()),
            Some(kind) if !kind.is_file() => Ok(None),
            _ => {
                let mut name = path.as_os_str().to_owned();
                name.push(format!(".{}.partial", std::process::id()));
                Ok(Some(PathBuf::from(name)))
            }
        }
    }

    /// Gives the file its name.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let write = |error| os_error::failure("write", &self.path, &error);
        self.file.flush().map_err(write)?;
        if let Some(temporary) = self.temporary.take() {
            std::fs::rename(&temporary, &self.path).map_err(|error| os_error::failure("open", &self.path, &error))?;
        }
        Ok(())
    }
}

impl Drop for ArchiveFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // It was given up; a leftover would only waste room.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

impl Write for ArchiveFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
