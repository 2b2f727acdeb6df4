//! Starting a container: spawn the helper, hand it the plan, hear whether the command runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::channel;
use crate::compile::{Compiled, compile};
use crate::container::{Container, Note, Terminal};
use crate::error::StartError;
use crate::executable;
use crate::helper;
use crate::launch::Launch;
use crate::plan::FromHelper;

/// Starts a container and returns when its command has been executed (or could not be).
/// Blocks for some milliseconds; may be called from any thread.
pub fn start(launch: Launch) -> Result<Container, StartError> {
    let compiled = compile(launch)?;
    let (control, theirs) =
        UnixStream::pair().map_err(|error| StartError::system("cannot make a socket pair", error))?;
    let mut helper = spawn(theirs)?;
    match hand_over(&control, compiled) {
        Ok((FromHelper::Started { pid, notes }, descriptors)) => running(control, helper, pid, notes, descriptors),
        Ok((FromHelper::Failed(error), _)) => {
            reap(&mut helper);
            Err(error)
        }
        Ok((FromHelper::Ended(_), _)) => Err(died(control, &mut helper)),
        Err(_) => Err(died(control, &mut helper)),
    }
}

/// Without `pre_exec`, ids or groups, the standard library spawns without copying this process's
/// page tables. The socket is the helper's standard input; nothing else is inherited.
fn spawn(socket: UnixStream) -> Result<Child, StartError> {
    let path = executable::protected().map_err(|error| StartError::system("cannot protect the executable", error))?;
    Command::new(path)
        .arg0(helper::NAME)
        .env_clear()
        .stdin(OwnedFd::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| StartError::system("cannot start the helper process", error))
}

fn hand_over(control: &UnixStream, compiled: Compiled) -> std::io::Result<(FromHelper, Vec<OwnedFd>)> {
    let descriptors: Vec<BorrowedFd<'_>> = compiled.descriptors.iter().chain(&compiled.held).map(AsFd::as_fd).collect();
    channel::send(control, &compiled.plan, &descriptors)?;
    drop(descriptors);
    drop(compiled);
    channel::receive(control)?.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

fn running(
    control: UnixStream,
    mut helper: Child,
    pid: u32,
    notes: Vec<String>,
    descriptors: Vec<OwnedFd>,
) -> Result<Container, StartError> {
    let mut descriptors = descriptors.into_iter();
    let Some(pidfd) = descriptors.next() else {
        return Err(died(control, &mut helper));
    };
    Ok(Container {
        control: Some(control),
        helper,
        pid,
        pidfd: Arc::new(pidfd),
        terminal: descriptors.next().map(|master| Terminal { master }),
        notes: notes.into_iter().map(Note).collect(),
    })
}

fn died(control: UnixStream, helper: &mut Child) -> StartError {
    drop(control);
    StartError::HelperDied(reap(helper))
}

/// Waits for the helper, which ends by itself, and says how it ended.
pub(crate) fn reap(helper: &mut Child) -> String {
    match helper.wait() {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}
