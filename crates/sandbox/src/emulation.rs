//! Programs for other processors: why the kernel did not start one. Linux runs them through an emulator that is
//! registered in binfmt_misc; whether it could is found out by starting them, and this is about what to say if not.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_oci::Platform;
use kiln_runtime::StartError;

/// Where the kernel lists what is registered.
const REGISTRY: &str = "/proc/sys/fs/binfmt_misc";

/// Why a program did not start, where that has to do with the processor that it is for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEmulation {
    /// Nothing is registered for the platform.
    #[error(
        "this machine cannot run programs for {0}: no emulator is registered for them; `apt-get install \
         qemu-user-static binfmt-support` registers QEMU's, and so does `docker run --privileged --rm \
         tonistiigi/binfmt --install all`"
    )]
    Unregistered(Platform),
    /// The kernel looks for the emulator in the container, where it is not.
    #[error(
        "the emulator {} for {platform} is registered without the flag F, so that the kernel looks for it inside the \
         container; register it anew with that flag, as current packages of qemu-user-static do", interpreter.display()
    )]
    NotFixed {
        /// What the program is for.
        platform: Platform,
        /// The emulator.
        interpreter: PathBuf,
    },
    /// The image says that it runs here, but the program does not.
    #[error(
        "the kernel does not know the format of this program, although its image is for {0}: it may be built for \
         another processor, or be a script without #! in its first line"
    )]
    OtherProgram(Platform),
}

/// What the refusal to start a program for `platform` means; nothing if it has other reasons.
pub fn explain(platform: &Platform, error: &StartError) -> Option<NoEmulation> {
    match error {
        StartError::NotExecutable { errno, .. } if *errno == rustix::io::Errno::NOEXEC.into() => {
            Some(match Platform::host().accepts(platform) {
                true => NoEmulation::OtherProgram(platform.clone()),
                false => NoEmulation::Unregistered(platform.clone()),
            })
        }
        // The kernel reports a missing emulator as if the program were missing.
        StartError::NotFound { searched: false, .. } if !Platform::host().accepts(platform) => {
            let entry = handler(Path::new(REGISTRY), platform)?;
            let not_fixed = NoEmulation::NotFixed { platform: platform.clone(), interpreter: entry.interpreter };
            (!entry.fixed).then_some(not_fixed)
        }
        _ => None,
    }
}

/// One registration.
#[derive(Debug, PartialEq, Eq)]
struct Handler {
    interpreter: PathBuf,
    /// The emulator was opened when it was registered, and is found whatever the root is.
    fixed: bool,
}

/// The registration that programs for `platform` go through.
fn handler(registry: &Path, platform: &Platform) -> Option<Handler> {
    let header = elf_header(platform)?;
    let entries = fs::read_dir(registry).ok()?.flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.filter_map(|text| matching(&text, &header)).next()
}

/// Reads a registration, if it is enabled and fits the beginning of the program.
fn matching(text: &str, header: &[u8]) -> Option<Handler> {
    let mut lines = text.lines();
    if lines.next() != Some("enabled") {
        return None;
    }
    let (mut interpreter, mut flags, mut magic, mut mask) = (None, "", Vec::new(), None);
    for line in lines {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("interpreter", path) => interpreter = Some(PathBuf::from(path)),
            ("flags:", text) => flags = text,
            ("offset", "0") => {}
            ("magic", text) => magic = bytes(text)?,
            ("mask", text) => mask = Some(bytes(text)?),
            _ => return None,
        }
    }
    let mask = mask.unwrap_or_else(|| vec![0xff; magic.len()]);
    let fits = !magic.is_empty()
        && magic.len() <= header.len()
        && magic.iter().zip(&mask).zip(header).all(|((magic, mask), byte)| byte & mask == magic & mask);
    fits.then_some(Handler { interpreter: interpreter?, fixed: flags.contains('F') })
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = hex.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)).collect())
}

/// How an executable for a platform begins (ELF, "e_ident" to "e_machine").
fn elf_header(platform: &Platform) -> Option<[u8; 20]> {
    const WORD: u8 = 1;
    const LONG: u8 = 2;
    const LITTLE: u8 = 1;
    const BIG: u8 = 2;
    let (class, order, machine): (u8, u8, u16) = match platform.architecture.as_str() {
        "386" => (WORD, LITTLE, 3),
        "amd64" => (LONG, LITTLE, 62),
        "arm" => (WORD, LITTLE, 40),
        "arm64" => (LONG, LITTLE, 183),
        "loong64" => (LONG, LITTLE, 258),
        "mips64" => (LONG, BIG, 8),
        "mips64le" => (LONG, LITTLE, 8),
        "ppc64le" => (LONG, LITTLE, 21),
        "riscv64" => (LONG, LITTLE, 243),
        "s390x" => (LONG, BIG, 22),
        _ => return None,
    };
    let number = |value: u16| if order == LITTLE { value.to_le_bytes() } else { value.to_be_bytes() };
    let mut header = [0; 20];
    header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order, 1]);
    header[16..18].copy_from_slice(&number(2));
    header[18..20].copy_from_slice(&number(machine));
    Some(header)
}

#[cfg(test)]
mod tests {
    use kiln_runtime::Errno;

    use super::*;

    const AARCH64: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn a_registration_is_found_by_what_programs_begin_with() {
        let registry = tempfile::tempdir().unwrap();
        fs::write(registry.path().join("status"), "enabled\n").unwrap();
        fs::write(registry.path().join("qemu-aarch64"), AARCH64).unwrap();
        fs::write(registry.path().join("by-extension"), "enabled\ninterpreter /x\nflags: \nextension .x\n").unwrap();
        let interpreter = PathBuf::from("/usr/bin/qemu-aarch64-static");
        let found = |text: &str| handler(registry.path(), &platform(text));
        assert_eq!(found("linux/arm64"), Some(Handler { interpreter, fixed: true }));
        assert_eq!(found("linux/arm"), None);
        assert_eq!(found("linux/s390x"), None);
        fs::write(registry.path().join("qemu-aarch64"), AARCH64.replace("OCF", "OC")).unwrap();
        assert!(!found("linux/arm64").unwrap().fixed);
        fs::write(registry.path().join("qemu-aarch64"), AARCH64.replace("enabled", "disabled")).unwrap();
        assert_eq!(found("linux/arm64"), None);
    }

    #[test]
    fn only_refusals_that_have_to_do_with_the_processor_are_explained() {
        let foreign = platform(if Platform::host().architecture == "s390x" { "linux/amd64" } else { "linux/s390x" });
        let refused = |errno: i32| StartError::NotExecutable { program: "/bin/sh".into(), errno: Errno(errno) };
        let (exec_format, denied) =
            (rustix::io::Errno::NOEXEC.raw_os_error(), rustix::io::Errno::ACCESS.raw_os_error());
        assert_eq!(explain(&foreign, &refused(exec_format)), Some(NoEmulation::Unregistered(foreign.clone())));
        let host = Platform::host();
        assert_eq!(explain(&host, &refused(exec_format)), Some(NoEmulation::OtherProgram(host.clone())));
        assert_eq!(explain(&foreign, &refused(denied)), None);
        assert_eq!(explain(&host, &StartError::NotFound { program: "/x".into(), searched: false }), None);
    }
}
