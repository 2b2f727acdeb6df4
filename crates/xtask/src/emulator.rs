//! The emulator for programs of another architecture, out of Debian's package; it is not installed, for that would
//! register it with the kernel of this machine.

use std::fs;
use std::path::Path;

use crate::command::Outcome;
use crate::{foreign, layout};

/// Puts the emulator into `directory`, unless it is there: `qemu-aarch64-static`, on an arm64 machine that for amd64.
pub(crate) fn ensure(directory: &Path) -> Outcome {
    let name = match layout::architecture() {
        "arm64" => "qemu-x86_64-static",
        _ => "qemu-aarch64-static",
    };
    let place = directory.join(name);
    if place.is_file() {
        return Ok(());
    }
    println!("fetching {name} into {}", directory.display());
    let work = directory.join(format!(".{name}.{}", std::process::id()));
    let result = foreign::unpacked("qemu-user-static", None, &work).and_then(|tree| {
        let program = tree.join("usr/bin").join(name);
        fs::rename(&program, &place).map_err(|e| format!("{}: {e}", program.display()))
    });
    let cleared = fs::remove_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()));
    result.and(cleared)
}
