//! Which ignore file counts: `NAME.dockerignore` beside the Dockerfile, or `.dockerignore` of the context.

use std::io::ErrorKind;
use std::path::Path;

use kiln_build::IgnoreFile;

use crate::failure::Failure;

/// The ignore file of a context.
pub(super) const NAME: &str = ".dockerignore";

/// The ignore file for a Dockerfile and a directory.
pub(super) fn beside(dockerfile: &Path, directory: &Path) -> Result<Option<IgnoreFile>, Failure> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(NAME);
    match read(Path::new(&own))? {
        Some(own) => Ok(Some(own)),
        None => of_directory(directory),
    }
}

/// The ignore file of a directory by itself.
pub(super) fn of_directory(directory: &Path) -> Result<Option<IgnoreFile>, Failure> {
    read(&directory.join(NAME))
}

fn read(path: &Path) -> Result<Option<IgnoreFile>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            Ok(Some(IgnoreFile { name, text: kiln_dockerfile::text_of(&bytes) }))
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(Failure::new(format!("ERROR: cannot read {}: {error}", path.display()))),
    }
}
