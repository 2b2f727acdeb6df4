//! What a container's files are, apart from its mounts: layers of its image, what docker puts into every container,
//! and a copy of its own changes.

use kiln_store::{Kind, Layer, Metadata, Timestamp, Union};

use super::record::Container;
use crate::{Engine, Error};

/// Empty files that something is mounted on while a container runs; no change of the container's.
const MOUNT_POINTS: [&str; 5] = [".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"];
/// The directories among what docker puts into every container.
const DIRECTORIES: [&str; 4] = ["dev/pts", "dev/shm", "proc", "sys"];
/// Docker's link to the list of mounts, and where it leads.
const MOUNT_LIST: (&str, &str) = ("etc/mtab", "/proc/mounts");

impl Engine {
    /// The layers that the container rests on, bottom first.
    pub(super) fn container_layers(&self, container: &Container) -> Result<Vec<Layer>, Error> {
        let layers = self.store.layers();
        let missing = |id| Error::from(kiln_store::Error::MissingLayer(id));
        container.row.layers.iter().map(|id| layers.get(*id)?.ok_or_else(|| missing(*id))).collect()
    }

    /// A copy of what the container changed, as a layer over `lower`; `None` if it changed nothing.
    pub(super) fn changes(&self, container: &Container, lower: &Union) -> Result<Option<Layer>, Error> {
        let fs = self.store.containers().directory(&container.id).join("fs");
        if !fs.exists() {
            return Ok(None);
        }
        let layer = self.store.layers().copy_of_upper(&fs, lower, &MOUNT_POINTS);
        // One that was removed meanwhile was not copied as a whole.
        self.container(&container.id)?;
        let layer = layer?;
        Ok((!layer.is_empty()?).then_some(layer))
    }

    /// A layer over `lower` with what docker puts into every container where the image has nothing of that name.
    pub(super) fn usual_files(&self, lower: &Union) -> Result<Layer, Error> {
        let now = Timestamp::now();
        let root = lower.lookup("").map(|found| found.entry.metadata());
        let root = root.unwrap_or_else(|| Metadata::root_owned(0o755, now));
        let metadata = Metadata::root_owned(0o755, now);
        let writer = self.store.layers().stage(&root)?.writer_over(lower.clone())?;
        let is_free = |path: &str| {
            let parent = path.rsplit_once('/').and_then(|(parent, _)| lower.lookup(parent));
            lower.lookup(path).is_none() && parent.is_none_or(|parent| parent.entry.kind() == Kind::Directory)
        };
        for path in DIRECTORIES.into_iter().filter(|path| is_free(path)) {
            writer.directory(path, &metadata)?;
        }
        for path in MOUNT_POINTS.into_iter().filter(|path| is_free(path)) {
            writer.file(path, &metadata, kiln_store::Hashing::Now)?.finish()?;
        }
        if is_free(MOUNT_LIST.0) {
            writer.symlink(MOUNT_LIST.0, MOUNT_LIST.1.as_bytes(), &metadata)?;
        }
        Ok(writer.commit()?)
    }
}
