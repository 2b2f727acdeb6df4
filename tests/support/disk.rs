//! A fresh file system in a file, which can be crashed. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kiln::{answer, tool};
use crate::running::wait_until;

/// Ends a file system as a crash of the machine does: what is not on the disk is lost. The arguments are the mount point
/// and files that are synced just before, as another program's sync may do.
const CRASH: &str = "
import fcntl, os, struct, sys
for path in sys.argv[2:]:
    os.fsync(os.open(path, os.O_RDONLY))
FS_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587d, 2
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), FS_IOC_SHUTDOWN, struct.pack('I', NO_LOG_FLUSH))
";

/// What a disk is formatted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4.
    Ext4,
    /// xfs, whose smallest size is 300 MiB.
    Xfs,
}

/// Mounted while this lives.
pub struct Disk {
    mounted: PathBuf,
    kind: FileSystem,
}

impl FileSystem {
    /// Whether this machine can make and mount one; if not, why.
    pub fn is_missing(self) -> Option<String> {
        let program = self.maker();
        if let Err(error) = Command::new(program).arg("-V").output() {
            return Some(format!("{program}: {error}"));
        }
        let loops = answer(Command::new("losetup").arg("-f"));
        (!loops.status.success()).then(|| loops.stderr.trim_end().to_owned())
    }

    fn maker(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "mkfs.ext4",
            FileSystem::Xfs => "mkfs.xfs",
        }
    }
}

impl Disk {
    /// Makes a sparse image of 12 GiB beside `place` and mounts it there.
    pub fn new(place: &Path) -> Disk {
        Disk::of_size(place, "12G")
    }

    /// The same with a size as `truncate` takes it.
    pub fn of_size(place: &Path, size: &str) -> Disk {
        Disk::formatted(place, size, FileSystem::Ext4)
    }

    /// The same with another file system.
    pub fn formatted(place: &Path, size: &str, kind: FileSystem) -> Disk {
        let image = text(&image_of(place)).to_owned();
        tool("truncate", &["-s", size, &image]);
        match kind {
            FileSystem::Ext4 => tool(kind.maker(), &["-q", "-F", "-E", "lazy_itable_init=1", &image]),
            FileSystem::Xfs => tool(kind.maker(), &["-q", "-f", &image]),
        };
        mount(place, kind);
        Disk { mounted: place.to_path_buf(), kind }
    }

    /// The same file system with the same content, mounted at another place.
    pub fn copy(&self, place: &Path) -> Disk {
        tool("fsfreeze", &["-f", text(&self.mounted)]);
        let (from, to) = (image_of(&self.mounted), image_of(place));
        let copied = answer(Command::new("cp").arg("--sparse=always").arg(&from).arg(&to));
        tool("fsfreeze", &["-u", text(&self.mounted)]);
        copied.succeeded();
        mount(place, self.kind);
        Disk { mounted: place.to_path_buf(), kind: self.kind }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mounted
    }

    /// Loses everything that is not on the disk, but for `synced`, and mounts it again. Nobody may have it open.
    pub fn crash(&self, synced: &[&Path]) {
        let mut crash = Command::new("python3");
        answer(crash.args(["-c", CRASH]).arg(&self.mounted).args(synced)).succeeded();
        tool("umount", &[text(&self.mounted)]);
        // Another process may have begun a mount namespace meanwhile, and have it mounted there until it ends.
        let image = image_of(&self.mounted);
        wait_until("the end of the crashed mount", || tool("losetup", &["-j", text(&image)]).is_empty());
        mount(&self.mounted, self.kind);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(&self.mounted).status();
        if !std::thread::panicking() {
            assert!(done.is_ok_and(|status| status.success()), "cannot unmount {}", self.mounted.display());
        }
    }
}

fn mount(place: &Path, kind: FileSystem) {
    std::fs::create_dir_all(place).expect("mount point");
    // A copy has the identity of its original.
    let options = if kind == FileSystem::Xfs { "loop,nouuid" } else { "loop" };
    tool("mount", &["-o", options, text(&image_of(place)), text(place)]);
}

fn image_of(place: &Path) -> PathBuf {
    place.with_extension("img")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}
