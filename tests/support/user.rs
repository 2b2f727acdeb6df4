//! An unprivileged user who exists only for the processes that are started as him: in a mount namespace of their own
//! they see other account files. The machine's own are not touched. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Gid, Uid};
use tempfile::TempDir;

const ID: u32 = 4711;

/// Binds the account files, becomes the user, runs the rest of the command line.
const BECOME: &str = r#"
for file in passwd group subuid subgid; do mount --bind "$0/$file" "/etc/$file" || exit 99; done
exec setpriv --reuid=4711 --regid=4711 --clear-groups --inh-caps=-all -- "$@"
"#;

/// The user, with or without subordinate ids.
pub struct User {
    accounts: TempDir,
}

impl User {
    /// A user with 65,536 subordinate user and group ids.
    pub fn with_subordinate_ids() -> User {
        User::new("tester:2000000:65536\n")
    }

    /// A user with nothing but his own id.
    pub fn with_single_id() -> User {
        User::new("")
    }

    fn new(subordinate: &str) -> User {
        let accounts = TempDir::with_prefix("kiln-accounts-").expect("temporary directory");
        let write = |name: &str, text: String| {
            std::fs::write(accounts.path().join(name), text).expect("account file");
        };
        let old = |name: &str| std::fs::read_to_string(Path::new("/etc").join(name)).expect("account file");
        write("passwd", old("passwd") + &format!("tester:x:{ID}:{ID}::/nonexistent:/bin/sh\n"));
        write("group", old("group") + &format!("tester:x:{ID}:\n"));
        write("subuid", subordinate.to_owned());
        write("subgid", subordinate.to_owned());
        User { accounts }
    }

    /// A command that this user runs.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "slave", "sh", "-c", BECOME]);
        command.arg(self.accounts.path()).arg(program);
        command.env("USER", "tester").env_remove("XDG_RUNTIME_DIR").env_remove("XDG_DATA_HOME");
        command
    }

    /// Gives a file or directory to this user.
    pub fn own(&self, path: &PathBuf) {
        let done = rustix::fs::chown(path, Some(Uid::from_raw(ID)), Some(Gid::from_raw(ID)));
        done.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}
