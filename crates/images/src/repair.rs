//! Mending what a check of the store found: layers are unpacked again from a blob that the store holds, blobs and
//! layers are pulled again from where their image came from; the rest is the store's.
//!
//! Whatever is unpacked or pulled is verified by its digest and diff id, so a damaged source mends nothing and harms
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use kiln_oci::{Descriptor, Digest, Reference};
use kiln_progress::Task;
use kiln_registry::Client;
use kiln_store::{Finding, Image, LayerId, Mended, Remedy, Report, Store, Subject};

use crate::unpack;

/// What was done about every finding of a report, in its order.
///
/// # Errors
/// A store that cannot be changed at all. What a registry or a damaged blob refuses only means that this finding
/// is mended in another way, or not.
pub async fn repair(
    store: &Store,
    client: &Client,
    report: &Report,
    task: &Task,
) -> Result<Vec<(Finding, Mended)>, kiln_store::Error> {
    let mut done: BTreeMap<Subject, Mended> = BTreeMap::new();
    let mut result = Vec::new();
    // Blobs first: layers may be unpacked from them.
    let blobs = report.findings.iter().filter(|finding| matches!(finding.subject, Subject::Blob(_)));
    let others = report.findings.iter().filter(|finding| !matches!(finding.subject, Subject::Blob(_)));
    for (position, finding) in blobs.chain(others).enumerate() {
        task.progress(position as u64, Some(report.findings.len() as u64));
        let mended = match done.get(&finding.subject) {
            Some(mended) if is_of_the_whole(&finding.remedy) => mended.clone(),
            _ => one(store, client, finding).await?,
        };
        if is_of_the_whole(&finding.remedy) {
            done.insert(finding.subject.clone(), mended.clone());
        }
        result.push((finding.clone(), mended));
    }
    Ok(result)
}

/// Whether the remedy is for all findings about its subject at once.
fn is_of_the_whole(remedy: &Remedy) -> bool {
    matches!(remedy, Remedy::Unpack(_) | Remedy::Pull(_) | Remedy::Drop | Remedy::DropImages(_))
}

async fn one(store: &Store, client: &Client, finding: &Finding) -> Result<Mended, kiln_store::Error> {
    let restored = match (&finding.subject, &finding.remedy) {
        (_, remedy) if !is_of_the_whole(remedy) => None,
        (Subject::Layer(id), _) => layer(store, client, *id).await?,
        (Subject::Blob(digest), _) => blob(store, client, digest).await?,
        (Subject::Image(id), Remedy::Pull(_)) => blob(store, client, id).await?,
        _ => None,
    };
    match restored {
        Some(mended) => Ok(mended),
        None => store.mend(finding),
    }
}

/// Makes a layer anew in the place of the damaged one; `None` if there is nothing to make it of.
async fn layer(store: &Store, client: &Client, id: LayerId) -> Result<Option<Mended>, kiln_store::Error> {
    let Some((diff_id, mut blobs)) = store.layers().sources(id)? else { return Ok(None) };
    if store.layers().is_in_use(id)? {
        return Ok(Some(Mended::No("a running command has it: try again when it has ended".to_owned())));
    }
    let pulled = pull_layer(store, client, &diff_id, &blobs).await?;
    blobs.extend(pulled);
    let (store, mended) = (store.clone(), move |store: &Store| {
        for blob in &blobs {
            if let Some(mended) = unpacked(store, id, blob, &diff_id)? {
                return Ok(Some(mended));
            }
        }
        Ok(None)
    });
    blocking(move || mended(&store)).await
}

fn unpacked(store: &Store, id: LayerId, blob: &Digest, diff_id: &Digest) -> Result<Option<Mended>, kiln_store::Error> {
    let Ok(reader) = store.blobs().open(blob) else { return Ok(None) };
    // A damaged blob has its own finding.
    let Ok(whole) = unpack::anew(store, reader, diff_id) else { return Ok(None) };
    store.layers().replace(id, whole, diff_id)?;
    Ok(Some(Mended::Yes(format!("unpacked again from {blob}"))))
}

