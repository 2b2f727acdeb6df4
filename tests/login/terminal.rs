//! Logging in at a terminal: what is asked, and that a password is not shown.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Stdio};

use kiln_tests::front::{Front, Guard, Reply, basic};
use kiln_tests::kiln::Kiln;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::{ANN, docker_config};

/// Kiln at a terminal of its own.
struct Terminal {
    ours: File,
    process: Child,
    shown: String,
}

impl Terminal {
    fn start(kiln: &Kiln, args: &[&str]) -> Terminal {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("terminal");
        grantpt(&ours).expect("terminal");
        unlockpt(&ours).expect("terminal");
        let name = ptsname(&ours, Vec::new()).expect("name of the terminal");
        let theirs = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("its other side");
        let another = || Stdio::from(theirs.try_clone().expect("terminal"));
        let mut command = kiln.command(args);
        let process = command.stdin(another()).stdout(another()).stderr(another()).spawn().expect("kiln");
        Terminal { ours: ours.into(), process, shown: String::new() }
    }

    /// Reads until `words` were shown, then types `answer`.
    fn when(&mut self, words: &str, answer: &str) {
        while !self.shown.ends_with(words) {
            assert!(self.read(), "{words:?} never came: {}", self.shown);
        }
        self.ours.write_all(answer.as_bytes()).expect("terminal");
    }

    /// Whether there was more to read: a terminal that nobody writes to any more fails.
    fn read(&mut self) -> bool {
        let mut piece = [0; 1000];
        match self.ours.read(&mut piece) {
            Ok(length) => {
                self.shown.push_str(&String::from_utf8_lossy(&piece[..length]));
                length > 0
            }
            Err(_) => false,
        }
    }

    /// The exit code, and all that was shown.
    fn end(mut self) -> (Option<i32>, String) {
        while self.read() {}
        (self.process.wait().expect("kiln").code(), self.shown)
    }
}

fn users() -> Guard {
    let guard = basic(ANN);
    Box::new(move |request| guard(request).or_else(|| Some(Reply::new(200))))
}

#[test]
fn a_password_that_is_typed_is_not_shown() {
    let (kiln, front) = (Kiln::new(), Front::start(None, None, users()));
    let mut terminal = Terminal::start(&kiln, &["login", &front.address()]);
    terminal.when("Username: ", "ann\n");
    // A key too many, and the one that takes it back.
    terminal.when("Password: ", "huntX\x7fer2\n");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.starts_with("Username: ann\r\nPassword: \r\n") && shown.ends_with("Login Succeeded\r\n"), "{shown}");
    assert!(docker_config(&kiln).contains(ANN));
}

#[test]
fn an_interrupt_ends_the_question() {
    let (kiln, front) = (Kiln::new(), Front::start(None, None, users()));
    let mut terminal = Terminal::start(&kiln, &["login", "-u", "ann", &front.address()]);
    terminal.when("Password: ", "hunt\x03");
    let (code, shown) = terminal.end();
    assert_eq!((code, shown.as_str(), docker_config(&kiln).as_str()), (Some(130), "Password: \r\n", ""));
}
