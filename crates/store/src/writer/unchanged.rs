//! Taking out of a new layer what the lower layers show already, as it is done for what a step leaves in an overlay.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::LayerWriter;
use crate::beneath;
use crate::copy;
use crate::error::{At, Result};
use crate::index::{Body, same_apart_from_time};
use crate::metadata::Kind;
use crate::path;
use crate::union::Union;

impl LayerWriter {
    /// Drops entries that equal what is below: metadata, time and bytes. Directories, whose times do not count, go
    /// when nothing is left in them; those that hold something are there as parents only.
    pub(super) fn drop_unchanged(&self) -> Result<()> {
        let Some(lower) = self.lower.as_ref().filter(|lower| !lower.layers().is_empty()) else { return Ok(()) };
        let mut unchanged = self.unchanged(lower)?;
        if unchanged.is_empty() {
            return Ok(());
        }
        let (mut idle, mut parents) = (Vec::new(), Vec::new());
        let mut following: Option<Vec<u8>> = None;
        for (path, _) in self.state().tree.iter().rev() {
            let same = unchanged.pop_if(|last| *last == path).is_some();
            let filled = following.as_ref().is_some_and(|next| path::is_within(next, &path));
            match same && !path.is_empty() {
                true if !filled => {
                    idle.push(path);
                    continue;
                }
                true => parents.push(path.clone()),
                false => {}
            }
            following = Some(path);
        }
        idle.iter().try_for_each(|path| self.remove(path))?;
        let mut state = self.state();
        for path in &parents {
            if let Some(body) = state.tree.get_mut(path) {
                body.parent_only = true;
            }
        }
        Ok(())
    }

    /// The paths of entries that equal what is below, in the order of the tree.
    fn unchanged(&self, lower: &Union) -> Result<Vec<Vec<u8>>> {
        let mut unchanged = Vec::new();
        let mut fresh: Option<Vec<u8>> = None;
        for (path, body) in self.state().tree.iter() {
            if fresh.as_ref().is_some_and(|directory| path::is_within(&path, directory)) {
                continue;
            }
            // Below such a directory the lower layers do not show.
            fresh =
                (body.kind == Kind::Directory && (body.opaque || lower.lookup(&path).is_none())).then(|| path.clone());
            if fresh.is_none() && self.is_unchanged(lower, &path, body)? {
                unchanged.push(path);
            }
        }
        Ok(unchanged)
    }

    fn is_unchanged(&self, lower: &Union, path: &[u8], body: &Body) -> Result<bool> {
        let Some(below) = lower.lookup(path) else { return Ok(false) };
        if !same_apart_from_time(body, &below.entry) {
            return Ok(false);
        }
        // One name of several would leave the others without their partner.
        let comparable = body.link_group == 0 && body.mtime == below.entry.mtime();
        match body.kind {
            Kind::Directory => Ok(true),
            Kind::File if body.size > 0 && comparable => match (body.digest, below.entry.digest()) {
                (Some(above), Some(below)) => Ok(above == below),
                _ => self.has_equal_bytes(path, lower.open(&below)?),
            },
            _ => Ok(comparable),
        }
    }

    fn has_equal_bytes(&self, path: &[u8], below: File) -> Result<bool> {
        let above = match beneath::open(self.root.as_fd(), path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Err(Errno::ACCESS) => return Ok(false),
            answer => File::from(answer.at("open", &self.shown(path))?),
        };
        copy::equal(above, below).at("compare", &self.shown(path))
    }
}
