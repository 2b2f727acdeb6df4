//! How entries are listed in an `index.json`. Pure functions, except for one that looks at what else is there.

use kiln_oci::{Descriptor, Index, MediaType};

use super::layout::Layout;
use crate::depot::{ARTIFACT_TYPE, ENTRY_LIMIT, EntryId, Foreign, Result};

/// The annotation that holds the name of a manifest.
const NAME: &str = "org.opencontainers.image.ref.name";

/// The types of the configs of BuildKit's caches begin so.
const BUILDKIT: &str = "application/vnd.buildkit.cacheconfig.";

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

/// What is listed under the tag, or alone, where no entry is.
pub(super) fn foreign(layout: &Layout, tag: &str) -> Result<Option<Foreign>> {
    let index = layout.index()?;
    let named = index.manifests.iter().find(|listed| name_of(listed) == Some(tag));
    let Some(listed) = named.or(index.manifests.first()) else { return Ok(None) };
    let document = match layout.document(&listed.digest, ENTRY_LIMIT) {
        Err(error) if error.is_absence() => return Ok(None),
        answer => answer?,
    };
    Ok(Some(kind_of(&document, &listed.media_type)))
}

/// What a document is that is no entry: a cache of BuildKit has a config of its own type, as a manifest or as the
/// last member of an index.
fn kind_of(document: &[u8], media_type: &MediaType) -> Foreign {
    let text = String::from_utf8_lossy(document);
    if text.contains(BUILDKIT) { Foreign::BuildKit } else { Foreign::Other(media_type.to_string()) }
}
