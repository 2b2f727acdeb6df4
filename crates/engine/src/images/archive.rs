//! Images from archives and into archives.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use kiln_images::load::Loaded;
use kiln_oci::{Platform, Reference};
use kiln_progress::Task;
use kiln_store::Image;

use crate::{Engine, Error};

impl Engine {
    /// Takes every image of an archive into the store; with `platform`, of images for several only that one.
    ///
    /// # Errors
    /// An archive that is damaged or none.
    pub fn load<R: Read + Send>(
        &self,
        archive: R,
        platform: Option<&Platform>,
        task: &Task,
    ) -> Result<Vec<Loaded>, Error> {
        Ok(kiln_images::load::load(&self.store, archive, platform, task)?)
    }

    /// Writes images into one archive, each with the names it was asked for by; a name's images for all platforms,
    /// or for `platform` only.
    ///
    /// # Errors
    /// No such image, before anything is written; an output that cannot be written.
    pub fn save<W: Write>(
        &self,
        output: W,
        names: &[String],
        platform: Option<&Platform>,
        task: &Task,
    ) -> Result<(), Error> {
        let images = self.images_to_save(names, platform)?;
        kiln_images::save::save(output, &self.store, &images, task)?;
        Ok(())
    }

    /// Images by the names that `save` gives them, in the order asked for, each once.
    fn images_to_save(&self, names: &[String], platform: Option<&Platform>) -> Result<Vec<Named>, Error> {
        let mut places = BTreeMap::new();
        let mut images: Vec<Named> = Vec::new();
        for name in names {
            let found = self.find_image_for(name, platform)?;
            let full = name.parse::<Reference>().ok().map(|reference| reference.with_default_tag());
            let full = full.filter(|full| found.has_name(&full.to_string()));
            let platforms = match (&full, platform) {
                (Some(full), None) => self.store.images().platforms(&full.to_string())?,
                _ => vec![found],
            };
            let ids: Vec<String> = platforms.iter().map(|image| image.id.to_string()).collect();
            let place = *places.entry(ids).or_insert(images.len());
            if place == images.len() {
                images.push((platforms, Vec::new()));
            }
            if let Some((_, names)) = images.get_mut(place) {
                names.extend(full);
            }
        }
        Ok(images)
    }
}

/// An image, one a platform, with the names that it is saved under.
type Named = (Vec<Image>, Vec<Reference>);
