//! The other tools, each with a place of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_tests::kiln::{Answer, Kiln, answer, tool};
use tempfile::TempDir;

/// Podman or buildah with a store of its own, which goes when this is dropped.
pub(crate) struct Containers {
    program: &'static str,
    root: PathBuf,
    /// Podman refuses a long path here.
    runroot: TempDir,
}

impl Containers {
    pub(crate) fn podman(kiln: &Kiln) -> Containers {
        Containers::of("podman", kiln)
    }

    pub(crate) fn buildah(kiln: &Kiln) -> Containers {
        Containers::of("buildah", kiln)
    }

    fn of(program: &'static str, kiln: &Kiln) -> Containers {
        let runroot = TempDir::with_prefix("p").expect("temporary directory");
        Containers { program, root: kiln.scratch(program), runroot }
    }

    /// Runs a command that must succeed; what it wrote to its standard output, without the last line break.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.run(args).succeeded().stdout.trim().to_owned()
    }

    fn run(&self, args: &[&str]) -> Answer {
        let mut command = Command::new(self.program);
        command.args(["--root", text(&self.root), "--runroot", text(self.runroot.path()), "--storage-driver", "vfs"]);
        answer(command.args(args).stdin(Stdio::null()))
    }

    /// The id of an image there, as kiln writes ids.
    #[track_caller]
    pub(crate) fn id(&self, name: &str) -> String {
        let id = match self.program {
            "buildah" => self.ok(&["inspect", "--type", "image", "--format", "{{.FromImageID}}", name]),
            _ => self.ok(&["image", "inspect", "--format", "{{.Id}}", name]),
        };
        format!("sha256:{}", id.trim_start_matches("sha256:"))
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        // A mount of a container would keep the disk beneath.
        if self.program == "buildah" {
            self.run(&["rm", "--all"]);
        }
        self.run(&["rmi", "--all", "--force"]);
    }
}

/// Skopeo's copy between two places that it knows, over plain HTTP where one is a registry.
#[track_caller]
pub(crate) fn skopeo_copy(flags: &[&str], from: &str, to: &str) {
    let mut args = vec!["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"];
    args.extend(flags);
    args.extend([from, to]);
    tool("skopeo", &args);
}

/// The digest that a registry has under a name, as skopeo computes it.
#[track_caller]
pub(crate) fn digest_in_registry(place: &str) -> String {
    let place = format!("docker://{place}");
    let raw = answer(
        Command::new("sh")
            .args(["-c", "skopeo inspect --raw --tls-verify=false \"$1\" | sha256sum"])
            .args(["sh", &place]),
    );
    let hex = raw.succeeded().stdout.split_whitespace().next().expect("a digest").to_owned();
    format!("sha256:{hex}")
}

/// The digest of the config of the image at a place that skopeo knows: podman and buildah leave out of an image in OCI's
/// form what only docker's has.
#[track_caller]
pub(crate) fn config_at(place: &str) -> String {
    let raw = tool("skopeo", &["inspect", "--raw", "--tls-verify=false", place]);
    let manifest: serde_json::Value = serde_json::from_str(&raw).expect("a manifest");
    manifest["config"]["digest"].as_str().expect("the config's digest").to_owned()
}

/// Type, mode, owner, links and content of everything in a directory.
#[track_caller]
pub(crate) fn listing(tree: &Path) -> BTreeSet<String> {
    let script = r#"cd "$1" && find . -mindepth 1 -printf '%P %y %m %n %U:%G %l\n' &&
        find . -type f -print0 | xargs -0 -r sha256sum"#;
    let list = answer(Command::new("sh").args(["-c", script, "sh"]).arg(tree)).succeeded().stdout;
    list.lines().map(str::to_owned).collect()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}
