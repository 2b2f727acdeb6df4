//! `rmi`: taking names away, and the image with the last one.

use std::collections::BTreeSet;

use kiln_oci::{Digest, Platform, Reference};
use kiln_store::{Image, Prune};

use super::find::familiar;
use crate::containers::{Container, Phase, short_id};
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
    /// Takes the name `name` away, and deletes the image if it was its last one; one that a container uses stays
    /// without a name. An id stands for the only name of its image, or with `force` for all.
    ///
    /// # Errors
    /// No such image; without `force`, an image that a container uses or several repositories name; in any case one
    /// that is given by its id and in use by a container that runs.
    pub fn remove_image(&self, name: &str, force: bool) -> Result<Vec<Removed>, Error> {
        let image = self.find_image(name)?;
        match full_name(&image, name) {
            Some(full) => self.remove_name(image, name, &full, force),
            None => self.remove_by_id(image, force),
        }
    }

    /// Takes the image for `platform` away from the name `name`, and deletes it if that was its last one.
    ///
    /// # Errors
    /// No such image, or not for that platform; without `force`, an image that a container uses.
    pub fn remove_platform(&self, name: &str, platform: &Platform, force: bool) -> Result<Vec<Removed>, Error> {
        let image = self.find_image_for(name, Some(platform))?;
        if let (Some(user), false) = (self.user(&image)?, force) {
            return Err(used_by_name(&image, name, &user));
        }
        let Some(full) = full_name(&image, name) else { return self.remove_by_id(image, force) };
        let others = self.store.images().platforms(&full)?;
        let others: Vec<Digest> = others.into_iter().map(|other| other.id).filter(|id| *id != image.id).collect();
        if others.is_empty() {
            return self.remove_name(image, name, &full, force);
        }
        self.store.images().tag_all(&full, &others)?;
        let removed = self.remove_unnamed(vec![image])?;
        self.forget_unneeded()?;
        Ok(removed.into_iter().map(Removed::Deleted).collect())
    }

    fn remove_name(&self, image: Image, name: &str, full: &str, force: bool) -> Result<Vec<Removed>, Error> {
        let is_last = image.names.len() == 1 && image.names_by_platform.iter().all(|other| other == full);
        if let (Some(user), true, false) = (self.user(&image)?, is_last, force) {
            return Err(used_by_name(&image, name, &user));
        }
        let images = self.store.images().platforms(full)?;
        self.store.images().untag(full)?;
        let deleted = self.remove_unnamed(images)?;
        if !deleted.is_empty() {
            self.forget_unneeded()?;
        }
        let deleted = deleted.into_iter().map(Removed::Deleted);
        Ok(std::iter::once(Removed::Untagged(familiar(full))).chain(deleted).collect())
    }

    fn remove_by_id(&self, image: Image, force: bool) -> Result<Vec<Removed>, Error> {
        let id = image.id.short().to_owned();
        match self.user(&image)? {
            Some(user) if user.state.phase == Phase::Running => {
                return Err(Error::ImageRuns { image: id, container: short_id(&user.id).into() });
            }
            Some(user) if !force => {
                return Err(Error::ImageStopped { image: id, container: short_id(&user.id).into() });
            }
            _ => {}
        }
        if repositories(&image.names).len() > 1 && !force {
            return Err(Error::SeveralRepositories(id));
        }
        let mut removed = Vec::new();
        let mut others = Vec::new();
        for name in &image.names {
            others.extend(self.store.images().platforms(name)?);
            self.store.images().untag(name)?;
            removed.push(Removed::Untagged(familiar(name)));
        }
        others.retain(|other| other.id != image.id);
        let others = self.remove_unnamed(others)?;
        self.store.images().remove(&image.id, force)?;
        removed.push(Removed::Deleted(image.id));
        removed.extend(others.into_iter().map(Removed::Deleted));
        self.forget_unneeded()?;
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

    /// Layers and blobs that nothing names any more; the cache may be as large as it is.
    fn forget_unneeded(&self) -> Result<(), Error> {
        self.store.prune(&Prune { cache: kiln_store::CachePart::Unnamed, ..Prune::default() })?;
        Ok(())
    }

    /// A container of the image: one that runs, if there is one.
    fn user(&self, image: &Image) -> Result<Option<Container>, Error> {
        let mut users: Vec<Container> = self.containers()?;
        users.retain(|container| container.image.as_ref() == Some(&image.id));
        users.sort_by_key(|container| container.state.phase != Phase::Running);
        Ok(users.into_iter().next())
    }
}

fn used_by_name(image: &Image, name: &str, user: &Container) -> Error {
    let reference = name.parse::<Reference>().ok().filter(|_| full_name(image, name).is_some());
    Error::ImageInUse {
        name: reference.map_or_else(|| name.into(), |reference| reference.with_default_tag().familiar()),
        container: short_id(&user.id).into(),
        image: image.id.short().into(),
    }
}

/// The full name that `name` is of this image; `None` if it is an id.
fn full_name(image: &Image, name: &str) -> Option<String> {
    let full = name.parse::<Reference>().ok()?.with_default_tag().to_string();
    image.has_name(&full).then_some(full)
}

fn repositories(names: &[String]) -> BTreeSet<String> {
    names.iter().filter_map(|name| Some(name.parse::<Reference>().ok()?.name())).collect()
}
