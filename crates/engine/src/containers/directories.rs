//! What a container keeps on disk: `fs`, its changes, and `work`, for overlayfs.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kiln_sandbox::Upper;
use kiln_store::{Metadata, Timestamp, Union};
use rustix::fs::{Gid, Uid, chown};

use crate::Error;

/// The directories, made if this is the first start. `work` comes last: with it all is there.
pub(super) fn upper(directory: &Path, rootfs: &Union, volatile: bool) -> Result<Upper, Error> {
    let upper = Upper { fs: directory.join("fs"), work: directory.join("work"), volatile };
    if upper.work.exists() {
        return Ok(upper);
    }
    make(&upper.fs)?;
    set_root_metadata(&upper.fs, rootfs)?;
    make(&upper.work)?;
    Ok(upper)
}

/// The upper directory has the mode and owner that the image's root has: it is what `/` shows.
fn set_root_metadata(upper: &Path, rootfs: &Union) -> Result<(), Error> {
    let root = rootfs.lookup("").map(|found| found.entry.metadata());
    let root = root.unwrap_or_else(|| Metadata::root_owned(0o755, Timestamp::now()));
    if (root.uid, root.gid) != (0, 0) {
        // In a user namespace the owner may not exist; then it stays root.
        let _ = chown(upper, Some(Uid::from_raw(root.uid)), Some(Gid::from_raw(root.gid)));
    }
    let mode = fs::Permissions::from_mode(root.mode & 0o7777);
    fs::set_permissions(upper, mode).map_err(|error| Error::io("set the mode of", upper, error))
}

fn make(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(Error::io("create", path, error)),
        _ => Ok(()),
    }
}
