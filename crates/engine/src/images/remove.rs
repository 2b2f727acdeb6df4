//! `rmi`: taking names away, and the image with the last one.

use std::collections::BTreeSet;

use kiln_oci::{Digest, Reference};
use kiln_store::{Image, Prune};

use super::find::familiar;
use crate::containers::short_id;
use crate::{Engine, Error};

/// What `rmi` did, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name was taken away, as people write it.
    Untagged(String),
    /// The image is gone.
    Deleted(Digest),
}

impl Engine {
    /// Takes the name `name` away, and deletes the image if it was its last one. An id stands for
    /// the only name of its image, or with `force` for all.
    ///
    /// # Errors
    /// No such image; an image that a container uses or several repositories name, without `force`.
    pub fn remove_image(&self, name: &str, force: bool) -> Result<Vec<Removed>, Error> {
        let image = self.find_image(name)?;
        let names = names_meant(&image, name);
        let by_id = names.is_none();
        let names = names.unwrap_or_else(|| image.names.clone());
        if by_id && repositories(&names).len() > 1 && !force {
            return Err(Error::SeveralRepositories(image.id.short().into()));
        }
        let is_last = names.len() == image.names.len() && (by_id || image.names_by_platform.is_empty());
        if is_last && !force {
            self.refuse_if_used(&image, name)?;
        }
        let mut removed = Vec::new();
        let mut others = Vec::new();
        for name in &names {
            others.extend(self.store.images().platforms(name)?);
            self.store.images().untag(name)?;
            removed.push(Removed::Untagged(familiar(name)));
        }
        others.retain(|other| other.id != image.id);
        let others = self.remove_unnamed(others)?;
        if is_last {
            self.store.images().remove(&image.id, force)?;
            removed.push(Removed::Deleted(image.id));
        }
        removed.extend(others.into_iter().map(Removed::Deleted));
        if is_last || removed.len() > names.len() {
            // Layers and blobs that nothing else names; the cache may be as large as it is.
            self.store.prune(&Prune { cache: kiln_store::CachePart::Unnamed, ..Prune::default() })?;
        }
        Ok(removed)
    }

    /// Removes those that have no name any more; the images for other platforms that a name had. One that a container
    /// uses stays without a name.
    fn remove_unnamed(&self, images: Vec<Image>) -> Result<Vec<Digest>, Error> {
        let mut removed = Vec::new();
        for image in images {
            let now = self.store.images().get(&image.id)?;
            if now.is_none_or(|now| now.is_named()) {
                continue;
            }
            match self.store.images().remove(&image.id, false) {
                Ok(()) => removed.push(image.id),
                Err(kiln_store::Error::ImageInUse { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(removed)
    }

    fn refuse_if_used(&self, image: &Image, name: &str) -> Result<(), Error> {
        let containers = self.store.containers().list()?;
        let Some(user) = containers.iter().find(|container| container.image.as_ref() == Some(&image.id)) else {
            return Ok(());
        };
        let reference = name.parse::<Reference>().ok().filter(|_| names_meant(image, name).is_some());
        Err(Error::ImageInUse {
            name: reference.map_or_else(|| name.into(), |reference| reference.with_default_tag().familiar()),
            container: short_id(&user.id).into(),
            image: image.id.short().into(),
        })
    }
}

/// The full name that `name` is of this image; `None` if it is an id.
fn names_meant(image: &Image, name: &str) -> Option<Vec<String>> {
    let full = name.parse::<Reference>().ok()?.with_default_tag().to_string();
    image.names.contains(&full).then(|| vec![full])
}

fn repositories(names: &[String]) -> BTreeSet<String> {
    names.iter().filter_map(|name| Some(name.parse::<Reference>().ok()?.name())).collect()
}
