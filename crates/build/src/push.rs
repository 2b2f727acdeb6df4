//! Outputs that go to registries.

use kiln_images::push::{self, Parcel, SentLayer};
use kiln_oci::Reference;
use kiln_progress::{Outcome, Sink, Stream, Task};
use kiln_registry::Sent;
use kiln_store::Store;

use crate::error::{BuildError, chain};
use crate::request::{PushedAs, Pushing};

/// An image that is ready, and where it goes.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) parcel: Parcel,
    pub(crate) names: Vec<Reference>,
    pub(crate) pushing: Pushing,
}

/// Pushes, one after the other: what the first one sent, the next ones find there.
pub(crate) async fn all(
    store: &Store,
    registry: &kiln_registry::Client,
    pushes: &[Push],
    progress: &Sink,
) -> Result<(), BuildError> {
    for push in pushes {
        for name in &push.names {
            let name = match push.pushing.pushed_as {
                PushedAs::Tags => name.with_default_tag(),
                PushedAs::Digest => name.with_digest(push.parcel.descriptor().digest.clone()),
            };
            let insecure = match push.pushing.insecure {
                true => Some(registry.insecure_for(&name).await.map_err(|error| failed(&name, &error))?),
                false => None,
            };
            one(store, insecure.as_ref().unwrap_or(registry), &name, &push.parcel, progress).await?;
        }
    }
    Ok(())
}

async fn one(
    store: &Store,
    registry: &kiln_registry::Client,
    name: &Reference,
    parcel: &Parcel,
    progress: &Sink,
) -> Result<(), BuildError> {
    let task = progress.task(format!("pushing {name}"));
    task.start();
    let pushed = push::image(store, registry, name, parcel, &task, &|layer| tell(&task, layer)).await;
    task.finish(match &pushed {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(chain(error)),
    });
    pushed.map(|_| ()).map_err(|error| failed(name, &error))
}

fn failed(name: &Reference, error: &dyn std::error::Error) -> BuildError {
    BuildError::Export(format!("failed to push {name}: {}", chain(error)))
}

fn tell(task: &Task, layer: &SentLayer) {
    let how = match &layer.sent {
        None => "is left to the web servers that its descriptor names".to_owned(),
        Some(Sent::Existed) => "is there already".to_owned(),
        Some(Sent::Mounted(from)) => format!("mounted from {from}"),
        Some(Sent::Uploaded) => "pushed".to_owned(),
    };
    task.log(Stream::Stdout, format!("{} {how}\n", layer.digest.short()).as_bytes());
}
