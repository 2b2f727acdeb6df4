//! Containers: a row each, and a directory for what they keep on disk. What runs in them is not known here.

use std::path::PathBuf;
use std::sync::Arc;

use kiln_oci::Digest;
use rusqlite::{OptionalExtension, Row};

use crate::database::{digest, json, now, to_json};
use crate::error::{At, Error, Result};
use crate::layers::LayerId;
use crate::locks::{LockKey, Sharing};
use crate::metadata::Timestamp;
use crate::store::{Inner, create_directory};

/// The containers of a store.
pub struct Containers<'a> {
    pub(crate) store: &'a Arc<Inner>,
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

const SELECT: &str = "SELECT id, name, image, layers, created, value FROM containers";

impl Containers<'_> {
    /// Adds a container with an empty directory; fails if the name is taken.
    pub fn create(&self, new: &NewContainer) -> Result<Container> {
        let _placing = self.store.locks.acquire(Inner::placing_key(), Sharing::Shared, &|| false)?;
        create_directory(&self.directory(&new.id))?;
        let inserted = self.store.database.write(|db| {
            let query = "SELECT id FROM containers WHERE name = ?1 OR id = ?2";
            let by: Option<String> = db.query_row(query, [&new.name, &new.id], |row| row.get(0)).optional()?;
            if by.is_none() {
                db.execute(
                    "INSERT INTO containers (id, name, image, layers, created, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    (
                        &new.id,
                        &new.name,
                        new.image.as_ref().map(Digest::to_string),
                        to_json(&new.layers)?,
                        now(),
                        &new.value,
                    ),
                )?;
            }
            Ok(by)
        });
        if inserted.is_err() {
            // The first error is the one to tell.
            let _ = self.store.session.discard(&self.directory(&new.id));
        }
        match inserted? {
            Some(by) => {
                if by != new.id {
                    self.store.session.discard(&self.directory(&new.id))?;
                }
                Err(Error::NameTaken { name: new.name.clone(), by })
            }
            None => self.find(&new.id)?.ok_or_else(|| Error::MissingContainer(new.id.clone())),
        }
    }

    /// By full id, name, or unambiguous beginning of the id.
    pub fn find(&self, name: &str) -> Result<Option<Container>> {
        let exact = format!("{SELECT} WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1");
        let found =
            self.store.database.read(|db| db.prepare_cached(&exact)?.query_row([name], container).optional())?;
        if found.is_some() || name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(found);
        }
        let prefix = format!("{SELECT} WHERE id GLOB ?1 || '*'");
        let mut found: Vec<Container> =
            self.store.database.read(|db| db.prepare_cached(&prefix)?.query_map([name], container)?.collect())?;
        match found.len() {
            0 | 1 => Ok(found.pop()),
            count => Err(Error::Ambiguous { prefix: name.into(), count, what: "containers" }),
        }
    }

    /// All, newest first.
    pub fn list(&self) -> Result<Vec<Container>> {
        let query = format!("{SELECT} ORDER BY serial DESC");
        self.store.database.read(|db| db.prepare_cached(&query)?.query_map([], container)?.collect())
    }

    /// Replaces the value.
    pub fn update(&self, id: &str, value: &str) -> Result<()> {
        let update = "UPDATE containers SET value = ?2 WHERE id = ?1";
        match self.store.database.write(|db| db.execute(update, [id, value]))? {
            0 => Err(Error::MissingContainer(id.to_owned())),
            _ => Ok(()),
        }
    }

    /// Renames; fails if the name is taken.
    pub fn rename(&self, id: &str, name: &str) -> Result<()> {
        let (changed, by) = self.store.database.write(|db| {
            let query = "SELECT id FROM containers WHERE name = ?1 AND id != ?2";
            let by: Option<String> = db.query_row(query, [name, id], |row| row.get(0)).optional()?;
            let update = "UPDATE containers SET name = ?2 WHERE id = ?1";
            let changed = if by.is_none() { db.execute(update, [id, name])? } else { 0 };
            Ok((changed, by))
        })?;
        match by {
            Some(by) => Err(Error::NameTaken { name: name.to_owned(), by }),
            None if changed == 0 => Err(Error::MissingContainer(id.to_owned())),
            None => Ok(()),
        }
    }

    /// The container's directory.
    pub fn directory(&self, id: &str) -> PathBuf {
        self.store.root.join("containers").join(id)
    }

    /// The lock that whoever runs or removes the container holds.
    pub fn lock_key(&self, id: &str) -> LockKey {
        LockKey::new("container", id.as_bytes())
    }

    /// Removes row and directory. The caller holds the container's lock.
    pub fn remove(&self, id: &str) -> Result<()> {
        let delete = || self.store.database.write(|db| db.execute("DELETE FROM containers WHERE id = ?1", [id]));
        match delete() {
            // The container itself may have filled the disk.
            Err(error) if error.is_full_disk() => {
                self.store.session.discard(&self.directory(id))?;
                delete().map(drop)
            }
            deleted => deleted.and_then(|_| self.store.session.discard(&self.directory(id))),
        }
    }
}

/// Removes directories without a row. The caller keeps others from making any.
pub(crate) fn sweep(store: &Inner) -> Result<()> {
    let directory = store.root.join("containers");
    for entry in std::fs::read_dir(&directory).at("list", &directory)? {
        let entry = entry.at("list", &directory)?;
        let id = entry.file_name().to_string_lossy().into_owned();
        let query = "SELECT 1 FROM containers WHERE id = ?1";
        if !store.database.read(|db| db.prepare_cached(query)?.exists([&id]))? {
            store.session.discard(&entry.path())?;
        }
    }
    Ok(())
}

fn container(row: &Row<'_>) -> rusqlite::Result<Container> {
    let image = match row.get_ref(2)? {
        rusqlite::types::ValueRef::Null => None,
        _ => Some(digest(row, 2)?),
    };
    Ok(Container {
        id: row.get(0)?,
        name: row.get(1)?,
        image,
        layers: json(row, 3)?,
        created: Timestamp::from_seconds(row.get(4)?),
        value: row.get(5)?,
    })
}
