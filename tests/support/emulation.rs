//! An emulator for programs of another architecture, registered where only the processes of a test see it: in the
//! binfmt_misc of a user namespace (Linux 6.7 and later). Nothing stays registered.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::workspace;

/// Waits until its ids are mapped, registers the emulator `$0` by `$1`, says so, and stays until its input ends.
const HOLD: &str = r#"
read go && mount -t binfmt_misc none /proc/sys/fs/binfmt_misc &&
printf %s "$1" > /proc/sys/fs/binfmt_misc/register && echo ready && read go
"#;

/// How programs of arm64 begin, as binfmt_misc is told.
const MAGIC: &str = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
const MASK: &str = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";

/// A user namespace in which programs of arm64 run.
pub struct Emulation {
    holder: Child,
}

impl Emulation {
    /// The platform that it makes run.
    pub const PLATFORM: &str = "linux/arm64";

    /// Registers the emulator in a new namespace, or says why that cannot be. Needs root.
    pub fn new() -> Result<Emulation, String> {
        Emulation::registered("F")
    }

    /// The same, so that the kernel looks for the emulator where the program is, as it does without the flag F.
    pub fn found_by_path() -> Result<Emulation, String> {
        Emulation::registered("")
    }

    fn registered(flags: &str) -> Result<Emulation, String> {
        let emulator = emulator()?;
        let registration = format!(":kiln-test:M::{MAGIC}:{MASK}:{}:{flags}", emulator.display());
        let mut command = Command::new("unshare");
        command.args(["--user", "--mount", "sh", "-c", HOLD, "sh", &registration]);
        let holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut emulation = Emulation { holder: holder.map_err(|e| format!("unshare: {e}"))? };
        emulation.map_ids();
        match emulation.hears_ready() {
            true => Ok(emulation),
            false => Err("this kernel has no binfmt_misc for a user namespace (it came with Linux 6.7)".to_owned()),
        }
    }

    /// A command inside.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--user", "--mount", "--setuid", "0", "--setgid", "0", "--target"]);
        command.arg(self.holder.id().to_string()).arg("--").arg(program);
        command
    }

    /// Gives the namespace the ids 0 to 65535, each as itself; it cannot before it exists.
    fn map_ids(&self) {
        let process = PathBuf::from(format!("/proc/{}", self.holder.id()));
        let own = std::fs::read_link("/proc/self/ns/user").expect("user namespace");
        crate::running::wait_until("the namespace", || {
            std::fs::read_link(process.join("ns/user")).is_ok_and(|theirs| theirs != own)
        });
        for map in ["uid_map", "gid_map"] {
            std::fs::write(process.join(map), "0 0 65536").unwrap_or_else(|e| panic!("{map}: {e}"));
        }
    }

    fn hears_ready(&mut self) -> bool {
        let input = self.holder.stdin.as_mut().expect("piped");
        // A holder that is gone says nothing.
        let _ = input.write_all(b"go\n");
        let mut line = String::new();
        let output = self.holder.stdout.as_mut().expect("piped");
        BufReader::new(output).read_line(&mut line).is_ok() && line == "ready\n"
    }
}

impl Drop for Emulation {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        // Its end takes the namespace, and with it the registration.
        let _ = self.holder.wait();
    }
}

fn emulator() -> Result<PathBuf, String> {
    if std::env::consts::ARCH != "x86_64" {
        return Err("the tests have an emulator for x86_64 machines only".to_owned());
    }
    let path = workspace().join("target/fixtures/qemu-aarch64-static");
    assert!(path.is_file(), "no {}: run `cargo xtask fixtures` first", path.display());
    Ok(path)
}
