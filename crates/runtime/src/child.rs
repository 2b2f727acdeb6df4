//! Plain child processes, such as git: what keeps them from outliving whoever started them.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};

/// The child is killed when the thread that starts it ends, which a thread that waits for it does only with its
/// process. It is out of reach of the terminal's signals: whoever started it decides.
pub fn dies_with_thread(command: &mut Command) {
    command.process_group(0);
    // SAFETY: between fork and exec there is one system call, `prctl`, which allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn it_ends_with_the_thread_that_started_it() {
        let mut output = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            command.arg("1000").stdout(Stdio::piped());
            dies_with_thread(&mut command);
            let mut child = command.spawn().unwrap();
            let output = child.stdout.take().unwrap();
            // The thread ends without waiting for its child; this thread reaps nothing, the test process does at its end.
            drop(child);
            output
        })
        .join()
        .unwrap();
        // The pipe's end comes when the child is gone.
        assert_eq!(output.read(&mut [0]).unwrap(), 0);
    }
}
