//! A copy of the images' names beside the database, in the file `names`: of all that only the database knows they are
//! what people miss most when it is lost.
//!
//! One line for each name: the name, then its images' ids in their order, with blanks between. The copy may be
//! older than the database, and it is read only where that was lost.

use std::fs;
use std::path::Path;

use kiln_oci::Digest;

use crate::error::Result;
use crate::fault::{self, Operation};
use crate::store::Inner;

const FILE: &str = "names";

/// A larger file is not read, in bytes.
const LIMIT: u64 = 64 << 20;

/// Writes the copy anew. Where it cannot be written it stays as it was: it is only a copy.
pub(crate) fn copy(store: &Inner) -> Result<()> {
    let rows: Vec<(String, String)> = store.database.read(|db| {
        let query = "SELECT name, group_concat(image, ' ') FROM
            (SELECT name, image FROM image_names ORDER BY name, position) GROUP BY name ORDER BY name";
        db.prepare_cached(query)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    })?;
    let text: String = rows.iter().map(|(name, images)| format!("{name} {images}\n")).collect();
    let (new, place) = (store.session.fresh_path(), store.root.join(FILE));
    let written = fault::run(Operation::Write, || fs::write(&new, text));
    let _ = written.and_then(|()| fault::run(Operation::Rename, || fs::rename(&new, &place)));
    Ok(())
}

/// What the copy says; nothing if there is none.
pub(crate) fn copied(root: &Path) -> Vec<(String, Vec<Digest>)> {
    let path = root.join(FILE);
    if fs::metadata(&path).map_or(true, |status| status.len() > LIMIT) {
        return Vec::new();
    }
    let text = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let line = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next().filter(|name| !name.is_empty())?.to_owned();
        Some((name, words.filter_map(|word| word.parse().ok()).collect()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;
    use crate::{NewImage, Store};
    use kiln_oci::Platform;

    fn image(store: &Store, config: &str) -> Digest {
        let id = store.blobs().insert(config.as_bytes()).unwrap().digest;
        let image = NewImage { id: id.clone(), platform: Platform::host(), manifest: None, layers: Vec::new() };
        store.images().insert(&image).unwrap();
        id
    }

    #[test]
    fn the_copy_has_the_names_as_they_are() {
        let (_directory, store) = store();
        let (one, two) = (image(&store, "{1}"), image(&store, "{2}"));
        store.images().tag("docker.io/library/a:1", &one).unwrap();
        store.images().tag_all("docker.io/library/b:1", &[two.clone(), one.clone()]).unwrap();
        let names = || store.images().copied_names();
        assert_eq!(names()[0], ("docker.io/library/a:1".to_owned(), vec![one.clone()]));
        assert_eq!(names()[1].1.len(), 2);
        store.images().untag("docker.io/library/b:1").unwrap();
        assert_eq!(names().len(), 1);
        fs::write(store.root().join("names"), [0xff, b'\n', b' ', b'x']).unwrap();
        assert!(names().iter().all(|(_, images)| images.is_empty()));
    }
}
