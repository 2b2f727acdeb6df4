//! Moving captured output from the pipes to whoever wants it, without holding more than one buffer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::Stream;
use crate::execution::Output;
use crate::running::Pipes;

const BUFFER: usize = 64 * 1024;

/// Whether a process ended before its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// It has ended, or its pipes have and there is no deadline.
    InTime,
    /// The deadline came first.
    Late,
}

/// Reads both pipes until their end, or until the process has ended and they are empty: somebody outside may have
/// been handed a descriptor of them. With a deadline the end of the process is waited for, but no longer than that.
pub(crate) fn forward(
    pipes: &Pipes,
    ended: Option<BorrowedFd<'_>>,
    deadline: Option<Instant>,
    output: &mut Output<'_>,
) -> io::Result<Over> {
    let mut open = vec![(Stream::Stdout, pipes.stdout.as_fd()), (Stream::Stderr, pipes.stderr.as_fd())];
    for (_, pipe) in &open {
        fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
    }
    let mut buffer = vec![0; BUFFER];
    while !open.is_empty() || (deadline.is_some() && ended.is_some()) {
        let Some(over) = wait(&open, ended, deadline)? else { return Ok(Over::Late) };
        let mut failed = None;
        open.retain(|(stream, pipe)| match drain(*stream, *pipe, &mut buffer, output) {
            Ok(at_end) => !at_end,
            Err(error) => {
                failed = Some(error);
                false
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        if over {
            break;
        }
    }
    Ok(Over::InTime)
}

/// Waits until there is something to read; whether the process has ended. Nothing if the deadline comes first.
fn wait(
    open: &[(Stream, BorrowedFd<'_>)],
    ended: Option<BorrowedFd<'_>>,
    deadline: Option<Instant>,
) -> io::Result<Option<bool>> {
    let mut polled: Vec<PollFd<'_>> =
        open.iter().map(|(_, pipe)| PollFd::from_borrowed_fd(*pipe, PollFlags::IN)).collect();
    polled.extend(ended.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
        // What is too long for the kernel's clock is waited for without one.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut polled, left.as_ref()) {
            Ok(0) => {}
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(polled.get(open.len()).is_some_and(|end| !end.revents().is_empty())))
}

/// Hands over what is there now; whether the pipe has come to its end.
fn drain(stream: Stream, pipe: BorrowedFd<'_>, buffer: &mut [u8], output: &mut Output<'_>) -> io::Result<bool> {
    loop {
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) => return Ok(true),
            Ok(read) => output(stream, buffer.get(..read).unwrap_or_default()),
            Err(Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn pipe() -> (std::os::fd::OwnedFd, std::os::fd::OwnedFd) {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
    }

    #[test]
    fn output_is_read_although_somebody_keeps_the_pipe_open_after_the_end() {
        let (stdout, writer) = pipe();
        let (stderr, _kept_open) = pipe();
        let (ended, end) = pipe();
        std::fs::File::from(writer.try_clone().unwrap()).write_all(b"last words").unwrap();
        drop(end);
        let mut seen = Vec::new();
        let pipes = Pipes { stdin: None, stdout, stderr };
        forward(&pipes, Some(ended.as_fd()), None, &mut |_, bytes| seen.extend_from_slice(bytes)).unwrap();
        assert_eq!(seen, b"last words");
    }

    #[test]
    fn a_deadline_is_kept_although_nothing_is_written_and_the_pipes_are_closed() {
        for closed in [true, false] {
            let ((stdout, writer), (stderr, errors), (ended, _end)) = (pipe(), pipe(), pipe());
            let kept_open = if closed { None } else { Some((writer, errors)) };
            let pipes = Pipes { stdin: None, stdout, stderr };
            let deadline = Some(Instant::now());
            let over = forward(&pipes, Some(ended.as_fd()), deadline, &mut |_, _| {}).unwrap();
            assert_eq!(over, Over::Late);
            drop(kept_open);
        }
    }

    #[test]
    fn more_than_a_pipe_holds_arrives_in_order() {
        let (stdout, writer) = pipe();
        let (stderr, errors) = pipe();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let copy = sent.clone();
        let thread = std::thread::spawn(move || std::fs::File::from(writer).write_all(&copy).unwrap());
        drop(errors);
        let mut seen = Vec::new();
        let pipes = Pipes { stdin: None, stdout, stderr };
        forward(&pipes, None, None, &mut |_, bytes| seen.extend_from_slice(bytes)).unwrap();
        thread.join().unwrap();
        assert!(seen == sent);
    }
}
