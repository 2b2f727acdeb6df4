//! Forwarding to a socket of the user's: message by message what a step may ask of an agent, or byte by byte.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::{SshAgent, wire};

/// How long the other side may take no more bytes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A socket of the user's.
pub(super) struct Forwarded {
    path: PathBuf,
    raw: bool,
}

impl Forwarded {
    /// An agent: only what lists keys and signs goes through.
    pub(super) fn agent(path: PathBuf) -> Self {
        Forwarded { path, raw: false }
    }

    /// Whatever listens there: every byte goes through.
    pub(super) fn raw(path: PathBuf) -> Self {
        Forwarded { path, raw: true }
    }
}

impl SshAgent for Forwarded {
    fn serve(&self, step: UnixStream) {
        let forward = |agent: UnixStream| {
            agent.set_write_timeout(Some(WRITE_TIMEOUT))?;
            step.set_write_timeout(Some(WRITE_TIMEOUT))?;
            if self.raw { bytes(&step, &agent) } else { messages(&step, &agent) }
        };
        // The step sees a connection that ends; it knows best what that means to it.
        let _ = UnixStream::connect(&self.path).and_then(forward);
        let _ = step.shutdown(Shutdown::Both);
    }
}

/// Forwards the messages that only read; answers the others with a failure.
fn messages(mut step: &UnixStream, mut agent: &UnixStream) -> io::Result<()> {
    while let Some(request) = wire::read(&mut step)? {
        let allowed = matches!(request.first(), Some(&wire::REQUEST_IDENTITIES | &wire::SIGN_REQUEST));
        if !allowed {
            wire::write(&mut step, &[wire::FAILURE])?;
            continue;
        }
        wire::write(&mut agent, &request)?;
        let Some(answer) = wire::read(&mut Answer { agent, step })? else { return Ok(()) };
        wire::write(&mut step, &answer)?;
    }
    Ok(())
}

/// What an agent answers, as long as the step waits for it: the user may be asked for a confirmation.
struct Answer<'a> {
    agent: &'a UnixStream,
    step: &'a UnixStream,
}

impl Read for Answer<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut ends = [PollFd::new(self.agent, PollFlags::IN), PollFd::new(self.step, PollFlags::empty())];
        poll(&mut ends, None)?;
        if ends[1].revents().contains(PollFlags::HUP) {
            return Ok(0);
        }
        self.agent.read(bytes)
    }
}

/// Forwards in both directions until the socket's side ends, or both ends of the step's.
fn bytes(step: &UnixStream, agent: &UnixStream) -> io::Result<()> {
    let mut from_step = PollFlags::IN;
    loop {
        let mut ends = [PollFd::new(agent, PollFlags::IN), PollFd::new(step, from_step)];
        poll(&mut ends, None)?;
        let (from_agent, of_step) = (ends[0].revents(), ends[1].revents());
        let step_has_more = of_step.contains(PollFlags::IN);
        if step_has_more && !pass(step, agent)? {
            agent.shutdown(Shutdown::Write)?;
            from_step = PollFlags::empty();
        }
        let agent_ended = !from_agent.is_empty() && !pass(agent, step)?;
        let step_is_gone = of_step.contains(PollFlags::HUP) && !step_has_more;
        if agent_ended || step_is_gone {
            return Ok(());
        }
    }
}

/// Passes on what is there; false at the end of the stream.
fn pass(mut from: &UnixStream, mut to: &UnixStream) -> io::Result<bool> {
    let mut buffer = [0; 16 * 1024];
    let length = from.read(&mut buffer)?;
    to.write_all(buffer.get(..length).unwrap_or_default())?;
    Ok(length > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// Connects through a forwarder to a listener; `answer` is the far side.
    fn through(raw: bool, answer: fn(UnixStream)) -> (UnixStream, impl FnOnce()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let far = std::thread::spawn(move || answer(listener.accept().unwrap().0));
        let (near, step) = UnixStream::pair().unwrap();
        let forwarder = std::thread::spawn(move || Forwarded { path, raw }.serve(step));
        let end = move || {
            forwarder.join().unwrap();
            far.join().unwrap();
            drop(directory);
        };
        (near, end)
    }

    /// Answers each message with its own type.
    fn echo_types(mut stream: UnixStream) {
        while let Some(message) = wire::read(&mut stream).unwrap() {
            wire::write(&mut stream, &message[..1]).unwrap();
        }
    }

    #[test]
    fn a_step_may_list_and_sign_and_nothing_else() {
        let (mut near, end) = through(false, echo_types);
        let mut ask = |message: &[u8]| {
            wire::write(&mut near, message).unwrap();
            wire::read(&mut near).unwrap().unwrap()
        };
        assert_eq!(ask(&[wire::REQUEST_IDENTITIES]), [wire::REQUEST_IDENTITIES]);
        assert_eq!(ask(&[wire::SIGN_REQUEST, 1, 2]), [wire::SIGN_REQUEST]);
        // add, remove one, remove all, lock, add constrained, extension
        for forbidden in [17, 18, 19, 22, 25, 27] {
            assert_eq!(ask(&[forbidden]), [wire::FAILURE]);
        }
        drop(near);
        end();
    }

    #[test]
    fn an_agent_that_does_not_answer_does_not_hold_a_step_that_ended() {
        let (near, end) = through(false, |mut stream| {
            wire::read(&mut stream).unwrap();
            assert_eq!(wire::read(&mut stream).unwrap(), None);
        });
        wire::write(&mut &near, &[wire::REQUEST_IDENTITIES]).unwrap();
        near.shutdown(Shutdown::Both).unwrap();
        end();
    }

    #[test]
    fn raw_bytes_go_through_in_both_directions() {
        let (mut near, end) = through(true, |mut stream| {
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            stream.write_all(text.to_uppercase().as_bytes()).unwrap();
        });
        near.write_all(b"not an agent").unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        near.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "NOT AN AGENT");
        drop(near);
        end();
    }
}
