//! Reading what `--cache-from` names: entries and records, no layer.

use kiln_cache::depot::{Depot, Foreign};
use kiln_cache::{BUILDKIT_MEMBER, CacheFrom, Found, Inline, Place, Shelf};
use kiln_oci::{Descriptor, ImageConfig, Platform, Reference};
use kiln_progress::{Outcome, Sink, Task, Warning};
use kiln_registry::Client;
use kiln_store::Store;

use super::Elsewhere;
use crate::error::chain;

/// Larger configs than this are not read.
const CONFIG_LIMIT: u64 = 8 << 20;

/// Reads all of them, in order. One that cannot be read is a warning: the build goes on without it.
pub(crate) async fn read_all(
    from: &[CacheFrom],
    platforms: &[Platform],
    store: &Store,
    registry: &Client,
    progress: &Sink,
) -> Elsewhere {
    let mut shelf = Shelf::default();
    for each in from {
        let task = progress.task(format!("importing cache manifest from {}", each.place));
        task.start();
        let reader = Reader { platforms, store, registry, task: &task };
        match reader.read(each, &mut shelf).await {
            Ok(()) => task.finish(Outcome::Done),
            Err(reason) => {
                let short = format!("the cache {} is not used: {reason}", each.place);
                task.finish(Outcome::Failed(reason));
                progress.warn(Warning { short, detail: Vec::new() });
            }
        }
    }
    Elsewhere::new(shelf, from.iter().any(|each| each.mounts))
}

struct Reader<'a> {
    platforms: &'a [Platform],
    store: &'a Store,
    registry: &'a Client,
    task: &'a Task,
}

impl Reader<'_> {
    async fn read(&self, from: &CacheFrom, shelf: &mut Shelf) -> Result<(), String> {
        let depot = from.place.open(self.registry);
        let local = match &from.place {
            Place::Registry(reference) if from.is_image => self.stored_image(reference, &depot, shelf)?,
            _ => false,
        };
        let warn = |text: String| self.warn(text);
        let found = match shelf.take_in(&depot, &warn).await {
            // It was found here, and nobody said that it is in a registry, too.
            Err(_) if local => return Ok(()),
            found => found.map_err(|error| chain(&error))?,
        };
        match (found, &from.place) {
            (Found::Entries(_), _) => Ok(()),
            (Found::Foreign(Foreign::BuildKit), _) => Err(BUILDKIT.into()),
            (Found::Foreign(Foreign::Other(kind)), Place::Registry(reference)) if is_image(&kind) => {
                self.inline(reference, &depot, shelf).await
            }
            (Found::Foreign(Foreign::Other(kind)), _) => Err(format!("it holds {kind:?} and no cache")),
            (Found::Nothing, _) if local => Ok(()),
            (Found::Nothing, _) => Err("there is nothing".into()),
        }
    }

    /// The records inside the images that a name has in a registry.
    async fn inline(&self, reference: &Reference, depot: &Depot, shelf: &mut Shelf) -> Result<(), String> {
        let mut reason = None;
        for platform in self.platforms {
            let read = async {
                let image = self.registry.image(reference, platform).await.map_err(|error| chain(&error))?;
                let config = self.registry.small_blob(reference, &image.manifest.config).await;
                let config = config.map_err(|error| chain(&error))?;
                take(&config, &image.manifest.layers, depot, shelf)
            };
            reason = read.await.err().or(reason);
        }
        reason.map_or(Ok(()), Err)
    }

    /// The records inside images of the store that have the name; tells whether there are any.
    fn stored_image(&self, reference: &Reference, depot: &Depot, shelf: &mut Shelf) -> Result<bool, String> {
        let images = self.store.images().platforms(&reference.with_default_tag().to_string());
        let mut any = false;
        for image in images.map_err(|error| chain(&error))? {
            let config = self.store.blobs().read(&image.id, CONFIG_LIMIT).map_err(|error| chain(&error))?;
            // Its layers are in the store; where they would have to be fetched, they are known by their diff ids only.
            let unknown = |diff_id| Descriptor::new(kiln_oci::MediaType::OciLayer, diff_id, 0);
            let blobs =
                image.layers.iter().map(|layer| layer.blob.clone().unwrap_or_else(|| unknown(layer.diff_id.clone())));
            any |= take(&config, &blobs.collect::<Vec<_>>(), depot, shelf).is_ok();
        }
        Ok(any)
    }

    fn warn(&self, short: String) {
        self.task.warn(Warning { short, detail: Vec::new() });
    }
}

pub(super) const BUILDKIT: &str = "it is in BuildKit's own format, whose keys are digests of BuildKit's internal operations; \
                        kiln reads caches that kiln wrote";

fn is_image(media_type: &str) -> bool {
    let media_type = kiln_oci::MediaType::parse(media_type);
    media_type.is_manifest() || media_type.is_index()
}

/// Puts the records inside an image on the shelf.
fn take(config: &[u8], blobs: &[Descriptor], depot: &Depot, shelf: &mut Shelf) -> Result<(), String> {
    let config = ImageConfig::parse(config).map_err(|error| chain(&error))?;
    match Inline::read(&config, blobs) {
        Ok(Some(catalogue)) => {
            shelf.add(depot, catalogue);
            Ok(())
        }
        Ok(None) if config.unknown.contains_key(BUILDKIT_MEMBER) => Err(format!("its inline cache: {BUILDKIT}")),
        Ok(None) => Err("it is an image without an inline cache".into()),
        Err(error) => Err(format!("its inline cache cannot be read: {}", chain(&error))),
    }
}
