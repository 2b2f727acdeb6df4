//! From which repositories blobs can be had. So an image may name layers that the store does not hold: they are fetched
//! when somebody wants their files. Repositories are names as their owner normalised them; nothing is asked here.

use std::sync::Arc;

use kiln_oci::Digest;
use rusqlite::Connection;

use crate::error::Result;
use crate::store::Inner;

/// The most repositories that are remembered for one blob.
const KEPT: usize = 4;

/// The origins of the blobs of a store.
pub struct Origins<'a> {
    pub(crate) store: &'a Arc<Inner>,
}

impl Origins<'_> {
    /// Remembers that `repository` has these blobs.
    pub fn add(&self, repository: &str, blobs: &[Digest]) -> Result<()> {
        let known = |db: &Connection, blob: &Digest| -> rusqlite::Result<bool> {
            Ok(of(db, blob)?.first().is_some_and(|newest| newest == repository))
        };
        let all_known = |db: &Connection| blobs.iter().try_fold(true, |so_far, blob| Ok(so_far && known(db, blob)?));
        if self.store.database.read(all_known)? {
            return Ok(());
        }
        self.store.database.write(|db| {
            let turn: i64 =
                db.query_row("SELECT coalesce(max(turn), 0) + 1 FROM blob_origins", [], |row| row.get(0))?;
            for blob in blobs {
                let digest = blob.to_string();
                db.prepare_cached(
                    "INSERT OR REPLACE INTO blob_origins (digest, repository, turn) VALUES (?1, ?2, ?3)",
                )?
                .execute((&digest, repository, turn))?;
                db.prepare_cached(
                    "DELETE FROM blob_origins WHERE digest = ?1 AND repository NOT IN
                     (SELECT repository FROM blob_origins WHERE digest = ?1 ORDER BY turn DESC LIMIT ?2)",
                )?
                .execute((&digest, KEPT as i64))?;
            }
            Ok(())
        })
    }

    /// The repositories that have the blob, that which was named last first.
    pub fn of(&self, blob: &Digest) -> Result<Vec<String>> {
        self.store.database.read(|db| of(db, blob))
    }
}

fn of(db: &Connection, blob: &Digest) -> rusqlite::Result<Vec<String>> {
    let query = "SELECT repository FROM blob_origins WHERE digest = ?1 ORDER BY turn DESC, repository";
    db.prepare_cached(query)?.query_map([blob.to_string()], |row| row.get(0))?.collect()
}

/// Whether any repository has the blob.
pub(crate) fn is_known(db: &Connection, blob: &Digest) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM blob_origins WHERE digest = ?1")?.exists([blob.to_string()])
}

/// Forgets where blobs are that no image names any more.
pub(crate) fn forget_unnamed(db: &Connection) -> rusqlite::Result<()> {
    db.execute(
        "DELETE FROM blob_origins WHERE digest NOT IN (SELECT layer.value ->> '$.blob.digest' FROM images,
         json_each(images.layers) AS layer WHERE layer.value ->> '$.blob.digest' IS NOT NULL)",
        [],
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use kiln_oci::{Descriptor, MediaType, Platform};

    use super::*;
    use crate::images::NewImage;
    use crate::prune::Prune;
    use crate::{ImageLayer, testing};

    #[test]
    fn a_layer_elsewhere_keeps_its_image_and_is_forgotten_with_it() {
        let (_directory, store) = testing::store();
        let layer = |text: &[u8]| ImageLayer {
            diff_id: Digest::of(text),
            layer: None,
            blob: Some(Descriptor::new(MediaType::OciLayerGzip, Digest::of(&[text, b".gz"].concat()), 4)),
        };
        let image = |config: &[u8], layer: ImageLayer| NewImage {
            id: store.blobs().insert(config).unwrap().digest,
            platform: Platform::host(),
            manifest: None,
            layers: vec![layer],
        };
        let (here, lost) = (image(b"{}", layer(b"had")), image(b"{ }", layer(b"lost")));
        let blob = here.layers[0].blob.clone().unwrap().digest;
        store.origins().add("localhost/a", std::slice::from_ref(&blob)).unwrap();
        for (name, image) in [("kept", &here), ("lost", &lost)] {
            store.images().insert(image).unwrap();
            store.images().tag(name, &image.id).unwrap();
        }
        store.leases().release().unwrap();
        store.forget_lost_images().unwrap();
        assert!(store.images().resolve("kept").unwrap().is_some());
        assert!(store.images().resolve("lost").unwrap().is_none());
        assert_eq!(store.origins().of(&blob).unwrap(), ["localhost/a"]);

        store.images().remove(&here.id, false).unwrap();
        store.prune(&Prune { dangling_images: true, ..Prune::default() }).unwrap();
        assert!(store.origins().of(&blob).unwrap().is_empty());
    }

    #[test]
    fn the_newest_few_are_remembered() {
        let (_directory, store) = testing::store();
        let blob = Digest::of(b"blob");
        for n in [1, 2, 3, 4, 5, 6, 3, 3] {
            store.origins().add(&format!("localhost/{n}"), std::slice::from_ref(&blob)).unwrap();
        }
        let expected = ["localhost/3", "localhost/6", "localhost/5", "localhost/4"];
        assert_eq!(store.origins().of(&blob).unwrap(), expected);
    }
}
