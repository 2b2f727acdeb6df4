//! Volumes: directories that outlive containers, `volumes/NAME/_data` below the store.

mod fill;
mod specification;

pub(crate) use specification::{Origin, Specification};

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use kiln_store::Union;

use crate::containers::MountPoint;
use crate::{Engine, Error, names};

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSummary {
    /// Its name.
    pub name: String,
    /// Where its files are.
    pub mountpoint: PathBuf,
}

impl Engine {
    /// All volumes, by name.
    ///
    /// # Errors
    /// The directory of volumes cannot be read.
    pub fn volumes(&self) -> Result<Vec<VolumeSummary>, Error> {
        let directory = self.volume_directory();
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", directory, error)),
        };
        let mut volumes = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Error::io("read", &directory, error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if names::is_name(&name) {
                volumes.push(VolumeSummary { mountpoint: entry.path().join("_data"), name });
            }
        }
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// What a specification mounts. A missing directory of the host is made, a new volume is filled
    /// with what the image has at its place.
    pub(crate) fn mount_point(&self, wanted: &Specification, rootfs: &Union) -> Result<MountPoint, Error> {
        let (volume, source, anonymous) = match &wanted.origin {
            Origin::Host(path) => {
                if !path.exists() {
                    fs::create_dir_all(path).map_err(|error| Error::io("create", path, error))?;
                }
                (None, path.clone(), false)
            }
            Origin::Volume(name) => (Some(name.clone()), self.volume(name, wanted, rootfs)?, false),
            Origin::Anonymous => {
                let name = names::id()?;
                let source = self.volume(&name, wanted, rootfs)?;
                (Some(name), source, true)
            }
        };
        Ok(MountPoint {
            volume,
            source,
            destination: wanted.destination.clone(),
            mode: wanted.mode.clone(),
            writable: wanted.writable,
            anonymous,
        })
    }

    /// A volume's directory, made and filled if it is new. It is filled beside its place and then
    /// put there, so that it is never seen half full.
    fn volume(&self, name: &str, wanted: &Specification, rootfs: &Union) -> Result<PathBuf, Error> {
        let directory = self.volume_directory().join(name);
        let data = directory.join("_data");
        fs::create_dir_all(&data).map_err(|error| Error::io("create", &data, error))?;
        let mut entries = fs::read_dir(&data).map_err(|error| Error::io("read", &data, error))?;
        if !wanted.copies || entries.next().is_some() {
            return Ok(data);
        }
        let new = directory.join(format!("_new-{}", names::id()?));
        fs::create_dir(&new).map_err(|error| Error::io("create", &new, error))?;
        let filled = fill::copy(rootfs, &wanted.destination, &new);
        match filled.and_then(|()| fs::rename(&new, &data).map_err(|error| Error::io("replace", &data, error))) {
            Ok(()) => Ok(data),
            Err(error) => {
                // It is of no use to anybody.
                let _ = fs::remove_dir_all(&new);
                if is_filled_by_another(&error) { Ok(data) } else { Err(error) }
            }
        }
    }

    /// Removes what nobody named; others may have gone before, which is as well.
    pub(crate) fn remove_anonymous_volumes(&self, mounts: &[MountPoint]) {
        for name in mounts.iter().filter(|mount| mount.anonymous).filter_map(|mount| mount.volume.as_ref()) {
            if names::is_name(name) {
                // A leftover is no harm: `volume prune` finds it.
                let _ = fs::remove_dir_all(self.volume_directory().join(name));
            }
        }
    }

    fn volume_directory(&self) -> PathBuf {
        self.store.root().join("volumes")
    }
}

fn is_filled_by_another(error: &Error) -> bool {
    matches!(error, Error::Io { action: "replace", source, .. } if source.kind() == ErrorKind::DirectoryNotEmpty)
}
