//! Modes of `--chmod`: octal, or the clauses of chmod(1).

use kiln_graph::Chmod;

use super::FileError;

/// A change of permissions, ready to be applied.
pub(super) enum ModeChange {
    /// These bits, whatever was there.
    Exactly(u32),
    /// Clauses, applied one after another.
    Clauses(Vec<Clause>),
}

pub(super) struct Clause {
    who: u32,
    operator: Operator,
    what: Vec<What>,
}

#[derive(Clone, Copy, PartialEq)]
enum Operator {
    Add,
    Remove,
    Set,
}

enum What {
    /// Bits for the classes in `who`.
    Bits(u32),
    /// Execute where it is a directory or somebody may execute already.
    ExecuteIfAny,
    /// The permissions that a class has now.
    CopyOf(u32),
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o0007;
const STICKY: u32 = 0o1000;

impl ModeChange {
    /// Reads the option of an instruction.
    pub(super) fn new(chmod: &Chmod) -> Result<Self, FileError> {
        match chmod {
            Chmod::Octal(bits) => Ok(ModeChange::Exactly(bits & 0o7777)),
            Chmod::Symbolic(text) => {
                let clauses: Option<Vec<Vec<Clause>>> = text.split(',').map(clause_group).collect();
                let clauses = clauses.ok_or_else(|| FileError::Chmod(text.clone()))?;
                Ok(ModeChange::Clauses(clauses.into_iter().flatten().collect()))
            }
        }
    }

    /// The mode that an entry with `mode` gets.
    pub(super) fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            ModeChange::Exactly(bits) => *bits,
            ModeChange::Clauses(clauses) => clauses.iter().fold(mode, |mode, clause| clause.apply(mode, directory)),
        }
    }

    /// The mode of a directory that is made on the way to the destination.
    pub(super) fn made_directory(&self) -> u32 {
        match self {
            ModeChange::Exactly(bits) => bits & 0o777,
            ModeChange::Clauses(_) => 0o755,
        }
    }
}

/// `ugo+rw-x`: who, then any number of operators with permissions.
fn clause_group(text: &str) -> Option<Vec<Clause>> {
    let split = text.find(['+', '-', '='])?;
    let (who_text, mut rest) = text.split_at(split);
    let mut who = 0;
    for c in who_text.chars() {
        who |= class_of(c)?;
    }
    if who == 0 {
        who = USER | GROUP | OTHER | STICKY;
    }
    let mut clauses = Vec::new();
    while let Some(operator) = rest.chars().next() {
        let operator = match operator {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            '=' => Operator::Set,
            _ => return None,
        };
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
        let what: Option<Vec<What>> = rest[1..end].chars().map(permission).collect();
        clauses.push(Clause { who, operator, what: what? });
        rest = &rest[end..];
    }
    Some(clauses)
}

fn class_of(c: char) -> Option<u32> {
    match c {
        'u' => Some(USER),
        'g' => Some(GROUP),
        'o' => Some(OTHER),
        'a' => Some(USER | GROUP | OTHER | STICKY),
        _ => None,
    }
}

fn permission(c: char) -> Option<What> {
    Some(match c {
        'r' => What::Bits(0o444),
        'w' => What::Bits(0o222),
        'x' => What::Bits(0o111),
        'X' => What::ExecuteIfAny,
        's' => What::Bits(0o6000),
        't' => What::Bits(0o1000),
        'u' => What::CopyOf(6),
        'g' => What::CopyOf(3),
        'o' => What::CopyOf(0),
        _ => return None,
    })
}

impl Clause {
    fn apply(&self, mode: u32, directory: bool) -> u32 {
        let bits = self.what.iter().fold(0, |bits, what| {
            bits | match what {
                What::Bits(bits) => *bits,
                What::ExecuteIfAny if directory || mode & 0o111 != 0 => 0o111,
                What::ExecuteIfAny => 0,
                What::CopyOf(shift) => ((mode >> shift) & 7) * 0o111,
            }
        });
        match self.operator {
            Operator::Add => mode | (bits & self.who),
            Operator::Remove => mode & !(bits & self.who),
            Operator::Set => (mode & !(self.who & 0o777)) | (bits & self.who),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, mode: u32, directory: bool, want: u32) {
        let change = ModeChange::new(&Chmod::Symbolic(text.into())).unwrap();
        assert_eq!(change.apply(mode, directory), want, "{text} on {mode:o}");
    }

    #[test]
    fn clauses_do_what_chmod_does() {
        check("u+x", 0o644, false, 0o744);
        check("go-r", 0o644, false, 0o600);
        check("a=r", 0o755, false, 0o444);
        check("+x", 0o644, false, 0o755);
        check("u=rwX,go=rX", 0o600, true, 0o755);
        check("u=rwX,go=rX", 0o600, false, 0o644);
        check("g=u", 0o640, false, 0o660);
        check("u+s", 0o755, false, 0o4755);
        check("+t", 0o777, true, 0o1777);
        check("u+r-w", 0o200, false, 0o400);
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "x", "u", "q+x", "u+z", "u+x,"] {
            assert!(ModeChange::new(&Chmod::Symbolic(text.into())).is_err(), "{text}");
        }
    }
}
