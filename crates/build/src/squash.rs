//! `--squash`: the layers that a build adds to its base become one, and its history says so.

use kiln_images::export::{self, ContentLayer, ImageContent};
use kiln_oci::HistoryEntry;
use kiln_store::Store;

use crate::error::{BuildError, chain};

/// Makes one layer of those that an image's own steps added; `inherited` is how many history entries came with its
/// base. An image with fewer than two layers of its own stays as it is.
pub(crate) fn squash(store: &Store, image: &mut ImageContent, inherited: usize) -> Result<(), BuildError> {
    let added = image.config.history.iter().skip(inherited).filter(|entry| !entry.empty_layer).count();
    if added < 2 {
        return Ok(());
    }
    let failed = |error| BuildError::Export(format!("cannot squash the layers: {}", chain(&error)));
    let layers = image.layers_here().map_err(failed)?;
    let base = layers.len().saturating_sub(added);
    let squashed = export::squash(store, &layers, base).map_err(failed)?;
    image.layers = squashed.into_iter().map(ContentLayer::Here).collect();
    let history = &mut image.config.history;
    history.iter_mut().skip(inherited).for_each(|entry| entry.empty_layer = true);
    history.push(HistoryEntry {
        created: image.config.created.clone(),
        comment: Some(format!("{added} layers squashed into one")),
        ..HistoryEntry::default()
    });
    Ok(())
}
