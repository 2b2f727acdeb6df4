//! A store with a base layer, and short ways to run something on it.

use std::fs::File;
use std::path::Path;

use kiln_runtime::Tier;
use kiln_sandbox::users::Identity;
use kiln_sandbox::{Error, Execution, Finished, Process, Sandbox, Stream, Upper};
use kiln_store::{Hashing, Layer, LayerWriter, Metadata, Mode, StagedLayer, Store, Timestamp, Union};

const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 18] = [
    "sh", "cat", "echo", "ls", "sleep", "setsid", "env", "id", "hostname", "grep", "stat", "touch", "mkdir", "rm",
    "wc", "tr", "true", "chmod",
];
const PATH: &str = "PATH=/bin";

pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) sandbox: Sandbox,
    pub(crate) base: Layer,
}

/// What a run gave.
pub(crate) struct Ran {
    pub(crate) finished: Finished,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The paths of the layer that the run made.
    pub(crate) layer: Vec<String>,
}

pub(crate) fn metadata(mode: u32) -> Metadata {
    Metadata::root_owned(mode, Timestamp::from_seconds(1_700_000_000))
}

impl Bench {
    pub(crate) fn new(directory: &Path, tier: Tier) -> Self {
        let mode = if tier.is_rootless() { Mode::Rootless } else { Mode::Root };
        let store = Store::open(&directory.join("store"), mode).unwrap();
        let base = make_base(&store);
        Bench { sandbox: Sandbox::new(store.clone(), tier), store, base }
    }

    pub(crate) fn layer(&self, fill: impl FnOnce(&LayerWriter)) -> Layer {
        layer(&self.store, fill)
    }

    pub(crate) fn stage(&self) -> StagedLayer {
        self.store.layers().stage(&metadata(0o755)).unwrap()
    }

    pub(crate) fn step(&self, staged: &StagedLayer, args: &[&str]) -> Execution {
        let upper = Upper { fs: staged.fs_path().into(), work: staged.work_path().into(), volatile: true };
        Execution::build_step(vec![self.base.clone()], upper, process(args))
    }

    /// Runs a shell script as a build step, after `change` was applied to the execution.
    pub(crate) fn run(&self, script: &str, change: impl FnOnce(&mut Execution)) -> Ran {
        let staged = self.stage();
        let mut execution = self.step(&staged, &["sh", "-c", script]);
        change(&mut execution);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let finished = self
            .sandbox
            .run(execution, &mut |stream, bytes| match stream {
                Stream::Stdout => stdout.extend_from_slice(bytes),
                Stream::Stderr => stderr.extend_from_slice(bytes),
            })
            .unwrap();
        let lower = Union::new(vec![self.base.clone()]).unwrap();
        let layer = staged.commit_upper(&lower).unwrap();
        let index = layer.index().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran {
            finished,
            stdout: text(stdout),
            stderr: text(stderr),
            layer: index.entries().skip(1).map(|entry| text(entry.path().to_vec())).collect(),
        }
    }

    /// The error of a start that must fail.
    pub(crate) fn failure(&self, args: &[&str]) -> Error {
        let staged = self.stage();
        let execution = self.step(&staged, args);
        self.sandbox.run(execution, &mut |_, _| {}).unwrap_err()
    }

    /// What lies in the directories of sessions.
    pub(crate) fn scratch(&self) -> Vec<String> {
        let sessions = std::fs::read_dir(self.store.root().join("tmp")).unwrap();
        let directories = sessions.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
        directories
            .flat_map(|session| std::fs::read_dir(session).unwrap())
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .map(|path| path.display().to_string())
            .collect()
    }
}

pub(crate) fn process(args: &[&str]) -> Process {
    let args = args.iter().map(ToString::to_string).collect();
    Process::new(args, vec![PATH.into()], "/", Identity::root())
}

fn layer(store: &Store, fill: impl FnOnce(&LayerWriter)) -> Layer {
    let writer = store.layers().stage(&metadata(0o755)).unwrap().writer().unwrap();
    fill(&writer);
    writer.commit().unwrap()
}

pub(crate) fn write(writer: &LayerWriter, path: &str, mode: u32, content: &[u8]) {
    use std::io::Write;
    let mut file = writer.file(path, &metadata(mode), Hashing::Later).unwrap();
    file.write_all(content).unwrap();
    file.finish().unwrap();
}

fn make_base(store: &Store) -> Layer {
    layer(store, |writer| {
        let mut busybox = writer.file("bin/busybox", &metadata(0o755), Hashing::Later).unwrap();
        let source = File::open(BUSYBOX).expect("busybox-static is installed");
        busybox.copy_from_file(&source).unwrap();
        busybox.finish().unwrap();
        for applet in APPLETS {
            writer.symlink(format!("bin/{applet}"), b"busybox", &metadata(0o777)).unwrap();
        }
        write(writer, "etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\nkiln:x:1234:2345::/home/kiln:/bin/sh\n");
        write(writer, "etc/group", 0o644, b"root:x:0:\nstaff:x:50:kiln\nkiln:x:2345:\n");
        write(writer, "etc/plain", 0o644, b"not a program\n");
        for mount_point in ["dev", "proc", "sys"] {
            writer.directory(mount_point, &metadata(0o755)).unwrap();
        }
        writer.directory("tmp", &metadata(0o1777)).unwrap();
        writer.directory("root", &metadata(0o700)).unwrap();
    })
}
