//! Putting a selection into a layer: directories first, files in parallel, hard links last.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use kiln_graph::{Copy, Unpack};
use kiln_sandbox::users::Owner;
use kiln_store::{FileDigest, Hashing, Kind, Metadata, Timestamp};
use rayon::prelude::*;

use super::archive;
use super::chmod::ModeChange;
use super::destination::{Destination, parent};
use super::run::{FileJob, LandedFile};
use super::{FileError, Selected, Selection};
use crate::context::ContextEntry;
use crate::tree::{Content, Node, Tree, join, lossy};

const CAPABILITY: &[u8] = b"security.capability";
/// How often a file that changes while it is copied is copied again.
const ATTEMPTS: usize = 8;

/// One copy action.
pub(super) struct Copier<'a> {
    copy: &'a Copy,
    tree: &'a Tree,
    destination: &'a Destination<'a>,
    owner: Option<Owner>,
    mode: Option<ModeChange>,
    job: &'a FileJob<'a>,
}

/// A regular file and where it goes, from where all of them go; empty for that place itself.
struct FileCopy<'a> {
    node: &'a Node,
    below: &'a [u8],
}

impl FileCopy<'_> {
    fn path(&self, into: &[u8]) -> Vec<u8> {
        if self.below.is_empty() { into.to_vec() } else { join(into, self.below) }
    }
}

/// The first name of a file that has several, and where it goes.
type FirstName<'a> = (&'a Node, Vec<u8>);

/// What was copied from a context, by path in it.
pub(crate) type LandedFiles = HashMap<Arc<[u8]>, LandedFile>;

impl<'a> Copier<'a> {
    pub(super) fn new(
        copy: &'a Copy,
        tree: &'a Tree,
        destination: &'a Destination<'a>,
        owner: Option<Owner>,
        mode: Option<ModeChange>,
        job: &'a FileJob<'a>,
    ) -> Self {
        Copier { copy, tree, destination, owner, mode, job }
    }

    /// Copies all sources in order.
    pub(super) fn copy(&self, selection: &Selection) -> Result<LandedFiles, FileError> {
        let mut landed = HashMap::new();
        for selected in &selection.sources {
            self.source(selected, &mut landed)?;
        }
        Ok(landed)
    }

    fn source(&self, selected: &Selected, landed: &mut LandedFiles) -> Result<(), FileError> {
        let mut path = self.destination.resolve(self.copy.destination.as_bytes())?;
        if self.copy.unpack == Unpack::Detect && self.unpacked(selected, &path, landed)? {
            return Ok(());
        }
        let directory = if self.copy.into_directory || self.copy.parents { path.as_slice() } else { parent(&path) };
        self.destination.make_directories(directory, &self.made())?;
        if self.copy.parents {
            self.parents(selected, &path)?;
            path = join(&path, &selected.name);
        }
        match selected.root.kind {
            Kind::Directory => self.directory(selected, &path, landed),
            _ => self.single(selected, path, landed),
        }
    }

    /// The metadata of directories that are made on the way to the destination.
    fn made(&self) -> Metadata {
        let Owner { uid, gid } = self.owner.unwrap_or_default();
        let mode = self.mode.as_ref().map_or(0o755, ModeChange::made_directory);
        Metadata { uid, gid, ..Metadata::root_owned(mode, Timestamp::now()) }
    }

    fn unpacked(&self, selected: &Selected, path: &[u8], landed: &mut LandedFiles) -> Result<bool, FileError> {
        if selected.root.kind != Kind::File {
            return Ok(false);
        }
        let Some(digest) = archive::unpack(self.tree, &selected.root, self.owner, self.job.learnt, || {
            self.destination.make_directories(path, &Metadata { mode: 0o755, ..self.made() })?;
            Ok((self.destination, path))
        })?
        else {
            return Ok(false);
        };
        if let Some(file) = digest {
            landed.insert(Arc::clone(&selected.root.path), file);
        }
        Ok(true)
    }

