//! `ADD` of an archive: extracts it into a directory of a layer, as if in a chroot there.

use std::io::{self, Read};

use kiln_store::{Kind, LayerWriter, Union};

use super::entries::{Put, implied_directory};
use super::limits::{Allowance, Limits};
use super::paths::{self, Climbing, Name};
use super::{UnpackError, open, shown};
use crate::compression::{Compression, detect};
use crate::tar::{Entry, EntryKind};

/// As many symbolic links as the kernel follows on the way to a file.
const MAX_LINKS: usize = 40;

/// How `ADD` extracts an archive.
#[derive(Clone, Debug, Default)]
pub struct ExtractOptions {
    /// uid and gid that every entry gets in place of its own.
    pub owner: Option<(u32, u32)>,
}

/// Extracts an archive (in any known compression) into the directory `destination` of a layer.
///
/// `destination` is a path without symlinks that exists in `writer` or in `lower`, the layers below
/// the one that is written. Paths are clamped into the destination; links among the parents of an
/// entry are followed within it. `.wh.` names delete there. The archive's entry for its own root
/// changes nothing. Of extended attributes only `security.capability` is kept.
pub fn extract<R: Read>(
    archive: R,
    writer: &LayerWriter,
    lower: &Union,
    destination: &[u8],
    options: &ExtractOptions,
) -> Result<(), UnpackError> {
    put_all(archive, &Place { writer, lower, destination }, options).map_err(UnpackError::told)
}

fn put_all<R: Read>(archive: R, place: &Place<'_>, options: &ExtractOptions) -> Result<(), UnpackError> {
    let mut reader = open(archive)?;
    let put = Put::new(place.writer);
    let mut allowance = Allowance::new(Limits::settled());
    while let Some(mut entry) = reader.next_entry()? {
        allowance.take(&entry)?;
        let inside = paths::clean(&entry.path, Climbing::Clamped)?;
        match paths::classify(inside)? {
            Name::Ignored => {}
            Name::Whiteout(inside) => place.hide(&inside, &entry, &put)?,
            Name::Opaque(inside) => place.hide_children(&inside, &entry, &put)?,
            Name::Plain(inside) if inside.is_empty() => {}
            Name::Plain(inside) => {
                let path = place.path(&inside, &entry)?;
                let target = place.link_target(&entry)?;
                adjust(&mut entry, options);
                put.entry(&path, &target, &entry, &mut reader)?;
            }
        }
    }
    Ok(())
}

/// How many bytes [`starts_as_archive`] wants to see.
pub const START: usize = 512;

/// Whether a stream that begins so means to be an archive: it is compressed, or begins with a tar header. Whether it
/// can be read is another question.
pub fn starts_as_archive(start: &[u8]) -> bool {
    detect(start) != Compression::Identity || crate::tar::is_header(start)
}

/// Whether `ADD` takes the file for an archive: its first entry can be read, whatever the
/// compression. Reads only the beginning; an empty archive is none.
pub fn is_archive<R: Read>(file: R) -> io::Result<bool> {
    match open(file) {
        Ok(mut reader) => Ok(matches!(reader.next_entry(), Ok(Some(_)))),
        Err(UnpackError::Read(error)) if is_disk_trouble(&error) => Err(error),
        Err(_) => Ok(false),
    }
}

fn is_disk_trouble(error: &io::Error) -> bool {
    error.raw_os_error().is_some()
}

fn adjust(entry: &mut Entry, options: &ExtractOptions) {
    entry.metadata.xattrs.retain(|name, _| name == b"security.capability");
    if let Some((uid, gid)) = options.owner {
        entry.metadata.uid = uid;
        entry.metadata.gid = gid;
    }
}

/// The directory that is extracted into, with all that is there already.
struct Place<'a> {
    writer: &'a LayerWriter,
    lower: &'a Union,
    destination: &'a [u8],
}

/// What a path beneath the destination shows, before the entry is put there.
enum Seen {
    Nothing,
    Directory,
    Link(Vec<u8>),
    Other,
}

