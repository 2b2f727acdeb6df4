//! Containers: a row each, and a directory for what they keep on disk.
use crate::*;
use kiln_oci::Digest;
use std::path::PathBuf;

/// The containers of a store.
pub struct Containers<'a> {
    pub(crate) store: &'a Store,
}

/// A container to be.
#[derive(Debug, Clone)]
pub struct NewContainer {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its unique name.
    pub name: String,
    /// The image it was made from.
    pub image: Option<Digest>,
    /// Its root file system, bottom first, without its own directory.
    pub layers: Vec<LayerId>,
    /// Everything else about it, as its owner spells it (JSON).
    pub value: String,
}

/// A container as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its unique name.
    pub name: String,
    /// The image it was made from.
    pub image: Option<Digest>,
    /// Its root file system, bottom first.
    pub layers: Vec<LayerId>,
    /// When it was made.
    pub created: Timestamp,
    /// Everything else (JSON).
    pub value: String,
}

impl Containers<'_> {
    /// Adds a container with an empty directory; fails if the name is taken.
    pub fn create(&self, _new: &NewContainer) -> Result<Container> {
        todo!()
    }
    /// By full id, name, or unambiguous beginning of the id.
    pub fn find(&self, _name: &str) -> Result<Option<Container>> {
        todo!()
    }
    /// All, newest first.
    pub fn list(&self) -> Result<Vec<Container>> {
        todo!()
    }
    /// Replaces the value.
    pub fn update(&self, _id: &str, _value: &str) -> Result<()> {
        todo!()
    }
    /// Renames.
    pub fn rename(&self, _id: &str, _name: &str) -> Result<()> {
        todo!()
    }
    /// The container's directory.
    pub fn directory(&self, _id: &str) -> PathBuf {
        todo!()
    }
    /// The lock that whoever runs or removes the container holds.
    pub fn lock_key(&self, _id: &str) -> LockKey {
        todo!()
    }
    /// Removes row and directory.
    pub fn remove(&self, _id: &str) -> Result<()> {
        todo!()
    }
}
