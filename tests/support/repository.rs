//! git repositories as a test makes them, and a server for them on loopback.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::kiln::{answer, tool};

/// A repository with a working tree.
pub struct Repository {
    path: PathBuf,
}

impl Repository {
    /// An empty repository with the branch `main`.
    pub fn new(path: &Path) -> Repository {
        fs::create_dir_all(path).expect("directory of a repository");
        let repository = Repository { path: path.to_owned() };
        repository.git(&["init", "--quiet", "--initial-branch=main", "."]);
        repository
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs git in it, with nobody's configuration.
    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.path).args(args).stdin(Stdio::null());
        for (name, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_AUTHOR_NAME", "t"),
            ("GIT_AUTHOR_EMAIL", "t@example.com"),
            ("GIT_COMMITTER_NAME", "t"),
            ("GIT_COMMITTER_EMAIL", "t@example.com"),
            ("GIT_ALLOW_PROTOCOL", "file:git:ext"),
        ] {
            command.env(name, value);
        }
        answer(&mut command).succeeded().stdout.trim().to_owned()
    }

    /// Commits these files and gives the commit.
    #[track_caller]
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            let path = self.path.join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("directory");
            fs::write(path, content).expect("file");
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "x"]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// Serves the repositories in a directory by the git protocol while the process lives.
pub struct GitServer {
    port: u16,
    breaks: Arc<AtomicUsize>,
}

impl GitServer {
    /// Serves on a free port.
    pub fn serve(directory: &Path) -> GitServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port on loopback");
        let port = listener.local_addr().expect("address").port();
        let daemon = PathBuf::from(tool("git", &["--exec-path"]).trim()).join("git-daemon");
        let directory = directory.to_owned();
        let breaks = Arc::<AtomicUsize>::default();
        let broken = Arc::clone(&breaks);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if broken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                    continue;
                }
                let (input, output) = (OwnedFd::from(stream.try_clone().expect("socket")), OwnedFd::from(stream));
                let mut command = Command::new(&daemon);
                command.args(["--inetd", "--export-all"]);
                command.arg(format!("--base-path={}", directory.display())).arg(&directory);
                command.stdin(input).stdout(output).stderr(Stdio::null());
                let mut child = command.spawn().expect("git daemon");
                drop(command);
                std::thread::spawn(move || child.wait());
            }
        });
        GitServer { port, breaks }
    }

    /// The next so many connections are closed without an answer.
    pub fn break_off(&self, connections: usize) {
        self.breaks.store(connections, Ordering::SeqCst);
    }

    /// The address of a repository.
    pub fn url(&self, path: &str) -> String {
        format!("git://127.0.0.1:{}/{path}", self.port)
    }
}
