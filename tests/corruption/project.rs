//! A store with a project built in it, and what an undisturbed build of that project exports.

use std::cell::{Cell, OnceCell};
use std::path::{Path, PathBuf};

use kiln_tests::kiln::{Answer, Kiln, tool};

/// Every step comes out the same each time; `CASE` only makes it another step.
const DOCKERFILE: &str = "FROM busybox\n\
    ARG CASE\n\
    COPY files /copied\n\
    RUN mkdir -p /ran/closed && echo 'made by a step' > /ran/r && ln -s r /ran/link && ln /ran/r /ran/hard \
    && chown 5:6 /ran/closed && rm -rf /home && mkdir /home && echo x > /home/x && rm /etc/group\n\
    COPY --from=busybox /bin/busybox /from/f\n";

/// A project in a store.
pub(crate) struct Project {
    pub(crate) kiln: Kiln,
    pub(crate) context: PathBuf,
    golden: OnceCell<String>,
    case: Cell<u32>,
}

impl Project {
    pub(crate) fn new(kiln: Kiln) -> Project {
        let context = kiln.scratch("context");
        std::fs::create_dir(context.join("files")).expect("files");
        std::fs::write(context.join("Dockerfile"), DOCKERFILE).expect("Dockerfile");
        std::fs::write(context.join("files/a"), "copied from a context\n").expect("file");
        std::fs::write(context.join("files/b"), "b".repeat(5000)).expect("file");
        kiln.load("busybox");
        let project = Project { kiln, context, golden: OnceCell::new(), case: Cell::new(0) };
        assert!(project.export().status.success());
        project.golden.set(project.exported()).expect("once");
        project
    }

    /// Builds with steps that are in no cache, so that nobody has hashed what they wrote. The base's blobs are there,
    /// also those that an earlier repair dropped because it had the layer.
    pub(crate) fn build_anew(&self) {
        self.kiln.load("busybox");
        self.case.set(self.case.get() + 1);
        let case = self.argument();
        let context = self.context.to_str().expect("UTF-8");
        self.kiln.ok(&["build", "-q", "--build-arg", &case, "--build-arg", "SOURCE_DATE_EPOCH=1", context]);
    }

    fn argument(&self) -> String {
        format!("CASE={}", self.case.get())
    }

    fn target(&self) -> PathBuf {
        self.kiln.home().join("exported.tar")
    }

    /// Builds what was built last, and exports its files with their times clamped.
    pub(crate) fn export(&self) -> Answer {
        // Gone already is fine.
        let _ = std::fs::remove_file(self.target());
        let output = format!("type=tar,dest={},rewrite-timestamp=true", self.target().display());
        let (case, context) = (self.argument(), self.context.to_str().expect("UTF-8"));
        let epoch = "SOURCE_DATE_EPOCH=1";
        self.kiln.run(&["build", "--build-arg", &case, "--build-arg", epoch, "-o", &output, context])
    }

    pub(crate) fn has_exported(&self) -> bool {
        self.target().exists()
    }

    /// The digest of what was exported.
    pub(crate) fn exported(&self) -> String {
        let sum = tool("sha256sum", &[self.target().to_str().expect("UTF-8")]);
        sum.split(' ').next().unwrap_or_default().to_owned()
    }

    /// The digest of what an undisturbed build exports.
    pub(crate) fn golden(&self) -> &str {
        self.golden.get().expect("made by the first build")
    }

    /// Repairs; everything is as it should be then.
    #[track_caller]
    pub(crate) fn repaired(&self) {
        let repaired = self.kiln.run(&["system", "check", "-q", "--repair"]);
        assert_eq!(repaired.code(), 0, "{repaired}");
        let clean = self.kiln.run(&["system", "check", "-q"]);
        assert_eq!(clean.code(), 0, "after {repaired}\n{clean}");
    }

    /// All layers that hold this path, the oldest first.
    pub(crate) fn layers_with(&self, path: &str) -> Vec<PathBuf> {
        let number = |directory: &Path| {
            let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            u64::from_str_radix(&name, 36).unwrap_or(0)
        };
        let all = std::fs::read_dir(self.kiln.root().join("layers")).expect("layers");
        let mut found: Vec<PathBuf> = all.map(|entry| entry.expect("entry").path()).collect();
        found.retain(|directory| directory.join("fs").join(path).symlink_metadata().is_ok());
        found.sort_by_key(|directory| number(directory));
        found
    }

    /// The youngest layer that holds this path.
    pub(crate) fn newest_layer(&self, path: &str) -> PathBuf {
        self.layers_with(path).pop().unwrap_or_else(|| panic!("no layer has {path}"))
    }

    /// This path in the youngest layer that holds it.
    pub(crate) fn newest(&self, path: &str) -> PathBuf {
        self.newest_layer(path).join("fs").join(path)
    }
}
