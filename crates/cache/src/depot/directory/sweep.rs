//! Removes from a layout what nobody names any more: blobs that no listed document reaches, and files that writers
//! which were killed left behind.

use std::collections::HashSet;
use std::time::Duration;

use kiln_oci::{Descriptor, Digest, ManifestOrIndex};

use super::layout::Layout;
use crate::depot::{ENTRY_LIMIT, Result};

/// How deep indexes may hold indexes.
const DEPTH: usize = 4;

/// Removes blobs that are not reached from `index.json` and were not touched for `grace`, and leftovers of writers.
/// A layout whose documents cannot all be read keeps everything.
pub(super) fn sweep(layout: &Layout, grace: Duration) -> Result<()> {
    layout.remove_leftovers()?;
    let mut reached = HashSet::new();
    match reach(layout, &layout.index()?.manifests, DEPTH, &mut reached) {
        Err(error) if error.is_absence() => return Ok(()),
        answer => answer?,
    }
    layout.remove_blobs(grace, |hex| !reached.contains(hex))
}

fn reach(layout: &Layout, listed: &[Descriptor], depth: usize, reached: &mut HashSet<String>) -> Result<()> {
    for descriptor in listed {
        let known = !reached.insert(hex(&descriptor.digest));
        let kind = &descriptor.media_type;
        if known || depth == 0 || !(kind.is_index() || kind.is_manifest()) {
            continue;
        }
        let raw = layout.document(&descriptor.digest, ENTRY_LIMIT)?;
        match ManifestOrIndex::parse(&raw) {
            Ok(ManifestOrIndex::Index(index)) => reach(layout, &index.manifests, depth - 1, reached)?,
            Ok(ManifestOrIndex::Manifest(manifest)) => {
                reached.insert(hex(&manifest.config.digest));
                reached.extend(manifest.layers.iter().map(|blob| hex(&blob.digest)));
            }
            Err(error) => return Err(layout.damaged(&descriptor.digest.to_string(), &error.to_string())),
        }
    }
    Ok(())
}

fn hex(digest: &Digest) -> String {
    digest.hex().to_owned()
}