impl Place<'_> {
    /// The path in the layer at which an entry goes: its parents' links followed within the
    /// destination, its own name taken as it is.
    fn path(&self, inside: &[u8], entry: &Entry) -> Result<Vec<u8>, UnpackError> {
        let (parent, name) = match inside.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&inside[..slash], &inside[slash + 1..]),
            None => (&inside[..0], inside),
        };
        let parent = self.parent(parent, entry)?;
        Ok(self.in_layer(&paths::join(&parent, name)))
    }

    fn in_layer(&self, inside: &[u8]) -> Vec<u8> {
        paths::join(self.destination, inside)
    }

    /// Follows links on the way to a directory beneath the destination. Directories that are
    /// missing are fine, unless a link led there.
    fn parent(&self, inside: &[u8], entry: &Entry) -> Result<Vec<u8>, UnpackError> {
        let mut left: Vec<Vec<u8>> = split(inside).into_iter().rev().collect();
        let mut at: Vec<u8> = Vec::new();
        let mut followed: Option<Vec<u8>> = None;
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == b".." {
                let end = at.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                at.truncate(end);
                continue;
            }
            let next = paths::join(&at, &name);
            let through = |link: &[u8]| UnpackError::ThroughLink { path: shown(&entry.path), link: shown(link) };
            match (self.seen(&next), &followed) {
                (Seen::Directory, _) | (Seen::Nothing, None) => at = next,
                (Seen::Nothing, Some(link)) => return Err(through(link)),
                (Seen::Other, link) => return Err(through(link.as_ref().unwrap_or(&next))),
                (Seen::Link(target), _) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(through(&next));
                    }
                    if target.starts_with(b"/") {
                        at.clear();
                    }
                    left.extend(split(&target).into_iter().rev());
                    followed = Some(next);
                }
            }
        }
        Ok(at)
    }

    fn seen(&self, inside: &[u8]) -> Seen {
        let path = self.in_layer(inside);
        match self.writer.kind(&path) {
            Some(Kind::Directory) => Seen::Directory,
            Some(Kind::Symlink) => Seen::Link(self.writer.link_target(&path).unwrap_or_default()),
            Some(Kind::Whiteout) => Seen::Nothing,
            Some(_) => Seen::Other,
            None if self.hidden_by_writer(&path) => Seen::Nothing,
            None => match self.lower.lookup(&path).map(|found| found.entry) {
                None => Seen::Nothing,
                Some(entry) if entry.kind() == Kind::Directory => Seen::Directory,
                Some(entry) if entry.kind() == Kind::Symlink => Seen::Link(entry.target().to_vec()),
                Some(_) => Seen::Other,
            },
        }
    }

    /// Whether the nearest parent that the writer knows hides what lies below.
    fn hidden_by_writer(&self, path: &[u8]) -> bool {
        let mut parents = paths::parents(path).filter_map(|parent| Some((parent, self.writer.kind(parent)?)));
        let hides = |(parent, kind)| kind != Kind::Directory || self.writer.is_opaque(parent);
        parents.any(hides)
    }

    /// The path in the layer that a hard link refers to. A file that only lower layers have is
    /// copied first, as a link to it would.
    fn link_target(&self, entry: &Entry) -> Result<Vec<u8>, UnpackError> {
        let EntryKind::HardLink { target } = &entry.kind else {
            return Ok(Vec::new());
        };
        let target = self.path(&paths::clean(target, Climbing::Clamped)?, entry)?;
        if self.writer.kind(&target).is_none()
            && !self.hidden_by_writer(&target)
            && let Some(found) = self.lower.lookup(&target)
            && found.entry.kind() == Kind::File
        {
            let source = self.lower.open(&found)?;
            let hashing = kiln_store::Hashing::Later;
            let mut file = self.writer.file(&target, &found.entry.metadata(), hashing)?;
            file.copy_from_file(&source)?;
            file.finish()?;
        }
        Ok(target)
    }

    fn hide(&self, inside: &[u8], entry: &Entry, put: &Put<'_>) -> Result<(), UnpackError> {
        let path = self.path(inside, entry)?;
        match self.lower.lookup(&path) {
            Some(_) => put.hide(&path),
            None => Ok(()),
        }
    }

    /// The directory becomes opaque. The root cannot be: there it is one whiteout for each child that lower layers have.
    fn hide_children(&self, inside: &[u8], entry: &Entry, put: &Put<'_>) -> Result<(), UnpackError> {
        let directory = self.in_layer(&self.parent(inside, entry)?);
        if self.writer.kind(&directory).is_none() && self.lower.lookup(&directory).is_none() {
            self.writer.directory(&directory, &implied_directory())?;
        }
        if !directory.is_empty() {
            return Ok(self.writer.opaque_mark(&directory)?);
        }
        for child in self.lower.children(&directory) {
            put.hide(&paths::join(&directory, child.entry.name()))?;
        }
        Ok(())
    }
}

fn split(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|&byte| byte == b'/');
    parts.filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec).collect()
}
