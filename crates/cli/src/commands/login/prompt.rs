//! Asks a person at the terminal for a user name and a password.

use std::io::{Read as _, Write as _};

use kiln_registry::Secret;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::failure::Failure;
use crate::output;

/// What the public registry's users are told first.
const WELCOME: &str = "Log in with your Docker ID or email address to push and pull images from Docker Hub. If you \
                       don't have a Docker ID, head over to https://hub.docker.com/ to create one.\n\
                       You can log in with your password or a Personal Access Token (PAT). Using a limited-scope PAT \
                       grants better security and is required for organizations using SSO. Learn more at \
                       https://docs.docker.com/go/access-tokens/\n";

/// The exit code of who interrupts a question.
const INTERRUPTED: u8 = 130;

/// Asks for a user name; an empty answer is `suggested`.
pub(super) fn username(public: bool, suggested: Option<&str>) -> Result<String, Failure> {
    if public {
        output::line(WELCOME)?;
    }
    match suggested {
        Some(name) => output::text(format_args!("Username ({name}): "))?,
        None => output::text("Username: ")?,
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let given = match line.trim() {
        "" => suggested.unwrap_or_default(),
        given => given,
    };
    if given.is_empty() {
        return Err(Failure::new("Error: Non-null Username Required"));
    }
    Ok(given.to_owned())
}

/// Asks for a password, which is not shown.
pub(super) fn password(public: bool) -> Result<Secret, Failure> {
    if public {
        eprintln!("\n Info -> A Personal Access Token (PAT) can be used instead.");
        eprintln!("         To create a PAT, visit https://app.docker.com/settings\n");
    }
    let line = {
        // Silent before it is asked: who answers at once is not shown either.
        let _silent = Silent::new()?;
        output::text("Password: ")?;
        unseen_line()?
    };
    output::line("")?;
    let Some(line) = line else { return Err(Failure::new("").with_code(INTERRUPTED)) };
    match line.trim() {
        "" => Err(Failure::new("Error: Password Required")),
        password => Ok(Secret::new(password)),
    }
}

/// The terminal, showing nothing and interrupting nobody; as before when this is dropped.
struct Silent(Termios);

impl Silent {
    fn new() -> Result<Silent, Failure> {
        let before = tcgetattr(std::io::stdin()).map_err(std::io::Error::from)?;
        let mut silent = before.clone();
        // An interrupt arrives as a character, so that nobody is left with a silent terminal.
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(std::io::stdin(), OptionalActions::Now, &silent).map_err(std::io::Error::from)?;
        Ok(Silent(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A terminal that went away needs no care.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// A line as it is typed, with the usual keys to mend it; `None` for an interrupt.
fn unseen_line() -> Result<Option<String>, Failure> {
    const INTERRUPT: u8 = 0x03;
    const END: u8 = 0x04;
    const BACKSPACE: u8 = 0x08;
    const FORGET_LINE: u8 = 0x15;
    const DELETE: u8 = 0x7f;
    std::io::stdout().flush()?;
    let mut line = Vec::new();
    for byte in std::io::stdin().lock().bytes() {
        match byte? {
            INTERRUPT => return Ok(None),
            b'\n' | b'\r' | END => break,
            FORGET_LINE => line.clear(),
            BACKSPACE | DELETE => forget_character(&mut line),
            byte => line.push(byte),
        }
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

fn forget_character(line: &mut Vec<u8>) {
    let is_inner = |byte: u8| byte & 0xc0 == 0x80;
    while line.pop().is_some_and(is_inner) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_forgotten_whole() {
        let mut line = "aé".as_bytes().to_vec();
        forget_character(&mut line);
        assert_eq!(line, b"a");
        forget_character(&mut line);
        forget_character(&mut line);
        assert_eq!(line, b"");
    }
}
