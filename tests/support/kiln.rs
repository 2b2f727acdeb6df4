//! The binary under test, with a root directory and a home of its own, and what it answered.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use tempfile::TempDir;

use crate::disk::Disk;
use crate::emulation::Emulation;
use crate::steps::{Step, steps};
use crate::user::User;
use crate::{hygiene, workspace};

/// Kiln as one user has it. Dropping it checks that nothing was left behind.
pub struct Kiln {
    /// Mounted in `directory`, so it goes first.
    disk: Option<Disk>,
    directory: TempDir,
    user: Option<User>,
    emulation: Option<Emulation>,
    program: PathBuf,
}

/// What one command answered.
pub struct Answer {
    /// The command, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Kiln {
    /// An empty store in a temporary directory, as the user of this process.
    pub fn new() -> Kiln {
        Kiln::of_program(binary(), &std::env::temp_dir())
    }

    /// An empty store in memory, if there is room for one, for another binary than the one under test.
    pub fn in_memory(program: &Path) -> Kiln {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        Kiln::of_program(program.to_path_buf(), &parent)
    }

    /// The same on a disk of its own, made at the place that `make` is given. Needs root.
    pub fn on_disk(program: &Path, make: impl FnOnce(&Path) -> Disk) -> Kiln {
        let mut kiln = Kiln::in_memory(program);
        kiln.disk = Some(make(&kiln.directory.path().join("disk")));
        kiln
    }

    fn of_program(program: PathBuf, parent: &Path) -> Kiln {
        let directory = TempDir::with_prefix_in("kiln-test-", parent).expect("temporary directory");
        std::fs::create_dir(directory.path().join("home")).expect("home");
        Kiln { directory, disk: None, user: None, emulation: None, program }
    }

    /// Crashes the machine, as far as the store's disk can tell, and mounts the disk again; `synced` are files that were
    /// synced just before. Nothing may run.
    pub fn crash(&self, synced: &[&Path]) {
        self.disk.as_ref().expect("a disk of its own").crash(synced);
    }

    /// A copy of this store, in memory or on a copy of its disk, for the same binary.
    pub fn copy(&self) -> Kiln {
        if let Some(disk) = &self.disk {
            return Kiln::on_disk(&self.program, |place| disk.copy(place));
        }
        let copy = Kiln::in_memory(&self.program);
        let text = |path: PathBuf| path.to_str().expect("path in UTF-8").to_owned();
        tool("cp", &["-a", &text(self.root()), &text(copy.root())]);
        copy
    }

    /// An empty store on a fresh ext4 image where this is root (a much used file system is many times slower),
    /// in a temporary directory otherwise.
    pub fn on_fresh_disk() -> Kiln {
        let mut kiln = Kiln::new();
        if rustix::process::geteuid().is_root() {
            kiln.disk = Some(Disk::new(&kiln.directory.path().join("disk")));
        }
        kiln
    }

    /// An empty store on a fresh file system of this size, as `truncate` takes it. Needs root.
    pub fn on_disk_of(size: &str) -> Kiln {
        let mut kiln = Kiln::new();
        kiln.disk = Some(Disk::of_size(&kiln.directory.path().join("disk"), size));
        kiln
    }

    /// Where the fresh file system is mounted, if there is one.
    pub fn disk(&self) -> Option<&Path> {
        self.disk.as_ref().map(Disk::path)
    }

    /// An empty store of an unprivileged user, on a fresh ext4 image. Needs root, to become that user.
    pub fn of(user: User) -> Kiln {
        let mut kiln = Kiln::on_fresh_disk();
        // The user may not see into the build directory.
        let program = kiln.directory.path().join("kiln");
        std::fs::copy(&kiln.program, &program).expect("copy of the binary");
        kiln.program = program;
        std::fs::create_dir(kiln.root()).expect("root directory");
        for path in [kiln.directory.path().to_path_buf(), kiln.home(), kiln.root()] {
            user.own(&path);
        }
        kiln.user = Some(user);
        kiln
    }

    /// An empty store, and every command where programs of another architecture run. Needs root.
    pub fn with(emulation: Emulation) -> Kiln {
        let mut kiln = Kiln::new();
        kiln.emulation = Some(emulation);
        kiln
    }

    /// Where the store is.
    pub fn root(&self) -> PathBuf {
        match &self.disk {
            Some(disk) => disk.path().join("root"),
            None => self.directory.path().join("root"),
        }
    }

