//! Reading a layer's file on its way out of the store: what does not have its digest is not passed on unnoticed.

use std::fs::File;
use std::io::{self, Read};

use crate::error::{Error, shown};
use crate::layers::LayerId;
use crate::metadata::FileDigest;

/// A regular file of a layer. If the index knows its digest, the read that meets the end fails on other bytes, with
/// an [`Error::DamagedLayer`] inside.
pub struct FileReader {
    file: File,
    expected: Option<(FileDigest, Box<blake3::Hasher>)>,
    layer: LayerId,
    path: String,
}

impl FileReader {
    pub(crate) fn new(file: File, digest: Option<FileDigest>, layer: LayerId, path: &[u8]) -> Self {
        let expected = digest.map(|digest| (digest, Box::default()));
        Self { file, expected, layer, path: shown(path) }
    }

    fn verify(&mut self) -> io::Result<()> {
        match self.expected.take() {
            Some((digest, hasher)) if *hasher.finalize().as_bytes() != digest.0 => {
                let (layer, path, what) = (self.layer, self.path.clone(), "its bytes differ");
                Err(io::Error::new(io::ErrorKind::InvalidData, Error::DamagedLayer { layer, path, what }))
            }
            _ => Ok(()),
        }
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some((_, hasher)) = &mut self.expected {
            hasher.update(&buffer[..count]);
        }
        if count == 0 && !buffer.is_empty() {
            self.verify()?;
        }
        Ok(count)
    }
}

impl std::fmt::Debug for FileReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileReader({:?} of layer {})", self.path, self.layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{layer, store};

    #[test]
    fn changed_bytes_of_the_same_length_are_noticed() {
        let (_directory, store) = store();
        let made = layer(&store, None, "f a hello");
        let mut bytes = Vec::new();
        made.reader(b"a").unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"hello");
        std::fs::write(made.fs_path().join("a"), "jello").unwrap();
        let error = made.reader(b"a").unwrap().read_to_end(&mut bytes).unwrap_err();
        assert_eq!(error.to_string(), "layer 1 is damaged at \"a\": its bytes differ");
    }
}
