//! `--cache-to type=inline`: the records whose layers an image has, inside its config.

use std::collections::HashMap;

use kiln_cache::{Inline, InlineRecord, Outgoing, OutgoingLayer};
use kiln_images::export::{ContentLayer, ImageContent};
use kiln_store::LayerId;

/// Puts the records of a build into the config of one of its images. Those whose layers it does not have are left
/// out.
pub(crate) fn write_inline(image: &mut ImageContent, records: &[Outgoing]) {
    let mut places: HashMap<LayerId, usize> = HashMap::new();
    let mut inline = Inline::default();
    for (place, layer) in image.layers.iter().enumerate() {
        if let ContentLayer::Here(layer) = layer {
            places.entry(layer.id()).or_insert(place);
        }
    }
    for outgoing in records {
        let place = |layer: &OutgoingLayer| match layer {
            OutgoingLayer::Here(layer) => places.get(&layer.id()).copied(),
            OutgoingLayer::Elsewhere(_) => None,
        };
        let Some(layers) = outgoing.layers.iter().map(place).collect::<Option<Vec<_>>>() else { continue };
        let portable = &outgoing.record;
        for recipe in &portable.recipes {
            inline.records.push(InlineRecord {
                op: portable.op,
                recipe: *recipe,
                content: portable.content,
                layers: layers.clone(),
                made_at: portable.made_at.clone(),
            });
        }
    }
    inline.write(&mut image.config);
}
