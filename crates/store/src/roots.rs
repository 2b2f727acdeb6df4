//! The document that a name stands for: the index of its platforms, or the manifest, with all that a user or another
//! registry put into it or beside it. The store does not read it: whether it still fits the images of the name is for
//! those to see who know documents. A name that is given away loses it.

use kiln_oci::Descriptor;
use rusqlite::{Connection, OptionalExtension};

use crate::database::{json, to_json};
use crate::error::Result;
use crate::images::Images;

impl Images<'_> {
    /// The document of a full name, if one is known; its blob may be gone.
    pub fn root(&self, name: &str) -> Result<Option<Descriptor>> {
        self.store.database.read(|db| {
            let query = "SELECT root FROM image_names WHERE name = ?1 AND root IS NOT NULL ORDER BY position LIMIT 1";
            db.prepare_cached(query)?.query_row([name], |row| json(row, 0)).optional()
        })
    }

    /// Says what the document of a full name is, a blob, with its annotations. Nothing happens if no image has the
    /// name.
    pub fn set_root(&self, name: &str, root: &Descriptor) -> Result<()> {
        self.store.database.write(|db| {
            db.execute("UPDATE image_names SET root = ?2 WHERE name = ?1", (name, to_json(root)?))?;
            Ok(())
        })
    }
}

/// The digests of the documents of all names, as texts.
pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        db.prepare_cached("SELECT DISTINCT root ->> '$.digest' FROM image_names WHERE root IS NOT NULL")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use kiln_oci::{Descriptor, Digest, MediaType, Platform};

    use crate::images::NewImage;
    use crate::prune::Prune;
    use crate::testing::store;

    #[test]
    fn a_document_stays_as_long_as_its_name_means_the_same() {
        let (_directory, store) = store();
        let blob = |text: &[u8]| store.blobs().insert(text).unwrap().digest;
        let image =
            |id: &Digest| NewImage { id: id.clone(), platform: Platform::host(), manifest: None, layers: Vec::new() };
        let dangling = Prune { dangling_images: true, ..Prune::default() };
        let (one, other, index) = (blob(b"one"), blob(b"other"), blob(b"index"));
        let mut root = Descriptor::new(MediaType::OciIndex, index.clone(), 5);
        root.annotations.insert("key".into(), "value".into());
        store.images().insert(&image(&one)).unwrap();
        store.images().insert(&image(&other)).unwrap();
        store.images().set_root("name", &root).unwrap();
        assert_eq!(store.images().root("name").unwrap(), None);

        store.images().tag("other", &other).unwrap();
        store.images().tag("name", &one).unwrap();
        store.images().set_root("name", &root).unwrap();
        assert_eq!(store.images().root("name").unwrap(), Some(root.clone()));
        store.leases().release().unwrap();
        store.prune(&dangling).unwrap();
        assert!(store.blobs().contains(&index).unwrap());

        store.images().tag("name", &other).unwrap();
        assert_eq!(store.images().root("name").unwrap(), None);
        store.prune(&dangling).unwrap();
        assert!(!store.blobs().contains(&index).unwrap());
    }
}
