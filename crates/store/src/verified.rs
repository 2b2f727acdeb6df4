//! Reading a layer's file on its way out of the store: what does not have its digest is not passed on unnoticed.

use std::fs::File;
use std::io::{self, Read};

use crate::layers::Layer;
use crate::metadata::FileDigest;

/// A regular file of a layer. If the index knows its digest, the read that meets the end fails on other bytes, with
/// an [`Error::DamagedLayer`] inside.
pub struct FileReader {
    file: File,
    expected: Option<(FileDigest, Box<blake3::Hasher>)>,
    layer: Layer,
    path: Vec<u8>,
}

impl FileReader {
    pub(crate) fn new(file: File, digest: Option<FileDigest>, layer: &Layer, path: &[u8]) -> Self {
        let expected = digest.map(|digest| (digest, Box::default()));
        Self { file, expected, layer: layer.clone(), path: path.to_vec() }
    }

    fn verify(&mut self) -> io::Result<()> {
        match self.expected.take() {
            Some((digest, hasher)) if *hasher.finalize().as_bytes() != digest.0 => {
                let damaged = self.layer.damaged(&self.path, "its bytes differ");
                Err(io::Error::new(io::ErrorKind::InvalidData, damaged))
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
        write!(f, "FileReader({:?} of {:?})", crate::error::shown(&self.path), self.layer)
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
        assert!(error.to_string().starts_with("layer 1 is damaged at \"a\": its bytes differ"), "{error}");
        assert!(store.inner.noted.take().layers.contains(&made.id()));
    }
}
