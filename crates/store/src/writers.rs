//! Whether a file's status will tell of the next change of its bytes, so that a digest may be remembered by it.
//!
//! A process that has a file mapped can go on storing into a page without a trace in the file's times, once the first
//! store was noted. And some file systems have no time of change at all, only one that anybody can set. Not known
//! here: a mapping made later in a tmpfs, where the kernel never notes stores into a mapping.

use std::fs::File;
use std::os::fd::AsRawFd;

/// Types of file systems whose `ctime` is that of the last modification, or whatever a server likes: FAT, exFAT, FUSE
/// (sshfs for one), VirtualBox's shared folders.
const WITHOUT_CHANGE_TIME: [u32; 4] = [0x4d44, 0x2011_bab0, 0x6573_5546, 0x786f_4256];

/// The command of fcntl(2) that says which signal tells of a lease that is broken, on all machines that kiln runs on.
const F_SETSIG: libc::c_int = 10;

/// Whether every later change of a file that is open for reading will show in its status. Ask before it is read.
pub fn status_tells_changes(file: &File) -> bool {
    let kind = rustix::fs::fstatfs(file).map(|status| status.f_type as u32);
    !kind.is_ok_and(|kind| WITHOUT_CHANGE_TIME.contains(&kind)) && !has_writer(file)
}

/// Whether any process has a file open for writing, or mapped so: the kernel then grants no lease. Where it grants none
/// to anybody, nothing is known and the answer is no.
fn has_writer(file: &File) -> bool {
    let call = |command, argument: libc::c_int| {
        // SAFETY: the descriptor is open for the call, and these commands take a number.
        unsafe { libc::fcntl(file.as_raw_fd(), command, argument) }
    };
    // Who opens the file for writing while the lease is held has us told by a signal, which must not end us.
    if call(F_SETSIG, libc::SIGURG) != 0 {
        return false;
    }
    if call(libc::F_SETLEASE, libc::F_RDLCK) == 0 {
        call(libc::F_SETLEASE, libc::F_UNLCK);
        return false;
    }
    std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_open_for_writing_may_change_unnoticed() {
        let directory = crate::testing::directory();
        let path = directory.path().join("file");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert!(!status_tells_changes(&reader));
        drop(writer);
        assert!(status_tells_changes(&reader));
        // No lease is left that an opening writer would have to wait for.
        drop(File::options().write(true).open(&path).unwrap());
    }
}
