//! `kiln registry serve` on loopback, over the store of a [`Kiln`], until this is dropped.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::http::Server;
use crate::kiln::Kiln;

/// A serving registry.
pub struct KilnRegistry {
    process: Option<Child>,
    server: Server,
    url: String,
}

impl KilnRegistry {
    /// Serves over `kiln`'s store on a free port, with these flags added, and waits until it listens.
    #[track_caller]
    pub fn start(kiln: &Kiln, flags: &[&str]) -> KilnRegistry {
        KilnRegistry::of(kiln.command(&["registry", "serve", "--listen", "127.0.0.1:0"]).args(flags))
    }

    /// The same for a command that says where it listens.
    #[track_caller]
    pub fn of(command: &mut Command) -> KilnRegistry {
        let mut process = command.stdout(Stdio::piped()).spawn().expect("kiln");
        let mut first = String::new();
        let mut lines = BufReader::new(process.stdout.take().expect("its output"));
        lines.read_line(&mut first).expect("its output");
        // What it says later nobody reads, but it must be able to say it.
        std::thread::spawn(move || lines.lines().for_each(drop));
        let Some(url) = first.trim().strip_prefix("listening on ").map(str::to_owned) else {
            panic!("said {first:?} in place of where it listens; {}", process.wait().expect("its end"));
        };
        let address = url.split("://").last().expect("an address").trim_end_matches('/').to_owned();
        KilnRegistry { process: Some(process), server: Server::plain(&address), url }
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.server.address
    }

    /// With the scheme, as it says itself.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// To speak plain HTTP with it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Its process, as `/proc` numbers it.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("not ended").id()
    }

    /// The most memory that it ever had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let path = Path::new("/proc").join(self.pid().to_string()).join("status");
        let status = std::fs::read_to_string(path).expect("status of the server");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("peak memory");
        let kib = peak.trim().trim_end_matches(" kB");
        kib.parse::<u64>().expect("kilobytes") * 1024
    }

    /// Waits for its end, which was asked for or came by itself.
    pub fn wait(mut self) -> ExitStatus {
        self.process.take().expect("not ended").wait().expect("its end")
    }

    /// Ends it by this signal, and waits.
    pub fn signal(mut self, signal: Signal) -> ExitStatus {
        end(self.process.take().expect("not ended"), signal)
    }
}

fn end(mut process: Child, signal: Signal) -> ExitStatus {
    // One that ended by itself is told by its status.
    let _ = kill_process(Pid::from_child(&process), signal);
    process.wait().expect("its end")
}

impl Drop for KilnRegistry {
    fn drop(&mut self) {
        let Some(process) = self.process.take() else { return };
        let status = end(process, Signal::TERM);
        if !std::thread::panicking() {
            assert!(status.success(), "asked to end, it ended with {status}");
        }
    }
}
