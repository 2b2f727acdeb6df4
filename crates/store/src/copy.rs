//! Moving the bytes of one file to another: by the kernel where nobody wants to see them, holes kept.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;

use rustix::fs::SeekFrom as Whence;
use rustix::io::Errno;

use crate::content::with_block;
use crate::fault::{self, Operation};

/// Appends all of `source`, from its beginning, at the place where `target` stands; returns the bytes appended. With a hasher,
/// the bytes are read once and hashed as they pass.
pub(crate) fn copy(source: &File, target: &File, hasher: Option<&mut blake3::Hasher>) -> io::Result<u64> {
    let status = source.metadata()?;
    let sparse = status.len() >= 4096 && status.blocks() * 512 < status.len();
    match (sparse, hasher) {
        (true, hasher) => copy_sparse(source, target, status.len(), hasher),
        (false, Some(hasher)) => {
            rewind(source)?;
            copy_through(source, target, u64::MAX, Some(hasher))
        }
        (false, None) => {
            rewind(source)?;
            copy_in_kernel(source, target, u64::MAX)
        }
    }
}

/// Copies the data between the holes; holes are skipped in the target and hashed as zeros.
fn copy_sparse(
    mut source: &File,
    mut target: &File,
    size: u64,
    mut hasher: Option<&mut blake3::Hasher>,
) -> io::Result<u64> {
    let start = target.stream_position()?;
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(source, Whence::Data(at)) {
            Ok(data) => data.min(size),
            Err(Errno::NXIO) => size,
            Err(errno) => return Err(errno.into()),
        };
        if let Some(hasher) = hasher.as_deref_mut() {
            hash_zeros(hasher, data - at);
        }
        at = data;
        if at == size {
            break;
        }
        let hole = rustix::fs::seek(source, Whence::Hole(at))?.min(size);
        source.seek(SeekFrom::Start(at))?;
        target.seek(SeekFrom::Start(start + at))?;
        let copied = match hasher.as_deref_mut() {
            Some(hasher) => copy_through(source, target, hole - at, Some(hasher))?,
            None => copy_in_kernel(source, target, hole - at)?,
        };
        at += copied;
        if copied == 0 {
            break;
        }
    }
    target.set_len(start + at)?;
    target.seek(SeekFrom::Start(start + at))?;
    Ok(at)
}

/// By copy_file_range, which shares blocks where the file system can; otherwise through a buffer.
fn copy_in_kernel(source: &File, target: &File, limit: u64) -> io::Result<u64> {
    let mut copied = 0;
    while copied < limit {
        let wanted = (limit - copied).min(1 << 30) as usize;
        match fault::run(Operation::Write, || rustix::fs::copy_file_range(source, None, target, None, wanted)) {
            // Pseudo files have no size, and answer 0 although they have bytes.
            Ok(0) if copied == 0 => return copy_through(source, target, limit, None),
            Ok(0) => break,
            Ok(count) => copied += count as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                return Ok(copied + copy_through(source, target, limit - copied, None)?);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(copied)
}

fn copy_through(
    mut source: &File,
    mut target: &File,
    limit: u64,
    mut hasher: Option<&mut blake3::Hasher>,
) -> io::Result<u64> {
    with_block(|block| {
        let mut copied = 0;
        while copied < limit {
            let wanted = block.len().min(usize::try_from(limit - copied).unwrap_or(usize::MAX));
            let count = match source.read(&mut block[..wanted]) {
                Ok(0) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                count => count?,
            };
            fault::run(Operation::Write, || target.write_all(&block[..count]))?;
            if let Some(hasher) = hasher.as_deref_mut() {
                hasher.update(&block[..count]);
            }
            copied += count as u64;
        }
        Ok(copied)
    })
}

fn hash_zeros(hasher: &mut blake3::Hasher, mut count: u64) {
    static ZEROS: [u8; 65536] = [0; 65536];
    while count > 0 {
        let part = count.min(ZEROS.len() as u64);
        hasher.update(&ZEROS[..part as usize]);
        count -= part;
    }
}

fn rewind(mut source: &File) -> io::Result<()> {
    match source.seek(SeekFrom::Start(0)) {
        // What cannot seek is read from where it stands.
        Err(error) if error.raw_os_error() == Some(libc::ESPIPE) => Ok(()),
        answer => answer.map(drop),
    }
}

/// Whether two files, each from its beginning, have the same bytes.
pub(crate) fn equal(mut a: File, mut b: File) -> io::Result<bool> {
    with_block(|block| {
        let (left, right) = block.split_at_mut(block.len() / 2);
        loop {
            let count = fill(&mut a, left)?;
            if fill(&mut b, right)? != count || left[..count] != right[..count] {
                return Ok(false);
            }
            if count < left.len() {
                return Ok(true);
            }
        }
    })
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copies with and without hashing and compares bytes, digest and holes.
    fn check(write: impl Fn(&mut File)) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("source");
        write(&mut File::create(&path).unwrap());
        let bytes = std::fs::read(&path).unwrap();
        for hashing in [false, true] {
            let (source, target) = (File::open(&path).unwrap(), directory.path().join("target"));
            let file = File::create(&target).unwrap();
            let mut hasher = blake3::Hasher::new();
            let count = copy(&source, &file, hashing.then_some(&mut hasher)).unwrap();
            assert_eq!(count, bytes.len() as u64);
            assert!(std::fs::read(&target).unwrap() == bytes);
            if hashing {
                assert_eq!(hasher.finalize(), blake3::hash(&bytes));
            }
            assert!(file.metadata().unwrap().blocks() <= source.metadata().unwrap().blocks() + 16);
        }
    }

    #[test]
    fn bytes_and_holes_arrive() {
        check(|_| {});
        check(|file| file.write_all(b"hello").unwrap());
        check(|file| file.write_all(&vec![7; BIG]).unwrap());
        check(|file| file.set_len(BIG as u64).unwrap());
        check(|file| {
            file.seek(SeekFrom::Start(1 << 20)).unwrap();
            file.write_all(b"island").unwrap();
            file.set_len(4 << 20).unwrap();
        });
    }

    const BIG: usize = 700_001;

    #[test]
    fn a_pseudo_file_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        copy(&File::open("/proc/version").unwrap(), &File::create(&target).unwrap(), None).unwrap();
        assert_eq!(std::fs::read(target).unwrap(), std::fs::read("/proc/version").unwrap());
    }

    #[test]
    fn equality_sees_the_last_byte() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            std::fs::write(directory.path().join(name), bytes).unwrap();
            File::open(directory.path().join(name)).unwrap()
        };
        let mut bytes = vec![1; BIG];
        assert!(equal(file("a", &bytes), file("b", &bytes)).unwrap());
        bytes[BIG - 1] = 2;
        assert!(!equal(file("a", &vec![1; BIG]), file("b", &bytes)).unwrap());
        assert!(!equal(file("a", &bytes[..BIG - 1]), file("b", &bytes)).unwrap());
    }
}
