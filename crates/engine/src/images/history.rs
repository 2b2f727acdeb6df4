//! How an image came to be.

use kiln_oci::{ImageConfig, Platform};
use kiln_store::Image;

use super::find::familiar_names;
use crate::{Engine, Error, moment};

/// One step of an image's making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// The image's id on the newest step, and on the newest of what it was committed from; `None` (docker's `<missing>`) on the others.
    pub id: Option<String>,
    /// Seconds since 1970, where the config says.
    pub created: Option<i64>,
    /// The instruction.
    pub created_by: String,
    /// Bytes of the step's layer, 0 if it made none.
    pub size: u64,
    /// A remark.
    pub comment: String,
    /// The image's tags on the newest step.
    pub tags: Vec<String>,
}

impl Engine {
    /// The steps of an image's making, newest first; of a name's images the one for `platform`, if it says one.
    ///
    /// # Errors
    /// No such image.
    pub fn history(&self, name: &str, platform: Option<&Platform>) -> Result<Vec<HistoryRow>, Error> {
        let image = self.find_image_for(name, platform)?;
        let config = self.image_config(&image)?;
        let mut sizes = self.layer_sizes(&image)?.into_iter();
        let mut rows: Vec<HistoryRow> = config
            .history
            .iter()
            .cloned()
            .map(|step| HistoryRow {
                id: None,
                created: step.created.as_deref().and_then(moment::seconds),
                created_by: step.created_by.unwrap_or_default(),
                size: if step.empty_layer { 0 } else { sizes.next().unwrap_or_default() },
                comment: step.comment.unwrap_or_default(),
                tags: Vec::new(),
            })
            .collect();
        self.identify(&mut rows, image, config)?;
        rows.reverse();
        Ok(rows)
    }

    /// Gives the newest step the image's id and tags, and that of each image below that a container was made from its
    /// own. `rows` are oldest first.
    fn identify(&self, rows: &mut [HistoryRow], image: Image, config: ImageConfig) -> Result<(), Error> {
        let mut next = Some((image, config));
        while let Some((image, config)) = next {
            let newest = config.history.len().checked_sub(1).and_then(|newest| rows.get_mut(newest));
            if let Some(row) = newest {
                row.id = Some(image.id.to_string());
                row.tags = familiar_names(&image);
            }
            let parent = self.parent(&image, &config)?;
            next = match parent {
                Some(parent) => Some((parent.clone(), self.image_config(&parent)?)),
                None => None,
            };
        }
        Ok(())
    }
}
