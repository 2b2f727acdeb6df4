//! A file that a process wanted to execute: what is wrong with it.

use std::io::Read;

use kiln_store::{Kind, Union};

use super::{Cause, Step};

/// How much of a program is looked at, in bytes.
const HEAD: u64 = 4096;
/// The type of an ELF program header that names the loader.
const INTERPRETER: u32 = 3;

/// A file of the root file system.
pub(super) struct Program {
    /// As the process named it.
    name: String,
    mode: u32,
    head: Vec<u8>,
}

impl Program {
    /// Finds a program as a process does: by its path, or in `PATH`.
    pub(super) fn find(name: &str, step: &Step<'_>) -> Option<Program> {
        if name.contains('/') {
            let path = if name.starts_with('/') { name.to_owned() } else { format!("{}/{name}", step.op.cwd) };
            return Program::read(name, &path, step.rootfs);
        }
        let search = step.op.env.iter().find_map(|variable| variable.strip_prefix("PATH="))?;
        search.split(':').find_map(|directory| Program::read(name, &format!("{directory}/{name}"), step.rootfs))
    }

    fn read(name: &str, path: &str, rootfs: &Union) -> Option<Program> {
        let resolved = rootfs.resolve(path, true).ok()?;
        let found = resolved.found.filter(|found| found.entry.kind() == Kind::File)?;
        let mut head = Vec::new();
        rootfs.open(&found).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
        Some(Program { name: name.to_owned(), mode: found.entry.mode(), head })
    }

    /// Why it does not run, as far as can be seen.
    pub(super) fn fault(&self, step: &Step<'_>) -> Option<Cause> {
        let missing = |interpreter: &str| {
            let there = step.rootfs.resolve(interpreter, true).is_ok_and(|resolved| resolved.found.is_some());
            (!there).then(|| Cause::NoInterpreter { program: self.name.clone(), interpreter: interpreter.to_owned() })
        };
        if self.mode & 0o111 == 0 {
            return Some(Cause::NotExecutable(self.name.clone()));
        }
        if let Some(script) = self.head.strip_prefix(b"#!") {
            let line = script.split(|&byte| byte == b'\n').next().unwrap_or_default();
            if line.ends_with(b"\r") {
                return Some(Cause::WindowsLineEnds(Some(self.name.clone())));
            }
            let line = String::from_utf8_lossy(line);
            return missing(line.split_whitespace().next()?);
        }
        match Elf::read(&self.head) {
            Some(elf) if machine_name(elf.machine) != step.architecture => {
                Some(Cause::OtherMachine { program: self.name.clone(), machine: machine_name(elf.machine) })
            }
            Some(elf) => missing(&elf.interpreter?),
            None => Some(Cause::NoFormat(self.name.clone())),
        }
    }
}

/// What a program's ELF header says.
struct Elf {
    machine: u16,
    interpreter: Option<String>,
}

impl Elf {
    /// `None` if it is none, or of another byte order than this machine's.
    fn read(head: &[u8]) -> Option<Elf> {
        let is_little = head.get(5) == Some(&1);
        if !head.starts_with(b"\x7fELF") || !is_little {
            return None;
        }
        let machine = u16::from_le_bytes(*head.get(18..)?.first_chunk()?);
        let wide = head.get(4) == Some(&2);
        Some(Elf { machine, interpreter: wide.then(|| interpreter(head)).flatten() })
    }
}

/// The loader that a 64 bit program names.
fn interpreter(head: &[u8]) -> Option<String> {
    let long = |at: usize| Some(u64::from_le_bytes(*head.get(at..)?.first_chunk()?));
    let short = |at: usize| Some(usize::from(u16::from_le_bytes(*head.get(at..)?.first_chunk()?)));
    let table = usize::try_from(long(32)?).ok()?;
    let (size, count) = (short(54)?, short(56)?);
    for number in 0..count {
        let at = table.checked_add(number.checked_mul(size)?)?;
        let kind = u32::from_le_bytes(*head.get(at..)?.first_chunk()?);
        if kind == INTERPRETER {
            let start = usize::try_from(long(at.checked_add(8)?)?).ok()?;
            let length = usize::try_from(long(at.checked_add(32)?)?).ok()?;
            let path = head.get(start..start.checked_add(length)?)?;
            let path = path.split(|&byte| byte == 0).next()?;
            return Some(String::from_utf8_lossy(path).into_owned());
        }
    }
    None
}

fn machine_name(machine: u16) -> String {
    match machine {
        3 => "386".into(),
        8 => "mips".into(),
        21 => "ppc64le".into(),
        22 => "s390x".into(),
        40 => "arm".into(),
        62 => "amd64".into(),
        183 => "arm64".into(),
        243 => "riscv64".into(),
        258 => "loong64".into(),
        other => format!("machine {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_a_real_program_is_read() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let elf = Elf::read(&own[..own.len().min(HEAD as usize)]).unwrap();
        assert_eq!(machine_name(elf.machine), kiln_oci::Platform::host().architecture);
        assert!(elf.interpreter.is_none_or(|path| std::path::Path::new(&path).exists()));
    }

    #[test]
    fn what_is_no_program_is_none() {
        for bytes in
            [&b""[..], b"\x7fELF", b"\x7fELF\x02\x01", b"\x7fELF\x01\x02\x01\0\0\0\0\0\0\0\0\0\x02\0\0\x08", b"text"]
        {
            assert!(Elf::read(bytes).is_none());
        }
        let mut cut = vec![0xff; 64];
        cut[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert!(Elf::read(&cut).unwrap().interpreter.is_none());
    }
}
