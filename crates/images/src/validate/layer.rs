//! The tar of a layer: well formed, links after their targets, and free of what no unpacker takes.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};

use kiln_oci::{Descriptor, Digest, Hasher};

use super::{Checker, Tee};
use crate::compression::{Compression, decompress};
use crate::tar::{Entry, EntryKind, TarError, TarReader};

impl Checker {
    /// Reads a layer to its end; its diff id, unless it cannot be read.
    pub(super) fn read_layer(&mut self, layer: &Descriptor) -> io::Result<Option<Digest>> {
        let place = layer.digest.to_string();
        let file = File::open(self.blob_file(&layer.digest))?;
        let mut plain = decompress(file)?;
        let promised = Compression::of_media_type(&layer.media_type);
        if promised.is_some_and(|promised| promised != plain.compression()) {
            self.problem(&place, format!("is {:?}, unlike its media type", plain.compression()));
        }
        let mut hasher = Hasher::sha256();
        match self.entries(&place, Tee { file: &mut plain, hasher: &mut hasher }) {
            Ok(()) => Ok(Some(hasher.finish())),
            Err(error) => {
                self.problem(&place, error.to_string());
                Ok(None)
            }
        }
    }

    fn entries(&mut self, place: &str, tar: impl Read) -> Result<(), TarError> {
        let mut reader = TarReader::new(tar);
        let mut seen = HashSet::new();
        while let Some(entry) = reader.next_entry()? {
            if let Some(what) = fault(&entry, &seen) {
                let path = String::from_utf8_lossy(&entry.path).into_owned();
                self.problem(place, format!("{path:?} {what}"));
            }
            seen.insert(trimmed(&entry.path).to_vec());
        }
        let offset = reader.offset();
        let drained = io::copy(&mut reader.into_inner(), &mut io::sink());
        drained.map(|_| ()).map_err(|source| TarError::Read { offset, source })
    }
}

fn fault(entry: &Entry, seen: &HashSet<Vec<u8>>) -> Option<&'static str> {
    let path = trimmed(&entry.path);
    if entry.path.starts_with(b"/") || path.split(|&byte| byte == b'/').any(|part| part == b"..") {
        return Some("leads out of the root");
    }
    if seen.contains(path) {
        return Some("is there twice");
    }
    match &entry.kind {
        EntryKind::HardLink { target } if !seen.contains(trimmed(target)) => {
            Some("is a hard link to something that does not come before it")
        }
        EntryKind::CharacterDevice(device) if device.major == 0 && device.minor == 0 => {
            Some("is the device 0:0, which deletes what lies below")
        }
        _ => None,
    }
}

fn trimmed(path: &[u8]) -> &[u8] {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    path.strip_suffix(b"/").unwrap_or(path)
}
