//! Making files without a process.

use serde::Serialize;

use crate::{Content, InputIndex};

/// Actions that together make one layer on top of a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileOp {
    /// The root file system that it is made on, `None` for an empty one. Destination symlinks, users and
    /// groups are looked up in it.
    pub base: Option<InputIndex>,
    /// What to do, in order.
    pub actions: Vec<FileAction>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileAction {
    /// Copies from another root file system.
    Copy(Copy),
    /// Makes a directory and its missing parents.
    MakeDirectory(MakeDirectory),
    /// Writes a file whose content the graph holds.
    WriteFile(WriteFile),
}

/// Copies files and directories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Copy {
    /// Where from.
    pub from: InputIndex,
    /// Paths in it, from its root; may hold wildcards in the manner of Go's `filepath.Match`.
    pub sources: Vec<String>,
    /// The destination, absolute.
    pub destination: String,
    /// Whether the destination was written as a directory (`/` at its end, or `.`).
    pub into_directory: bool,
    /// `user[:group]`, names or numbers looked up in the base.
    pub owner: Option<String>,
    /// The mode of what is copied.
    pub chmod: Option<Chmod>,
    /// Keep the sources' parent directories (`--parents`).
    pub parents: bool,
    /// Patterns of what is left out, in the manner of `.dockerignore`.
    pub exclude: Vec<String>,
    /// Whether archives are unpacked.
    pub unpack: Unpack,
}

/// A change of permissions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Chmod {
    /// These bits.
    Octal(u32),
    /// Clauses such as `u+x,go-w`.
    Symbolic(String),
}

/// Whether an archive among the sources is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unpack {
    /// It is copied as a file.
    Never,
    /// It is unpacked if its content says that it is one, else copied.
    Detect,
}

/// Makes a directory and its missing parents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MakeDirectory {
    /// Which, absolute; symlinks in it are followed within the base.
    pub path: String,
    /// Permissions of what is made.
    pub mode: u32,
    /// `user[:group]` of what is made.
    pub owner: Option<String>,
}

/// Writes a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WriteFile {
    /// The name of the file where the destination is a directory.
    pub name: String,
    /// The destination, absolute.
    pub destination: String,
    /// Whether the destination was written as a directory.
    pub into_directory: bool,
    /// The content.
    pub content: Content,
    /// `user[:group]` of the file.
    pub owner: Option<String>,
    /// The mode of the file; 0644 without.
    pub chmod: Option<Chmod>,
}

impl FileOp {
    /// The inputs that it names.
    pub fn used_inputs(&self) -> Vec<InputIndex> {
        let copied = self.actions.iter().filter_map(|action| match action {
            FileAction::Copy(copy) => Some(copy.from),
            FileAction::MakeDirectory(_) | FileAction::WriteFile(_) => None,
        });
        self.base.into_iter().chain(copied).collect()
    }
}
