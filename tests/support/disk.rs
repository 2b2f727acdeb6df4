//! A fresh ext4 file system in a file. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kiln::tool;

/// Mounted while this lives.
pub struct Disk {
    mounted: PathBuf,
}

impl Disk {
    /// Makes a sparse image of 12 GiB beside `place` and mounts it there.
    pub fn new(place: &Path) -> Disk {
        Disk::of_size(place, "12G")
    }

    /// The same with a size as `truncate` takes it.
    pub fn of_size(place: &Path, size: &str) -> Disk {
        let image = place.with_extension("img");
        std::fs::create_dir_all(place).expect("mount point");
        let text = |path: &Path| path.to_str().expect("path in UTF-8").to_owned();
        let (image, mounted) = (text(&image), text(place));
        tool("truncate", &["-s", size, &image]);
        tool("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=1", &image]);
        tool("mount", &["-o", "loop", &image, &mounted]);
        Disk { mounted: place.to_path_buf() }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mounted
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
