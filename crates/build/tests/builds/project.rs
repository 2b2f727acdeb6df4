//! A context, a Dockerfile and a store that go with the test.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln_build::{
    Allowed, BuildError, Builder, DockerfileText, ExplainedBuild, ExplainedStep, IgnoreFile, Kept, LocalClient,
    LocalDirectory, Outcome, Reason, Request, StepResult,
};
use kiln_dockerfile::NoCache;
use kiln_graph::NetworkMode;
use kiln_progress::Sink;
use kiln_registry::{Anonymous, Client, Config};
use kiln_sandbox::Tier;
use kiln_store::{Kind, Layer, Mode, Store, Union};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The time of files whose time does not matter.
const MOMENT: u64 = 1_500_000_000;

pub(crate) struct Project {
    directory: TempDir,
    context: PathBuf,
    pub(crate) store: Store,
    pub(crate) ignore: Option<String>,
    pub(crate) build_args: BTreeMap<String, String>,
}

impl Project {
    /// An empty context. Everybody can run these tests: a file operation records owners whatever the disk can hold.
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
        let mode = if rustix::process::geteuid().is_root() { Mode::Root } else { Mode::Rootless };
        let store = Store::open(&directory.path().join("store"), mode).unwrap();
        let context = directory.path().join("context");
        std::fs::create_dir(&context).unwrap();
        Project { directory, context, store, ignore: None, build_args: BTreeMap::new() }
    }

    /// Where a path of the context is on disk.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.context.join(path)
    }

    /// Writes a file of mode 0644 with a fixed time, and the directories above it.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let at = self.at(path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(&at, content).unwrap();
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o644)).unwrap();
        self.touch(path, MOMENT);
    }

    /// Sets a file's time, in seconds.
    pub(crate) fn touch(&self, path: &str, seconds: u64) {
        let file = std::fs::File::open(self.at(path)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    /// Sets permissions.
    pub(crate) fn chmod(&self, path: &str, mode: u32) {
        std::fs::set_permissions(self.at(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// From now on the context is a copy of itself elsewhere, with new times.
    pub(crate) fn move_to_a_clone(&mut self) {
        let clone = self.directory.path().join("clone");
        let copied = std::process::Command::new("cp").arg("-r").arg(&self.context).arg(&clone).status().unwrap();
        assert!(copied.success());
        self.context = clone;
    }

    pub(crate) fn try_build(&self, dockerfile: &str) -> Result<Built, BuildError> {
        let named = |text: &String| IgnoreFile { name: ".dockerignore".into(), text: text.clone() };
        let ignore = self.ignore.as_ref().map(named);
        let main = LocalDirectory { path: self.context.clone(), ignore };
        let client = Arc::new(LocalClient::new(BTreeMap::from([("context".to_owned(), main)])));
        let registry = Client::new(Config::default(), Arc::new(Anonymous));
        let builder = Builder::new(self.store.clone(), Tier::Root, registry);
        let request = self.request(dockerfile);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let built = builder.build(&request, client, Sink::none(), CancellationToken::new());
        let outcome = runtime.block_on(built)?;
        let explained = builder.explained().unwrap();
        Ok(Built { layers: self.layers(&outcome), explained })
    }

    pub(crate) fn build(&self, dockerfile: &str) -> Built {
        self.try_build(dockerfile).unwrap_or_else(|error| panic!("{dockerfile}\n{error}"))
    }

    /// The message of a build that fails.
    pub(crate) fn failure(&self, dockerfile: &str) -> String {
        match self.try_build(dockerfile) {
            Ok(_) => panic!("this must fail:\n{dockerfile}"),
            Err(error) => error.to_string(),
        }
    }

    fn request(&self, text: &str) -> Request {
        Request {
            dockerfile: DockerfileText { name: "Dockerfile".into(), text: text.into() },
            build_args: self.build_args.clone(),
            labels: BTreeMap::new(),
            target: None,
            platforms: Vec::new(),
            named_contexts: BTreeMap::new(),
            no_cache: NoCache::default(),
            pull: false,
            network: NetworkMode::Default,
            extra_hosts: Vec::new(),
            shm_size: None,
            ulimits: Vec::new(),
            cgroup_parent: None,
            allow: Allowed::default(),
            names: Vec::new(),
            kept: Some(Kept::default()),
            outputs: Vec::new(),
            squash: false,
            all_stages: false,
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            jobs: None,
            keep_going: false,
            step_bounds: kiln_build::Bounds::default(),
        }
    }

    fn layers(&self, outcome: &Outcome) -> Vec<Layer> {
        let id = outcome.images[0].id.as_ref().unwrap();
        let image = self.store.images().get(id).unwrap().unwrap();
        let ids = image.layers.iter().map(|layer| layer.layer.unwrap());
        ids.map(|id| self.store.layers().get(id).unwrap().unwrap()).collect()
    }
}

pub(crate) struct Built {
    pub(crate) explained: ExplainedBuild,
    pub(crate) layers: Vec<Layer>,
}

impl Built {
    /// For each step, in the order of the Dockerfile, whether the cache had it.
    pub(crate) fn cached(&self) -> Vec<bool> {
        self.in_order().iter().map(|step| step.result == StepResult::Hit).collect()
    }

    /// Why a step ran.
    pub(crate) fn reasons(&self, step: usize) -> &[Reason] {
        &self.in_order()[step].reasons
    }

    fn in_order(&self) -> Vec<&ExplainedStep> {
        let mut steps: Vec<&ExplainedStep> = self.explained.steps.iter().collect();
        steps.sort_by_key(|step| (step.position.line, step.index));
        steps
    }

    pub(crate) fn files(&self) -> Union {
        Union::new(self.layers.clone()).unwrap()
    }

    pub(crate) fn read(&self, path: &str) -> String {
        let bytes = self.files().read_small(path, 1 << 20).unwrap();
        String::from_utf8(bytes.unwrap_or_else(|| panic!("there is no {path}"))).unwrap()
    }

    /// One line per entry but the root: kind, path, mode, owner, target.
    pub(crate) fn show(&self) -> String {
        let union = self.files();
        let mut text = String::new();
        for found in union.walk("").iter().skip(1) {
            let entry = &found.entry;
            let path = String::from_utf8_lossy(entry.path());
            let kind = match entry.kind() {
                Kind::File => "file",
                Kind::Directory => "dir",
                Kind::Symlink => "link",
                Kind::Fifo => "fifo",
                _ => "other",
            };
            text += &match entry.kind() {
                Kind::Symlink => format!("{kind} {path} -> {}\n", String::from_utf8_lossy(entry.target())),
                _ => format!("{kind} {path} {:o} {}:{}\n", entry.mode(), entry.uid(), entry.gid()),
            };
        }
        text
    }
}
