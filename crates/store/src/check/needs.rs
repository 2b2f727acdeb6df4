//! Who needs what: for saying what depends on something damaged, and what can be done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kiln_oci::Digest;

use super::layers::packed;
use super::report::Remedy;
use crate::blobs::Blobs;
use crate::containers::{Container, Containers};
use crate::database::json;
use crate::error::Result;
use crate::images::{Image, Images};
use crate::layers::LayerId;
use crate::records::Input;
use crate::store::Inner;

/// How many users of something are named.
const NAMED: usize = 8;

/// How much of an instruction is shown, in characters.
const LONGEST: usize = 60;

/// Everything that names layers and blobs, at one moment.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) images: Vec<Image>,
    pub(super) containers: Vec<Container>,
    /// Ids of images whose rows make no sense.
    pub(super) unreadable_images: Vec<String>,
    /// Steps by layer, as they are shown.
    steps: HashMap<LayerId, BTreeSet<String>>,
    /// Diff ids of layers that images name.
    diff_ids: HashMap<LayerId, Digest>,
    /// Blobs that are held and hold a layer.
    sources: HashMap<LayerId, Digest>,
}

impl Needs {
    pub(super) fn load(store: &Arc<Inner>) -> Result<Self> {
        let mut needs = Self { containers: Containers { store }.list()?, ..Self::default() };
        needs.load_images(store)?;
        needs.load_steps(store)?;
        let mut by_diff_id: BTreeMap<Digest, Digest> = BTreeMap::new();
        for layer in needs.images.iter().flat_map(|image| &image.layers) {
            if let Some(id) = layer.layer {
                needs.diff_ids.insert(id, layer.diff_id.clone());
            }
            if let Some(blob) = &layer.blob
                && (Blobs { store }).contains(&blob.digest)?
            {
                by_diff_id.insert(layer.diff_id.clone(), blob.digest.clone());
            }
        }
        needs.sources.extend(packed(store)?);
        for (id, diff_id) in &needs.diff_ids {
            if let Some(blob) = by_diff_id.get(diff_id) {
                needs.sources.insert(*id, blob.clone());
            }
        }
        Ok(needs)
    }

    fn load_images(&mut self, store: &Arc<Inner>) -> Result<()> {
        let ids: Vec<String> = store.database.read(|db| {
            db.prepare("SELECT id FROM images ORDER BY serial DESC")?.query_map([], |row| row.get(0))?.collect()
        })?;
        for text in ids {
            match text.parse().ok().map(|id: Digest| Images { store }.get(&id)) {
                Some(Ok(image)) => self.images.extend(image),
                _ => self.unreadable_images.push(text),
            }
        }
        Ok(())
    }

    fn load_steps(&mut self, store: &Inner) -> Result<()> {
        let query = "SELECT layer, lineage, inputs FROM record_layers JOIN records ON record = id
            WHERE lineage != 'packed layer'";
        let rows: Vec<(LayerId, String, Vec<Input>)> = store.database.read(|db| {
            let mut statement = db.prepare_cached(query)?;
            let row = |row: &rusqlite::Row<'_>| {
                Ok((LayerId::from_row(row.get(0)?), row.get(1)?, json(row, 2).unwrap_or_default()))
            };
            statement.query_map([], row)?.collect()
        })?;
        for (layer, lineage, inputs) in rows {
            let instruction = inputs.into_iter().find(|input| input.name == "instruction").map(|input| input.value);
            let kind = || lineage.lines().last().unwrap_or_default().to_owned();
            self.steps.entry(layer).or_default().insert(abridged(&instruction.unwrap_or_else(kind)));
        }
        Ok(())
    }

    /// What depends on a layer, in words.
    pub(super) fn of_layer(&self, id: LayerId) -> Vec<String> {
        let uses = |image: &&Image| image.layers.iter().any(|layer| layer.layer == Some(id));
        let mut all: Vec<String> =
            self.images.iter().filter(uses).map(|image| format!("image {}", shown(image))).collect();
        let containers = self.containers.iter().filter(|each| each.layers.contains(&id));
        all.extend(containers.map(|each| format!("container {}", each.name)));
        let steps = self.steps.get(&id).into_iter().flatten();
        all.extend(steps.map(|step| format!("step {step}")));
        shortened(all)
    }

    /// What depends on a blob, in words.
    pub(super) fn of_blob(&self, digest: &Digest) -> Vec<String> {
        let images = self.images.iter().filter(|image| needs_blob(image, digest));
        shortened(images.map(|image| format!("image {}", shown(image))).collect())
    }

    /// What would mend a layer.
    pub(super) fn remedy_of_layer(&self, id: LayerId) -> Remedy {
        if let Some(blob) = self.sources.get(&id) {
            return Remedy::Unpack(blob.clone());
        }
        let users: Vec<&Image> =
            self.images.iter().filter(|image| image.layers.iter().any(|layer| layer.layer == Some(id))).collect();
        let with_blob = users.iter().find(|image| {
            image.manifest.is_some() && image.layers.iter().any(|layer| layer.layer == Some(id) && layer.blob.is_some())
        });
        if let Some(name) = with_blob.and_then(|image| name_of(image)) {
            return Remedy::Pull(name);
        }
        if self.containers.iter().any(|each| each.layers.contains(&id)) {
            return Remedy::None("a container is made of it, and nothing here can make it again");
        }
        match users.is_empty() {
            true => Remedy::Drop,
            false => Remedy::DropImages(users.into_iter().map(shown).collect()),
        }
    }

    /// What would mend a blob.
    pub(super) fn remedy_of_blob(&self, digest: &Digest) -> Remedy {
        let users: Vec<&Image> = self.images.iter().filter(|image| needs_blob(image, digest)).collect();
        if let Some(name) = users.iter().find(|image| image.manifest.is_some()).and_then(|image| name_of(image)) {
            return Remedy::Pull(name);
        }
        let configs: Vec<String> = users.into_iter().filter(|image| image.id == *digest).map(shown).collect();
        if configs.is_empty() { Remedy::Drop } else { Remedy::DropImages(configs) }
    }
}

fn needs_blob(image: &Image, digest: &Digest) -> bool {
    let layers = image.layers.iter().filter_map(|layer| layer.blob.as_ref()).any(|blob| blob.digest == *digest);
    image.id == *digest || image.manifest.as_ref() == Some(digest) || layers
}

/// An image as people know it.
pub(super) fn shown(image: &Image) -> String {
    let familiar = |name: String| name.parse::<kiln_oci::Reference>().map_or(name, |parsed| parsed.familiar());
    name_of(image).map_or_else(|| image.id.to_string(), familiar)
}

fn name_of(image: &Image) -> Option<String> {
    image.names.first().or(image.names_by_platform.first()).cloned()
}

/// The beginning of an instruction, in one line.
fn abridged(instruction: &str) -> String {
    let line = instruction.lines().next().unwrap_or_default();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// The first few, and how many more there are.
fn shortened(mut all: Vec<String>) -> Vec<String> {
    if all.len() > NAMED {
        let more = all.len() - NAMED;
        all.truncate(NAMED);
        all.push(format!("{more} more"));
    }
    all
}
