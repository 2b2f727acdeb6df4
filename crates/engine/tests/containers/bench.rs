//! An engine on a store with one image, `box:latest`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use kiln_engine::{CreateOptions, Engine, Error, Stream, Tier};
use kiln_oci::{ContainerConfig, Digest, HistoryEntry, ImageConfig, Platform, Reference, RootFs};
use kiln_store::{Hashing, ImageLayer, LayerWriter, Metadata, Mode, NewImage, Store, Timestamp};

const APPLETS: [&str; 16] = [
    "sh", "cat", "echo", "ls", "sleep", "env", "id", "hostname", "stat", "touch", "rm", "true", "false", "tr", "test",
    "stty",
];

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) directory: PathBuf,
    pub(crate) image: Digest,
}

/// What a run gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn open(directory: &Path, tier: Tier) -> Engine {
    let mode = if tier.is_rootless() { Mode::Rootless } else { Mode::Root };
    Engine::new(Store::open(&directory.join("store"), mode).unwrap(), tier)
}

pub(crate) fn options(command: &[&str]) -> CreateOptions {
    CreateOptions {
        image: "box".into(),
        command: command.iter().map(ToString::to_string).collect(),
        ..CreateOptions::default()
    }
}

impl Bench {
    pub(crate) fn new(directory: &Path, tier: Tier) -> Self {
        let engine = open(directory, tier);
        let image = make_image(engine.store(), "box:latest", "sh");
        Bench { engine, directory: directory.into(), image }
    }

    /// Makes and starts a container, and hands over what it gave.
    pub(crate) fn run(&self, options: &CreateOptions) -> Result<Ran, Error> {
        let container = self.engine.create(options)?;
        self.start(&container.id)
    }

    pub(crate) fn script(&self, script: &str) -> Ran {
        self.run(&CreateOptions { auto_remove: true, ..options(&["sh", "-c", script]) }).unwrap()
    }

    pub(crate) fn start(&self, name: &str) -> Result<Ran, Error> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let code = self.engine.start(name, Some((24, 80)))?.run(None, &mut |stream, bytes| match stream {
            Stream::Stdout => stdout.extend_from_slice(bytes),
            Stream::Stderr => stderr.extend_from_slice(bytes),
        })?;
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ok(Ran { code, stdout: text(stdout), stderr: text(stderr) })
    }
}

pub(crate) fn metadata(mode: u32) -> Metadata {
    Metadata::root_owned(mode, Timestamp::from_seconds(1_700_000_000))
}

pub(crate) fn make_image(store: &Store, name: &str, command: &str) -> Digest {
    let writer = store.layers().stage(&metadata(0o755)).unwrap().writer().unwrap();
    fill(&writer);
    let layer = writer.commit().unwrap();
    let diff_id = Digest::of(b"the tar of the base");
    store.layers().set_diff_id(&layer, &diff_id, true).unwrap();
    let config = ImageConfig {
        created: Some("2024-01-02T03:04:05Z".into()),
        architecture: "amd64".into(),
        os: "linux".into(),
        config: Some(ContainerConfig {
            env: vec!["PATH=/bin".into(), "FROM_IMAGE=yes".into()],
            cmd: Some(vec![command.into()]),
            volumes: [("/anonymous".to_owned(), serde_json::Map::new())].into(),
            ..ContainerConfig::default()
        }),
        rootfs: RootFs { diff_ids: vec![diff_id.clone()], ..RootFs::default() },
        history: vec![
            HistoryEntry { created_by: Some("add files".into()), ..HistoryEntry::default() },
            HistoryEntry { created_by: Some(format!("CMD {command}")), empty_layer: true, ..HistoryEntry::default() },
        ],
        ..ImageConfig::default()
    };
    let id = store.blobs().insert(&config.to_bytes().unwrap()).unwrap().digest;
    let layers = vec![ImageLayer { diff_id, layer: Some(layer.id()), blob: None }];
    store.images().insert(&NewImage { id: id.clone(), platform: Platform::host(), manifest: None, layers }).unwrap();
    let reference: Reference = name.parse().unwrap();
    store.images().tag(&reference.with_default_tag().to_string(), &id).unwrap();
    id
}

fn fill(writer: &LayerWriter) {
    let mut busybox = writer.file("bin/busybox", &metadata(0o755), Hashing::Later).unwrap();
    busybox.copy_from_file(&File::open("/bin/busybox").expect("busybox-static is installed")).unwrap();
    busybox.finish().unwrap();
    for applet in APPLETS {
        writer.symlink(format!("bin/{applet}"), b"busybox", &metadata(0o777)).unwrap();
    }
    let files = [
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\nkiln:x:1234:2345::/home/kiln:/bin/sh\n"),
        ("etc/group", "root:x:0:\nwheel:x:10:root\n"),
        ("seed/d/f", "from the image\n"),
        ("anonymous/f", "seeded\n"),
    ];
    for (path, content) in files {
        let mut file = writer.file(path, &metadata(0o640), Hashing::Later).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file.finish().unwrap();
    }
    writer.symlink("seed/link", b"d/f", &metadata(0o777)).unwrap();
    writer.directory("tmp", &metadata(0o1777)).unwrap();
    writer.directory("seed/d", &metadata(0o750)).unwrap();
}
