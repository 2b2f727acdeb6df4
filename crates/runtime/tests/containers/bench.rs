//! What the cases stand on: a busybox rootfs, fresh uppers, and containers run to their end.

use std::cell::Cell;
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kiln_runtime::oci::Spec;
use kiln_runtime::spec::{self, Network};
use kiln_runtime::{Exit, Launch, Overlay, Rootfs, StartError, Stdio, Tier, start};

const APPLETS: &str = "cat chmod chown dd echo env false head hostname id kill ln ls mkdir mount rm \
                       sed setsid sh sleep sort stat stty test touch true tr tty ulimit wc";

/// Makes the lowest layer, `base`.
pub(crate) fn make_base(directory: &Path) -> Result<(), String> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let Some(busybox) = busybox else {
        return Err("no busybox on this machine".to_owned());
    };
    let base = directory.join("base");
    let bin = base.join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::copy(busybox, bin.join("busybox")).unwrap();
    for applet in APPLETS.split_whitespace() {
        symlink("busybox", bin.join(applet)).unwrap();
    }
    for name in ["etc", "tmp", "home"] {
        fs::create_dir(base.join(name)).unwrap();
    }
    fs::write(base.join("etc/name"), "base\n").unwrap();
    fs::write(base.join("etc/data"), "not a program\n").unwrap();
    symlink("/home", base.join("link")).unwrap();
    fs::set_permissions(base.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    Ok(())
}

/// The mount points of this process's namespace that lie beneath a directory.
pub(crate) fn mounts_beneath(directory: &Path) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(directory)).map(str::to_owned).collect()
}

/// Removes everything beneath a directory, also what overlayfs left unreadable.
pub(crate) fn remove_contents(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
            remove_contents(&path);
            fs::remove_dir(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
    }
}

/// One case's place to work in.
pub(crate) struct Bench {
    directory: PathBuf,
    pub(crate) tier: Tier,
    next: Cell<u32>,
}

/// A container that has ended, with what it wrote.
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) output: String,
    pub(crate) notes: Vec<String>,
}

impl Ended {
    pub(crate) fn code(&self) -> u8 {
        self.exit.status.exit_code()
    }
}

impl Bench {
    pub(crate) fn new(directory: &Path, tier: Tier) -> Self {
        let next = Cell::new(0);
        let case = (0..).map(|n| directory.join(format!("case{n}"))).find(|path| !path.exists());
        let case = case.unwrap();
        fs::create_dir(&case).unwrap();
        Bench { directory: case, tier, next }
    }

    pub(crate) fn base(&self) -> PathBuf {
        self.directory.parent().unwrap().join("base")
    }

    /// A new empty directory.
    pub(crate) fn fresh(&self, name: &str) -> PathBuf {
        let number = self.next.replace(self.next.get() + 1);
        let path = self.directory.join(format!("{name}{number}"));
        fs::create_dir(&path).unwrap();
        path
    }

    /// The base with an empty upper on it.
    pub(crate) fn overlay(&self) -> Overlay {
        Overlay { lowers: vec![self.base()], upper: self.fresh("upper"), work: self.fresh("work"), volatile: true }
    }

    pub(crate) fn spec(&self, arguments: &[&str]) -> Spec {
        self.spec_for(arguments, 0, &[], Network::Host)
    }

    pub(crate) fn spec_for(&self, arguments: &[&str], id: u32, groups: &[u32], network: Network) -> Spec {
        let arguments = arguments.iter().map(|text| text.to_string()).collect();
        let environment = vec!["PATH=/bin".to_owned(), "GREETING=hello".to_owned()];
        let user = spec::user(id, id, groups.to_vec()).unwrap();
        let process = spec::process(arguments, environment, "/", user).unwrap();
        spec::docker_default(process, "bench", &network).unwrap()
    }

    /// A launch of a shell script on a fresh overlay.
    pub(crate) fn script(&self, script: &str) -> Launch {
        self.launch(self.spec(&["sh", "-c", script]))
    }

    pub(crate) fn launch(&self, spec: Spec) -> Launch {
        Launch::new(spec, Rootfs::Overlay(self.overlay()), self.tier.clone())
    }

    /// Runs to the end and collects output and errors.
    pub(crate) fn run(&self, mut launch: Launch) -> Result<Ended, StartError> {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let copy = writer.try_clone().unwrap();
        launch.stdio =
            Stdio::Streams { stdin: None, stdout: Some(OwnedFd::from(writer)), stderr: Some(OwnedFd::from(copy)) };
        let mut container = start(launch)?;
        let mut output = String::new();
        reader.read_to_string(&mut output).unwrap();
        let exit = container.wait().unwrap();
        let notes = container.notes().iter().map(|note| note.0.clone()).collect();
        Ok(Ended { exit, output, notes })
    }

    /// The output of a script that must succeed.
    pub(crate) fn output(&self, script: &str) -> String {
        let ended = self.run(self.script(script)).unwrap();
        assert_eq!(ended.code(), 0, "{}", ended.output);
        ended.output
    }
}

/// Relative paths of everything beneath a directory, sorted.
pub(crate) fn list(directory: &Path) -> Vec<String> {
    fn walk(directory: &Path, root: &Path, into: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            into.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            if path.is_dir() && !path.is_symlink() {
                walk(&path, root, into);
            }
        }
    }
    let mut paths = Vec::new();
    walk(directory, directory, &mut paths);
    paths.sort();
    paths
}
