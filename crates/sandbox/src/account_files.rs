//! Where `/etc/passwd` and `/etc/group` of a root file system come from.

use std::io::Read;
use std::path::Path;

use kiln_store::{Kind, Union};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};

use crate::Error;
use crate::users::{Accounts, FILE_LIMIT};

/// The account files of a root file system, read.
#[derive(Clone, Debug, Default)]
pub struct AccountFiles {
    passwd: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
}

impl AccountFiles {
    /// Of layers. What is no regular file is as good as missing.
    ///
    /// # Errors
    /// Files that cannot be read, or are longer than [`FILE_LIMIT`].
    pub fn of_layers(rootfs: &Union) -> Result<Self, Error> {
        Ok(AccountFiles { passwd: read(rootfs, "etc/passwd")?, group: read(rootfs, "etc/group")? })
    }

    /// With what a container that ran before has put into its upper directory in their place.
    pub fn changed_by(mut self, upper: &Path) -> Self {
        for (file, name) in [(&mut self.passwd, "etc/passwd"), (&mut self.group, "etc/group")] {
            match read_beneath(upper, name) {
                InUpper::Same => {}
                InUpper::Deleted => *file = None,
                InUpper::Bytes(bytes) => *file = Some(bytes),
            }
        }
        self
    }

    /// For the questions of [`crate::users`].
    pub fn accounts(&self) -> Accounts<'_> {
        Accounts { passwd: self.passwd.as_deref(), group: self.group.as_deref() }
    }
}

fn read(rootfs: &Union, path: &str) -> Result<Option<Vec<u8>>, Error> {
    match rootfs.resolve(path, true)?.found {
        Some(found) if found.entry.kind() == Kind::File => Ok(rootfs.read_small(path, FILE_LIMIT)?),
        _ => Ok(None),
    }
}

enum InUpper {
    Same,
    Deleted,
    Bytes(Vec<u8>),
}

/// A regular file in an upper directory; links are not followed, for they may lead anywhere.
fn read_beneath(upper: &Path, name: &str) -> InUpper {
    let Ok(directory) = open(upper, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else {
        return InUpper::Same;
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let Ok(found) = openat2(&directory, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) else {
        return InUpper::Same;
    };
    let kind = rustix::fs::fstat(&found).map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(rustix::fs::FileType::CharacterDevice) => return InUpper::Deleted,
        Ok(rustix::fs::FileType::RegularFile) => {}
        _ => return InUpper::Same,
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat2(&directory, name, flags, Mode::empty(), resolve) else { return InUpper::Same };
    let mut bytes = Vec::new();
    match std::fs::File::from(file).take(FILE_LIMIT).read_to_end(&mut bytes) {
        Ok(_) => InUpper::Bytes(bytes),
        Err(_) => InUpper::Same,
    }
}
