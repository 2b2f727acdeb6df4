//! The standard input as a context: a tar archive by its beginning, otherwise a Dockerfile.

use std::io::{Cursor, ErrorKind, Read, stdin};

use kiln_images::unpack;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What came on the standard input.
pub(super) enum Stdin {
    /// An archive, still to be read.
    Archive(Box<dyn Read + Send>),
    /// All of something else.
    Text(Vec<u8>),
}

/// The standard input, of which nothing is read that nobody asked for.
struct Unbuffered;

impl Read for Unbuffered {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        Ok(rustix::io::read(stdin(), buffer)?)
    }
}

/// How long a read waits for more bytes.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The standard input, which says [`ErrorKind::WouldBlock`] while nothing comes, so that a reader can be cancelled.
struct Patient;

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let stdin = stdin();
        let ready = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&PATIENCE))?;
        if ready == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        Unbuffered.read(buffer)
    }
}

/// Looks at the beginning of the standard input.
pub(super) fn context() -> std::io::Result<Stdin> {
    let mut start = Vec::new();
    Unbuffered.take(unpack::START as u64).read_to_end(&mut start)?;
    if unpack::starts_as_archive(&start) {
        return Ok(Stdin::Archive(Box::new(Cursor::new(start).chain(Patient))));
    }
    Unbuffered.read_to_end(&mut start)?;
    Ok(Stdin::Text(start))
}

/// All of the standard input.
pub(super) fn read() -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}
