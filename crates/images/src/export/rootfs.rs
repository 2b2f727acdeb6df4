//! Root file systems as one flat tar: what a container would see.

use std::collections::HashMap;
use std::io::Write;

use kiln_store::{Found, Kind, Timestamp, Union};

use super::ExportError;
use crate::pack::{copy_content, tar_entry};
use crate::tar::{EntryKind, TarWriter};

/// Writes the root file system as a flat tar to `output`, and returns that, not flushed. File times
/// after `newest` are written as `newest`. The root itself has no entry.
pub fn tar<W: Write>(output: W, rootfs: &Union, newest: Option<Timestamp>) -> Result<W, ExportError> {
    let mut writer = TarWriter::new(output);
    append(&mut writer, rootfs, newest, "")?;
    writer.finish().map_err(ExportError::Write)
}

/// The same for several root file systems, each in a directory of that name at the top.
pub fn tar_of_several<W: Write>(
    output: W,
    trees: &[(String, Union)],
    newest: Option<Timestamp>,
) -> Result<W, ExportError> {
    let mut writer = TarWriter::new(output);
    for (directory, rootfs) in trees {
        append(&mut writer, rootfs, newest, &format!("{directory}/"))?;
    }
    writer.finish().map_err(ExportError::Write)
}

/// Appends what a container would see, every path behind `prefix`; with the root itself only where there is one.
fn append<W: Write>(
    writer: &mut TarWriter<W>,
    rootfs: &Union,
    newest: Option<Timestamp>,
    prefix: &str,
) -> Result<(), ExportError> {
    let prefixed = |path: &[u8]| match path {
        b"/" => prefix.as_bytes().to_vec(),
        path => [prefix.as_bytes(), path].concat(),
    };
    let mut first_names = FirstNames::default();
    for found in rootfs.walk(b"") {
        if found.entry.path().is_empty() && prefix.is_empty() {
            continue;
        }
        let mut header = tar_entry(&found.entry, newest);
        header.path = prefixed(&header.path);
        if let Some(first) = first_names.earlier(&found) {
            header.kind = EntryKind::HardLink { target: prefixed(first) };
        }
        writer.append(&header).map_err(ExportError::Write)?;
        if header.kind == EntryKind::File && header.size > 0 {
            let file = rootfs.open(&found)?;
            let layer = &rootfs.layers()[found.layer];
            copy_content(file, layer, &found.entry, &mut *writer, ExportError::Write)?;
        }
    }
    Ok(())
}

/// The first name of each hard-linked file of a walk.
#[derive(Default)]
pub(super) struct FirstNames<'a> {
    by_group: HashMap<(usize, u32), &'a [u8]>,
}

impl<'a> FirstNames<'a> {
    /// The name under which the same file came before, if it did. Link groups are a layer's own.
    pub(super) fn earlier(&mut self, found: &Found<'a>) -> Option<&'a [u8]> {
        if found.entry.kind() == Kind::Directory {
            return None;
        }
        let path = found.entry.path();
        let group = (found.layer, found.entry.link_group()?);
        let first = *self.by_group.entry(group).or_insert(path);
        (first != path).then_some(first)
    }
}
