//! How entries are listed in an `index.json`. Pure functions, except for one that looks at what is listed.

use kiln_oci::{Descriptor, Index, MediaType};

use super::layout::Layout;
use crate::depot::unite::AtTag;
use crate::depot::{ARTIFACT_TYPE, ENTRY_LIMIT, EntryId, Result};

/// The annotation that holds the name of a manifest.
const NAME: &str = "org.opencontainers.image.ref.name";

/// The entries that `index` lists for `tag`.
pub(super) fn entries(index: &Index, tag: &str) -> Vec<EntryId> {
    index.manifests.iter().filter_map(|listed| entry_of(listed, tag)).collect()
}

fn name_of(listed: &Descriptor) -> Option<&str> {
    listed.annotations.get(NAME).map(String::as_str)
}

fn entry_of(listed: &Descriptor, tag: &str) -> Option<EntryId> {
    let id: EntryId = name_of(listed)?.strip_prefix(tag)?.strip_prefix("-kiln-")?.parse().ok()?;
    (id.digest == listed.digest).then_some(id)
}

/// Lists an entry, and as the newest under the tag itself.
pub(super) fn add(index: &mut Index, tag: &str, id: &EntryId, size: u64) {
    let name = format!("{tag}-kiln-{id}");
    index.manifests.retain(|listed| name_of(listed).is_none_or(|other| other != name && other != tag));
    for name in [name.as_str(), tag] {
        let mut listed = Descriptor::new(MediaType::OciManifest, id.digest.clone(), size);
        listed.artifact_type = Some(ARTIFACT_TYPE.to_owned());
        listed.annotations.insert(NAME.to_owned(), name.to_owned());
        index.manifests.push(listed);
    }
}

/// Lists these entries no more; returns how many were listed.
pub(super) fn remove(index: &mut Index, tag: &str, ids: &[EntryId]) -> usize {
    let before = index.manifests.len();
    index.manifests.retain(|listed| entry_of(listed, tag).is_none_or(|id| !ids.contains(&id)));
    before - index.manifests.len()
}

/// What is listed under the tag or, where that is nothing, first.
pub(super) fn at_tag(layout: &Layout, tag: &str) -> Result<Option<AtTag>> {
    let index = layout.index()?;
    let named = index.manifests.iter().find(|listed| name_of(listed) == Some(tag));
    let Some(listed) = named.or(index.manifests.first()) else { return Ok(None) };
    match layout.document(&listed.digest, ENTRY_LIMIT) {
        Err(error) if error.is_absence() => Ok(None),
        document => Ok(Some(AtTag::of(&document?, listed))),
    }
}
