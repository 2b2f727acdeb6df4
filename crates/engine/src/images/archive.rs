//! Images from archives and into archives.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use kiln_images::load::Loaded;
use kiln_oci::{Platform, Reference};
use kiln_progress::Task;
use kiln_store::Image;

use crate::{Engine, Error};

impl Engine {
    /// Takes every image of an archive into the store.
    ///
    /// # Errors
    /// An archive that is damaged or none.
    pub fn load<R: Read + Send>(&self, archive: R, platform: &Platform, task: &Task) -> Result<Vec<Loaded>, Error> {
        Ok(kiln_images::load::load(&self.store, archive, platform, task)?)
    }

    /// Writes images into one archive, each with the names it was asked for by.
    ///
    /// # Errors
    /// No such image, before anything is written; an output that cannot be written.
    pub fn save<W: Write>(&self, output: W, names: &[String], task: &Task) -> Result<(), Error> {
        let images = self.images_to_save(names)?;
        kiln_images::save::save(output, &self.store, &images, task)?;
        Ok(())
    }

    /// Images by the names that `save` gives them, in the order asked for, each once.
    fn images_to_save(&self, names: &[String]) -> Result<Vec<(Image, Vec<Reference>)>, Error> {
        let mut places = BTreeMap::new();
        let mut images: Vec<(Image, Vec<Reference>)> = Vec::new();
        for name in names {
            let image = self.find_image(name)?;
            let full = name.parse::<Reference>().ok().map(|reference| reference.with_default_tag());
            let full = full.filter(|full| image.names.contains(&full.to_string()));
            let place = *places.entry(image.id.to_string()).or_insert(images.len());
            if place == images.len() {
                images.push((image, Vec::new()));
            }
            if let Some((_, names)) = images.get_mut(place) {
                names.extend(full);
            }
        }
        Ok(images)
    }
}
