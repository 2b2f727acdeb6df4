//! A local directory as the main context: its Dockerfile and the ignore file that goes with it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use kiln_build::{DockerfileText, IgnoreFile};

use super::{DOCKERFILE, ignore, text, unreadable};
use crate::failure::Failure;

/// The Dockerfile of a directory, and its ignore file. `named` is the path that `-f` says; `given` is a Dockerfile that
/// came from elsewhere.
pub(super) fn main(
    directory: &Path,
    named: Option<&Path>,
    given: Option<DockerfileText>,
) -> Result<(DockerfileText, Option<IgnoreFile>), Failure> {
    let path = named.map_or_else(|| default_path(directory), Path::to_owned);
    let dockerfile = match given {
        Some(given) => given,
        None => read(&path)?,
    };
    Ok((dockerfile, ignore::beside(&path, directory)?))
}

/// `Dockerfile`, or `dockerfile` where only that is there.
fn default_path(directory: &Path) -> PathBuf {
    let path = directory.join(DOCKERFILE);
    let lower = directory.join(DOCKERFILE.to_lowercase());
    if !path.exists() && lower.is_file() { lower } else { path }
}

fn read(path: &Path) -> Result<DockerfileText, Failure> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let shown = path.display();
            unreadable(format!("open {shown}: no such file or directory{}", similar(path)))
        }
        _ => Failure::new(format!("ERROR: failed to build: failed to read dockerfile {}: {error}", path.display())),
    })?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Ok(text(&name, &bytes))
}

/// A file in the same directory whose name may have been meant.
fn similar(path: &Path) -> String {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return String::new() };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let Ok(entries) = std::fs::read_dir(directory) else { return String::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    hint(&name.to_string_lossy(), names)
}

/// Which of the names that are there may have been meant.
pub(super) fn hint(name: &str, mut there: impl Iterator<Item = String>) -> String {
    let same = there.find(|other| {
        let other = other.to_ascii_lowercase();
        other == name.to_ascii_lowercase() || other == "containerfile"
    });
    same.map_or_else(String::new, |other| format!("\nhint: there is {other:?}; name it with -f"))
}
