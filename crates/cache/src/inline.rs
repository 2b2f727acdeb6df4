//! Records inside an image: a member of its config, which says of which of the image's own layers each record is.
//!
//! It is small: keys and places, no names of inputs. So a rebuild from the same records gives the same config, and
//! the image says nothing of its build that its history does not say.

use kiln_oci::{Descriptor, ImageConfig};
use kiln_store::Key;
use serde::{Deserialize, Serialize};

use crate::catalogue::{Catalogue, CatalogueError, PortableLayer, PortableRecord};
use crate::hex;

/// The member of an image's config.
const MEMBER: &str = "dev.kiln.cache.v1";
/// The member by which BuildKit does the same.
pub const BUILDKIT_MEMBER: &str = "moby.buildkit.cache.v0";

/// What the member holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inline {
    /// The records.
    pub records: Vec<InlineRecord>,
}

/// A completed step whose layers are some of the image's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InlineRecord {
    /// The operation without its inputs.
    #[serde(with = "hex::one")]
    pub op: Key,
    /// The recipe key that leads to it.
    #[serde(with = "hex::one")]
    pub recipe: Key,
    /// The content key, where it is known.
    #[serde(default, with = "hex::optional", skip_serializing_if = "Option::is_none")]
    pub content: Option<Key>,
    /// The layers of the result, bottom first, by their places in the image.
    pub layers: Vec<usize>,
    /// When each of them was made, in seconds and nanoseconds since 1970.
    pub made_at: Vec<Option<(i64, u32)>>,
}

impl Inline {
    /// Puts it into a config, in place of what its base may have had there.
    pub fn write(&self, config: &mut ImageConfig) {
        // Numbers, lists and texts always have a JSON form.
        let value = serde_json::to_value(self).unwrap_or_default();
        config.unknown.insert(MEMBER.to_owned(), value);
    }

    /// Takes it out of a config: an image on a base does not have the base's records.
    pub fn remove(config: &mut ImageConfig) {
        config.unknown.shift_remove(MEMBER);
    }

    /// What a config holds, as a catalogue whose layers are `blobs`; `None` if it holds nothing.
    ///
    /// # Errors
    /// A member that is malformed, or that does not fit the image.
    pub fn read(config: &ImageConfig, blobs: &[Descriptor]) -> Result<Option<Catalogue>, CatalogueError> {
        let Some(value) = config.unknown.get(MEMBER) else { return Ok(None) };
        let inline = Inline::deserialize(value)?;
        let diff_ids = &config.rootfs.diff_ids;
        if blobs.len() != diff_ids.len() {
            return Err(CatalogueError::NoSuchLayer { place: blobs.len(), layers: diff_ids.len() });
        }
        let mut catalogue = Catalogue::new();
        let layers = diff_ids.iter().zip(blobs);
        catalogue.layers = layers
            .map(|(diff_id, blob)| PortableLayer { diff_id: diff_id.clone(), blob: blob.clone(), packed_as: None })
            .collect();
        catalogue.records = inline.records.into_iter().map(InlineRecord::portable).collect();
        catalogue.checked().map(Some)
    }
}

impl InlineRecord {
    fn portable(self) -> PortableRecord {
        PortableRecord {
            op: self.op,
            recipes: vec![self.recipe],
            content: self.content,
            lineage: String::new(),
            inputs: Vec::new(),
            contexts: Vec::new(),
            layers: self.layers,
            made_at: self.made_at,
            used: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use kiln_oci::{Digest, MediaType};

    use super::*;

    fn config() -> ImageConfig {
        let mut config = ImageConfig::default();
        config.rootfs.diff_ids = vec![Digest::of(b"a"), Digest::of(b"b")];
        config
    }

    fn inline(layers: Vec<usize>) -> Inline {
        let record =
            InlineRecord { op: Key([1; 32]), recipe: Key([2; 32]), content: None, layers, made_at: vec![Some((1, 2))] };
        Inline { records: vec![record] }
    }

    fn blobs() -> Vec<Descriptor> {
        ["x", "y"].map(|text| Descriptor::new(MediaType::OciLayerGzip, Digest::of(text.as_bytes()), 1)).to_vec()
    }

    #[test]
    fn records_come_back_from_a_config() {
        let mut config = config();
        inline(vec![0, 1]).write(&mut config);
        let written = serde_json::to_vec(&config).unwrap();
        let read = Inline::read(&ImageConfig::parse(&written).unwrap(), &blobs()).unwrap().unwrap();
        assert_eq!(read.records[0].recipes, [Key([2; 32])]);
        assert_eq!(read.layers[1].diff_id, Digest::of(b"b"));
        Inline::remove(&mut config);
        assert_eq!(Inline::read(&config, &blobs()).unwrap(), None);
    }

    #[test]
    fn what_does_not_fit_the_image_is_refused() {
        let mut config = config();
        inline(vec![0, 2]).write(&mut config);
        assert!(Inline::read(&config, &blobs()).is_err(), "a layer that the image does not have");
        inline(vec![0]).write(&mut config);
        assert!(Inline::read(&config, &blobs()[..1]).is_err(), "fewer blobs than layers");
        config.unknown.insert(MEMBER.into(), "nonsense".into());
        assert!(Inline::read(&config, &blobs()).is_err());
    }
}
