//! The standard input as a context: a tar archive by its beginning, otherwise a Dockerfile.

use std::io::{Cursor, Read, stdin};

use kiln_images::unpack;

/// What came on the standard input.
pub(super) enum Stdin {
    /// An archive, still to be read.
    Archive(Box<dyn Read + Send>),
    /// All of something else.
    Text(Vec<u8>),
}

/// Looks at the beginning of the standard input.
pub(super) fn context() -> std::io::Result<Stdin> {
    let mut start = Vec::new();
    stdin().lock().take(unpack::START as u64).read_to_end(&mut start)?;
    if unpack::starts_as_archive(&start) {
        return Ok(Stdin::Archive(Box::new(Cursor::new(start).chain(stdin()))));
    }
    stdin().lock().read_to_end(&mut start)?;
    Ok(Stdin::Text(start))
}

/// All of the standard input.
pub(super) fn read() -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}