    /// The home of kiln's user: empty.
    pub fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// A directory for the test's own files, on the store's disk; made on demand.
    pub fn scratch(&self, name: &str) -> PathBuf {
        let parent = match &self.disk {
            Some(disk) => disk.path().to_path_buf(),
            None => self.directory.path().to_path_buf(),
        };
        let path = parent.join(name);
        std::fs::create_dir_all(&path).expect("scratch directory");
        if let Some(user) = &self.user {
            user.own(&path);
        }
        path
    }

    /// The binary under test.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A command of kiln's, standard input closed.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = match (&self.user, &self.emulation) {
            (Some(user), _) => user.command(&self.program),
            (None, Some(emulation)) => emulation.command(&self.program),
            (None, None) => Command::new(&self.program),
        };
        command.args(args).stdin(Stdio::null());
        for (name, value) in self.environment() {
            command.env(name, value);
        }
        command
    }

    /// What kiln finds in its environment here.
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("KILN_ROOT", self.root()),
            ("HOME", self.home()),
            ("DOCKER_CONFIG", self.home().join(".docker")),
            ("BUILDKIT_PROGRESS", PathBuf::from("plain")),
        ]
    }

    /// Runs a command of kiln's to its end.
    pub fn run(&self, args: &[&str]) -> Answer {
        answer(&mut self.command(args))
    }

    /// Runs a command of kiln's that must succeed.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> Answer {
        self.run(args).succeeded()
    }

    /// Runs a command of kiln's that must fail, with all of `words` in what it says.
    #[track_caller]
    pub fn fails(&self, args: &[&str], words: &[&str]) -> Answer {
        let answer = self.run(args);
        assert!(!answer.status.success(), "should have failed: {answer}");
        for word in words {
            assert!(answer.stderr.contains(word), "{word:?} is missing in what it said: {answer}");
        }
        assert!(!answer.stderr.contains("panicked"), "{answer}");
        answer
    }

    /// Builds the context `directory` with these flags and returns what became of each step.
    #[track_caller]
    pub fn build(&self, directory: &Path, flags: &[&str]) -> Vec<Step> {
        let directory = directory.to_str().expect("path in UTF-8");
        let mut args = vec!["build", "--progress", "plain"];
        args.extend(flags);
        args.push(directory);
        steps(&self.ok(&args).stderr)
    }

    /// Loads one of the base images (`busybox`, `debian`, `gcc`, `python`) under its public name.
    #[track_caller]
    pub fn load(&self, base: &str) {
        let layout = fixture(base);
        let tar = Command::new("tar").arg("-C").arg(&layout).args(["-c", "."]).stdout(Stdio::piped()).spawn();
        let mut tar = tar.expect("tar");
        let archive = tar.stdout.take().expect("piped");
        answer(self.command(&["load"]).stdin(archive)).succeeded();
        assert!(tar.wait().expect("tar").success());
    }
}

impl Default for Kiln {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Kiln {
    fn drop(&mut self) {
        let left = hygiene::left_behind(&self.root());
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
        }
    }
}

impl Answer {
    /// The exit code; a signal's number plus 128 if one ended it.
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    /// Itself, if the command succeeded.
    #[track_caller]
    pub fn succeeded(self) -> Answer {
        assert!(self.status.success(), "{self}");
        self
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}\nstdout:\n{}\nstderr:\n{}", self.command, self.status, self.stdout, self.stderr)
    }
}

/// Runs any command to its end.
pub fn answer(command: &mut Command) -> Answer {
    let shown = format!("{command:?}");
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|e| panic!("cannot start {shown}: {e}"));
    Answer {
        command: shown,
        status,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Runs another program that must succeed, and returns what it wrote to standard output.
#[track_caller]
pub fn tool(name: &str, args: &[&str]) -> String {
    answer(Command::new(name).args(args).stdin(Stdio::null())).succeeded().stdout
}

/// The OCI layout of a base image.
pub fn fixture(base: &str) -> PathBuf {
    let layout = workspace().join("target/fixtures").join(base);
    assert!(layout.join("index.json").is_file(), "no {}: run `cargo xtask fixtures` first", layout.display());
    layout
}

/// `$KILN_BIN`, or the newest that cargo built in any profile.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("KILN_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("path of this test");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    let target = profile.parent().expect("target");
    let built = ["debug", "release"].map(|profile| target.join(profile).join("kiln"));
    let time = |path: &PathBuf| path.metadata().and_then(|found| found.modified()).ok();
    let newest = built.into_iter().filter(|path| path.is_file()).max_by_key(time);
    newest.unwrap_or_else(|| panic!("no kiln in {}: run `cargo build` first", target.display()))
}