/// Pulls a blob that holds the layer, unless one of `blobs` is there.
async fn pull_layer(
    store: &Store,
    client: &Client,
    diff_id: &Digest,
    blobs: &BTreeSet<Digest>,
) -> Result<Option<Digest>, kiln_store::Error> {
    for blob in blobs {
        if store.blobs().contains(blob)? {
            return Ok(None);
        }
    }
    for image in store.images().list()? {
        let wanted = image.layers.iter().find(|layer| layer.diff_id == *diff_id).and_then(|layer| layer.blob.clone());
        if let Some(wanted) = wanted
            && pull_blob(store, client, &image, &wanted).await
        {
            return Ok(Some(wanted.digest));
        }
    }
    Ok(None)
}

/// Pulls a blob again for one of the images that need it; `None` if none of them can be asked for it.
async fn blob(store: &Store, client: &Client, digest: &Digest) -> Result<Option<Mended>, kiln_store::Error> {
    for image in store.images().list()? {
        let layer = image.layers.iter().filter_map(|layer| layer.blob.as_ref()).find(|blob| blob.digest == *digest);
        let pulled = match layer {
            Some(descriptor) => pull_blob(store, client, &image, descriptor).await,
            None if image.id == *digest || image.manifest.as_ref() == Some(digest) => {
                pull_documents(store, client, &image).await
            }
            None => false,
        };
        if pulled {
            return Ok(Some(Mended::Yes(format!("pulled again from {}", names(&image).join(", ")))));
        }
    }
    Ok(None)
}

fn names(image: &Image) -> Vec<String> {
    image.names.iter().chain(&image.names_by_platform).cloned().collect()
}

fn references(image: &Image) -> Vec<Reference> {
    names(image).iter().filter_map(|name| name.parse().ok()).collect()
}

/// Whether the registry of one of the image's names, or a repository that is known to have the blob, gave it.
async fn pull_blob(store: &Store, client: &Client, image: &Image, wanted: &Descriptor) -> bool {
    let origins = store.origins().of(&wanted.digest).unwrap_or_default();
    let origins = origins.iter().filter_map(|name| name.parse().ok());
    for reference in references(image).into_iter().chain(origins) {
        if fetch(store, client, &reference, wanted).await.is_some() {
            return true;
        }
    }
    false
}

async fn fetch(store: &Store, client: &Client, reference: &Reference, wanted: &Descriptor) -> Option<()> {
    let mut stream = client.blob(reference, wanted).await.ok()?;
    let mut writer = store.blobs().create_for(Some(&wanted.digest)).ok()?;
    while let Some(piece) = stream.chunk().await.ok()? {
        writer = tokio::task::spawn_blocking(move || writer.write_all(&piece).map(|()| writer)).await.ok()?.ok()?;
    }
    let wanted = wanted.clone();
    let commit = move || writer.commit(Some(&wanted.digest), Some(wanted.size)).map(drop);
    tokio::task::spawn_blocking(commit).await.ok()?.ok()
}

/// Pulls the manifest by its digest, and the config that it names.
async fn pull_documents(store: &Store, client: &Client, image: &Image) -> bool {
    let Some(manifest) = &image.manifest else { return false };
    for reference in references(image) {
        let by_digest = reference.with_digest(manifest.clone());
        let Ok(remote) = client.image(&by_digest, &image.platform).await else { continue };
        let Ok(config) = client.small_blob(&by_digest, &remote.manifest.config).await else { continue };
        let held = remote.manifest.config.digest == image.id
            && store.blobs().insert(&remote.raw).is_ok()
            && store.blobs().insert(&config).is_ok();
        if held {
            return true;
        }
    }
    false
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, kiln_store::Error> + Send + 'static,
) -> Result<T, kiln_store::Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(kiln_store::Error::Cancelled),
    }
}
