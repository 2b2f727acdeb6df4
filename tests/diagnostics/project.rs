//! A build that fails, and its message without what differs from run to run.

use std::fs;
use std::path::{Path, PathBuf};

use expect_test::Expect;
use kiln_tests::kiln::{Answer, Kiln};

/// A context with some files, and a kiln with base images.
pub(crate) struct Project {
    pub(crate) kiln: Kiln,
    pub(crate) context: PathBuf,
}

impl Project {
    /// A project whose store has these base images.
    pub(crate) fn with(bases: &[&str]) -> Project {
        Project::of(Kiln::new(), bases)
    }

    /// The same with a kiln of the caller's.
    pub(crate) fn of(kiln: Kiln, bases: &[&str]) -> Project {
        bases.iter().for_each(|base| kiln.load(base));
        let context = kiln.scratch("context");
        Project { kiln, context }
    }

    /// Writes a file, with the directories above it.
    pub(crate) fn file(&self, path: &str, content: &[u8]) {
        let path = self.context.join(path);
        fs::create_dir_all(path.parent().expect("in the context")).expect("directory");
        fs::write(path, content).expect("file");
    }

    /// Writes an executable file.
    pub(crate) fn program(&self, path: &str, content: &[u8]) {
        use std::os::unix::fs::PermissionsExt;
        self.file(path, content);
        fs::set_permissions(self.context.join(path), fs::Permissions::from_mode(0o755)).expect("mode");
    }

    /// The build of this Dockerfile fails with code 1 and exactly this message.
    #[track_caller]
    pub(crate) fn fails(&self, dockerfile: &str, expected: &Expect) {
        self.fails_with(dockerfile, &[], expected);
    }

    /// The same with flags.
    #[track_caller]
    pub(crate) fn fails_with(&self, dockerfile: &str, flags: &[&str], expected: &Expect) {
        self.file("Dockerfile", dockerfile.as_bytes());
        self.fails_as_it_is(flags, expected);
    }

    /// The same with the context as it is.
    #[track_caller]
    pub(crate) fn fails_as_it_is(&self, flags: &[&str], expected: &Expect) {
        let answer = self.kiln.run(&[&["build", "-q"], flags, &[text(&self.context)]].concat());
        assert_eq!(answer.code(), 1, "{answer}");
        assert!(answer.stdout.is_empty(), "{answer}");
        expected.assert_eq(&self.plain(&answer));
    }

    /// What was said, with words for the directories of this run and for names of logs.
    pub(crate) fn plain(&self, answer: &Answer) -> String {
        let mut said = answer.stderr.replace(text(&self.context), "CONTEXT").replace(text(&self.kiln.root()), "STORE");
        while let Some(start) = said.find("STORE/logs/") {
            let end = said[start..].find(".log").map_or(said.len(), |end| start + end + ".log".len());
            said.replace_range(start..end, "THE-LOG");
        }
        said
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}
