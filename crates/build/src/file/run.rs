//! Doing what a file operation says: its actions in order, into one new layer.

use std::sync::Arc;

use kiln_graph::{FileAction, FileOp, MakeDirectory, WriteFile};
use kiln_sandbox::AccountFiles;
use kiln_sandbox::users::{self, Owner};
use kiln_store::{FileDigest, FileStamp, Hashing, Kind, Layer, LayerWriter, Metadata, Timestamp, Union};

use super::chmod::ModeChange;
use super::copy::{Copier, LandedFiles};
use super::destination::{Destination, parent};
use super::{FileError, Selection};
use crate::tree::{Tree, join, lossy};

/// A file operation with everything that it works on.
pub(crate) struct FileJob<'a> {
    /// What to do.
    pub(crate) op: &'a FileOp,
    /// The root file system below the new layer.
    pub(crate) base: &'a Union,
    /// For each copy action, in order: where from, and what.
    pub(crate) copies: &'a [Arc<(Tree, Selection)>],
    /// The layer that an earlier run of this step made: unchanged files are linked from it.
    pub(crate) previous: Option<&'a Layer>,
    /// Digests of context files by path, as far as they are known.
    pub(crate) known: &'a (dyn Fn(&crate::tree::Node) -> Option<FileDigest> + Sync),
    /// Learns what a context's file in this state holds.
    pub(crate) learnt: &'a (dyn Fn(FileStamp, FileDigest) + Sync),
    /// Whether nobody waits for it any more.
    pub(crate) cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// What a context's file was when it was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LandedFile {
    pub(crate) digest: FileDigest,
    pub(crate) mode: u32,
}

/// What was copied from contexts, by copy action and path in the context.
#[derive(Debug, Default)]
pub(crate) struct Landed {
    pub(crate) files: Vec<LandedFiles>,
}

/// Does it, into `writer`.
pub(crate) fn run(job: &FileJob<'_>, writer: &LayerWriter) -> Result<Landed, FileError> {
    let destination = Destination { writer, base: job.base };
    let mut landed = Landed::default();
    for action in &job.op.actions {
        match action {
            FileAction::Copy(copy) => {
                let (tree, selection) = &*job.copies[landed.files.len()];
                let owner = owner_of(copy.owner.as_deref(), job.base)?;
                let mode = copy.chmod.as_ref().map(ModeChange::new).transpose()?;
                let copier = Copier::new(copy, tree, &destination, owner, mode, job);
                landed.files.push(copier.copy(selection)?);
            }
            FileAction::MakeDirectory(make) => make_directory(make, &destination, job)?,
            FileAction::WriteFile(write) => write_file(write, &destination, job)?,
        }
    }
    Ok(landed)
}

/// Whom `--chown` names, or USER for the directories of WORKDIR, by the account files of the base.
fn owner_of(chown: Option<&str>, base: &Union) -> Result<Option<Owner>, FileError> {
    let Some(chown) = chown else { return Ok(None) };
    let files = AccountFiles::of_layers(base)?;
    Ok(Some(users::owning(chown, files.accounts())?))
}

fn metadata(mode: u32, owner: Option<Owner>) -> Metadata {
    let Owner { uid, gid } = owner.unwrap_or_default();
    Metadata { uid, gid, ..Metadata::root_owned(mode, Timestamp::now()) }
}

fn make_directory(make: &MakeDirectory, destination: &Destination<'_>, job: &FileJob<'_>) -> Result<(), FileError> {
    let owner = owner_of(make.owner.as_deref(), job.base)?;
    let path = destination.resolve(make.path.as_bytes())?;
    destination.make_directories(&path, &metadata(make.mode, owner))?;
    Ok(())
}

fn write_file(write: &WriteFile, destination: &Destination<'_>, job: &FileJob<'_>) -> Result<(), FileError> {
    let owner = owner_of(write.owner.as_deref(), job.base)?;
    let change = write.chmod.as_ref().map(ModeChange::new).transpose()?;
    let made = metadata(change.as_ref().map_or(0o755, ModeChange::made_directory), owner);
    let mut path = destination.resolve(write.destination.as_bytes())?;
    let directory = if write.into_directory { path.as_slice() } else { parent(&path) };
    destination.make_directories(directory, &made)?;
    if destination.kind(&path) == Some(Kind::Directory) {
        path = join(&path, write.name.as_bytes());
    }
    if destination.kind(&path) == Some(Kind::Directory) {
        return Err(FileError::DirectoryInTheWay(lossy(&path)));
    }
    let mode = change.map_or(0o644, |change| change.apply(0o644, false));
    let mut file = destination.writer.file(&path, &metadata(mode, owner), Hashing::Now)?;
    let written = std::io::Write::write_all(&mut file, &write.content.0);
    written.map_err(|error| FileError::Write { path: lossy(&path), reason: error.to_string() })?;
    file.finish()?;
    Ok(())
}