    fn parents(&self, selected: &Selected, path: &[u8]) -> Result<(), FileError> {
        for (below, node) in &selected.parents {
            let at = join(path, below);
            if self.destination.kind(&at).is_none() {
                let metadata = Metadata { mtime: Timestamp::now(), ..self.metadata(node, node.mode) };
                self.destination.writer.directory(&at, &metadata)?;
            }
        }
        Ok(())
    }

    /// A source that is no directory: beneath the destination if that is one, in its place otherwise.
    fn single(&self, selected: &Selected, path: Vec<u8>, landed: &mut LandedFiles) -> Result<(), FileError> {
        let inside = !self.copy.parents && self.destination.kind(&path) == Some(Kind::Directory);
        let path = if inside { join(&path, &selected.name) } else { path };
        self.refuse_directory(&path)?;
        match selected.root.kind {
            Kind::File => self.files(&path, &[FileCopy { node: &selected.root, below: b"" }], landed),
            _ => self.special(&selected.root, &path),
        }
    }

    /// The contents of a directory; an existing destination keeps its own metadata.
    fn directory(&self, selected: &Selected, path: &[u8], landed: &mut LandedFiles) -> Result<(), FileError> {
        if self.destination.make_directories(path, &self.made())? {
            self.destination.writer.directory(path, &Metadata { mtime: selected.root.mtime, ..self.made() })?;
        }
        let mut files = Vec::new();
        let mut links: Vec<(&Node, Vec<u8>, FirstName<'_>)> = Vec::new();
        let mut first_names: HashMap<(u64, u64), FirstName<'_>> = HashMap::new();
        for (below, node) in selected.contents() {
            let at = join(path, below);
            match node.kind {
                Kind::Directory => self.subdirectory(node, &at)?,
                Kind::File => {
                    self.refuse_directory(&at)?;
                    match node.link().and_then(|link| first_names.get(&link)) {
                        Some(first) => links.push((node, at, first.clone())),
                        None => {
                            node.link().map(|link| first_names.insert(link, (node, at.clone())));
                            files.push(FileCopy { node, below });
                        }
                    }
                }
                _ => {
                    self.refuse_directory(&at)?;
                    self.special(node, &at)?;
                }
            }
        }
        self.files(path, &files, landed)?;
        links.iter().try_for_each(|(node, at, first)| self.hard_link(node, at, first, landed))
    }

    /// Another name of a file that was copied; it holds what landed under the first name.
    fn hard_link(
        &self,
        node: &Node,
        at: &[u8],
        first: &FirstName<'_>,
        landed: &mut LandedFiles,
    ) -> Result<(), FileError> {
        let (copied, path) = first;
        self.destination.writer.hard_link(at, path)?;
        if let Some(same) = landed.get(&*copied.path).copied() {
            landed.insert(Arc::clone(&node.path), same);
        }
        Ok(())
    }

    fn subdirectory(&self, node: &Node, path: &[u8]) -> Result<(), FileError> {
        match self.destination.kind(path) {
            None | Some(Kind::Directory) => {
                Ok(self.destination.writer.directory(path, &self.metadata(node, node.mode))?)
            }
            Some(_) => Err(FileError::NotADirectory(lossy(path))),
        }
    }

    fn refuse_directory(&self, path: &[u8]) -> Result<(), FileError> {
        match self.destination.kind(path) {
            Some(Kind::Directory) => Err(FileError::DirectoryInTheWay(lossy(path))),
            _ => Ok(()),
        }
    }

    fn special(&self, node: &Node, path: &[u8]) -> Result<(), FileError> {
        let writer = self.destination.writer;
        let metadata = self.metadata(node, node.mode);
        match node.kind {
            Kind::Symlink => writer.symlink(path, node.target(), &metadata)?,
            Kind::Fifo => writer.fifo(path, &metadata)?,
            Kind::CharacterDevice | Kind::BlockDevice => writer.device(path, node.kind, node.device(), &metadata)?,
            Kind::File | Kind::Directory | Kind::Whiteout => {}
        }
        Ok(())
    }

    /// What an entry gets: `--chown` and `--chmod`, or what its source has.
    fn metadata(&self, node: &Node, mode: u32) -> Metadata {
        let Owner { uid, gid } = self.owner.unwrap_or(Owner { uid: node.uid, gid: node.gid });
        let directory = node.kind == Kind::Directory;
        let mode = match &self.mode {
            Some(change) if node.kind != Kind::Symlink => change.apply(mode, directory),
            _ => mode,
        };
        let capability = node.capability().map(|value| (CAPABILITY.to_vec(), value.to_vec()));
        Metadata { mode, uid, gid, mtime: node.mtime, xattrs: capability.into_iter().collect() }
    }

    fn files(&self, into: &[u8], files: &[FileCopy<'_>], landed: &mut LandedFiles) -> Result<(), FileError> {
        let done: Result<Vec<Option<LandedFile>>, FileError> =
            files.par_iter().with_min_len(8).map(|file| self.file(file.node, &file.path(into))).collect();
        for (file, digest) in files.iter().zip(done?) {
            if let Some(digest) = digest {
                landed.insert(Arc::clone(&file.node.path), digest);
            }
        }
        Ok(())
    }

    fn file(&self, node: &Node, path: &[u8]) -> Result<Option<LandedFile>, FileError> {
        if (self.job.cancelled)() {
            return Err(FileError::Cancelled);
        }
        if let Some(landed) = self.linked(node, path)? {
            return Ok(Some(landed));
        }
        let (source, now) = self.tree.open(node)?;
        match now {
            Some(now) => self.moving_file(node, path, &source, now).map(Some),
            None => self.stored_file(node, path, &source),
        }
    }

    /// Copies a file of a layer, and compares its bytes with the layer's index. If the layer is a context, it tells
    /// what landed.
    fn stored_file(&self, node: &Node, path: &[u8], source: &File) -> Result<Option<LandedFile>, FileError> {
        let mode = node.mode;
        let expected = match node.content {
            Content::Digest(digest) => Some(digest),
            _ => None,
        };
        let hashing = if expected.is_some() { Hashing::Now } else { Hashing::Later };
        let mut target = self.destination.writer.file(path, &self.metadata(node, mode), hashing)?;
        target.copy_from_file(source)?;
        let written = target.finish()?;
        if written.digest != expected {
            self.tree.note_damage(node);
            return Err(FileError::Damaged { path: lossy(&node.path) });
        }
        let counts = expected.filter(|_| self.tree.is_context());
        Ok(counts.map(|digest| LandedFile { digest, mode }))
    }

    /// Links a file that is as it was when the previous layer of this step was made. What lands is then the file as
    /// the walk saw it, whatever became of it since; it is not even opened.
    fn linked(&self, node: &Node, path: &[u8]) -> Result<Option<LandedFile>, FileError> {
        let Some(previous) = self.job.previous.filter(|_| self.tree.is_context()) else { return Ok(None) };
        let Some(digest) = (self.job.known)(node) else { return Ok(None) };
        let mode = node.mode;
        let metadata = self.metadata(node, mode);
        let linked = self.destination.writer.link_from(previous, path, &metadata, Some(digest))?;
        Ok(linked.then_some(LandedFile { digest, mode }))
    }

    /// Copies a context's file, again if it was written to meanwhile, and tells what landed.
    fn moving_file(&self, node: &Node, path: &[u8], source: &File, now: ContextEntry) -> Result<LandedFile, FileError> {
        let mut before = now;
        let lasts = kiln_store::status_tells_changes(source);
        let metadata = self.metadata(node, before.mode);
        let mut target = self.destination.writer.file(path, &metadata, Hashing::Now)?;
        for _ in 0..ATTEMPTS {
            target.copy_from_file(source)?;
            let after = self.tree.status(source, &node.path)?;
            if after.stamp == before.stamp && after.mode == before.mode {
                let metadata = Metadata { mtime: after.stamp.mtime, ..self.metadata(node, after.mode) };
                let written = target.finish_with(&metadata)?;
                let digest = written.digest.unwrap_or(FileDigest([0; 32]));
                if lasts {
                    (self.job.learnt)(after.stamp, digest);
                }
                return Ok(LandedFile { digest, mode: after.mode });
            }
            before = after;
            target.restart()?;
        }
        Err(FileError::Unstable { path: lossy(&node.path) })
    }
}
