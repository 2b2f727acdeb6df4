//! Removes blobs from a bucket that no entry names any more, whatever the cache's name: blobs are shared.

use std::collections::HashSet;
use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::{Objects, age};
use crate::depot::{ENTRY_LIMIT, Entry, EntryId, Error, Result};

impl Objects {
    /// Removes the blobs that are named by no entry and are older than `grace`. If one entry cannot be read, or not all
    /// can be found since their keys begin with a part of a word, all stay.
    pub(super) async fn sweep(&self, grace: Duration) -> Result<()> {
        if !self.0.bucket.entries().ends_with('/') {
            return Ok(());
        }
        let named = match self.named().await {
            Err(error) if error.is_absence() => return Ok(()),
            answer => answer?,
        };
        for object in self.list(&Path::from(self.0.bucket.blobs())).await? {
            let is_named = object.location.filename().is_some_and(|hex| named.contains(hex));
            if !is_named && age(&object) >= grace {
                self.remove(&object.location).await?;
            }
        }
        Ok(())
    }

    /// The hexadecimal digests of all blobs that an entry names.
    async fn named(&self) -> Result<HashSet<String>> {
        let mut named = HashSet::new();
        for object in self.list(&Path::from(self.0.bucket.entries())).await? {
            let id = object.location.filename().and_then(|name| name.parse::<EntryId>().ok());
            let Some(id) = id.filter(|_| object.size <= ENTRY_LIMIT) else { continue };
            let read = self.store().await?.get(&object.location).await.map_err(|e| self.failed("read", e))?;
            let raw = read.bytes().await.map_err(|e| self.failed("read", e))?;
            let (depot, what) = (self.to_string(), format!("entry {id}"));
            let entry = Entry::read(&id, &raw).map_err(|detail| Error::Damaged { depot, what, detail })?;
            named.insert(entry.records.digest.hex().to_owned());
            named.extend(entry.blobs.iter().map(|blob| blob.digest.hex().to_owned()));
        }
        Ok(named)
    }
}
