//! Base images: from the store, from named contexts, from registries.
//!
//! A local image of the name wins; `--pull` asks the registry first. What a name was resolved to is recorded.

use std::collections::BTreeMap;

use kiln_dockerfile::{Base, BaseName, Bases, ResolvedBase};
use kiln_images::load;
use kiln_images::pull::{self, PullError};
use kiln_oci::{ImageConfig, Platform, Reference};
use kiln_progress::{Outcome, Sink};
use kiln_registry::retries;
use kiln_store::{Image, Store};

use crate::error::{BuildError, chain};
use crate::request::NamedContext;
use crate::sources::shown;

const CONFIG_LIMIT: u64 = 8 << 20;

/// Finds base images.
#[derive(Clone)]
pub(crate) struct BaseResolver {
    pub(crate) store: Store,
    pub(crate) registry: kiln_registry::Client,
    pub(crate) named: BTreeMap<String, NamedContext>,
    pub(crate) pull: bool,
    pub(crate) progress: Sink,
}

impl BaseResolver {
    /// Resolves all of `missing` at once and adds them to `known`.
    pub(crate) async fn resolve_all(&self, missing: Vec<Base>, known: &mut Bases) -> Result<(), BuildError> {
        let mut running = tokio::task::JoinSet::new();
        for base in missing {
            let resolver = self.clone();
            running.spawn(async move {
                let resolved = resolver.resolve(&base).await;
                (base, resolved)
            });
        }
        while let Some(done) = running.join_next().await {
            let (base, resolved) = done.map_err(|error| BuildError::Internal(error.to_string()))?;
            known.insert(base, resolved?);
        }
        Ok(())
    }

    async fn resolve(&self, base: &Base) -> Result<ResolvedBase, BuildError> {
        let platform: Platform = base.platform.parse().map_err(|error| failed(base, &error))?;
        match &base.name {
            BaseName::Image(reference) => self.by_reference(base, reference, &platform).await,
            BaseName::NamedContext(name) => match self.named.get(name) {
                Some(NamedContext::Image(reference)) => self.by_reference(base, reference, &platform).await,
                Some(NamedContext::Layout { directory, selector }) => {
                    let task = self.progress.task(format!("[internal] load {name} from {}", directory.display()));
                    task.start();
                    let (store, directory, selector) = (self.store.clone(), directory.clone(), selector.clone());
                    let loading = task.clone();
                    let loaded =
                        blocking(move || load::from_layout(&store, &directory, &selector, &platform, &loading)).await?;
                    task.finish(outcome(&loaded));
                    let image = loaded.map_err(|error| failed(base, &error))?;
                    let reference: Reference = "layout".parse().map_err(|error| failed(base, &error))?;
                    self.resolved(reference, &image)
                }
                Some(NamedContext::Files) | None => {
                    Err(BuildError::Base { name: name.clone(), reason: "it is no image".into(), span: None })
                }
            },
        }
    }

    async fn by_reference(
        &self,
        base: &Base,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedBase, BuildError> {
        if !self.pull
            && let Some(image) = self.local(reference, platform)?
        {
            return self.resolved(reference.with_default_tag(), &image);
        }
        let task = self.progress.task(format!("[internal] load metadata for {}", reference.with_default_tag()));
        task.start();
        let reference_with_tag = reference.with_default_tag();
        let pulling = pull::manifest(&self.store, &self.registry, &reference_with_tag, platform);
        let pulled = retries::heard(shown(&task), pulling).await;
        task.finish(outcome(&pulled));
        let pulled = pulled.map_err(|error| self.not_pulled(base, reference, platform, &error))?;
        self.resolved(reference.with_default_tag(), &pulled.image)
    }

    fn local(&self, reference: &Reference, platform: &Platform) -> Result<Option<Image>, BuildError> {
        Ok(self.store.images().resolve_for(&reference.with_default_tag().to_string(), platform)?)
    }

    /// Why an image cannot be had; one that is here for other platforms is mentioned.
    fn not_pulled(&self, base: &Base, reference: &Reference, platform: &Platform, error: &PullError) -> BuildError {
        let mut reason = chain(error);
        let here = self.store.images().platforms(&reference.with_default_tag().to_string()).unwrap_or_default();
        if !here.is_empty() {
            let has: Vec<String> = here.iter().map(|image| image.platform.to_string()).collect();
            reason.push_str(&format!(
                "\nnote: the store has this image, but not for {platform}: only for {}",
                has.join(", ")
            ));
        }
        BuildError::Base { name: name_of(base), reason, span: None }
    }

    fn config(&self, image: &Image) -> Result<ImageConfig, BuildError> {
        let raw = self.store.blobs().read(&image.id, CONFIG_LIMIT)?;
        ImageConfig::parse(&raw).map_err(|error| BuildError::Base {
            name: image.id.to_string(),
            reason: format!("its config is damaged: {error}"),
            span: None,
        })
    }

    fn resolved(&self, reference: Reference, image: &Image) -> Result<ResolvedBase, BuildError> {
        let layers: Vec<_> = image.layers.iter().filter_map(|layer| layer.layer).collect();
        self.store.leases().pin_layers(&layers)?;
        let mut config = self.config(image)?;
        config.rootfs.diff_ids = image.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        Ok(ResolvedBase { reference, manifest: image.manifest.clone(), config })
    }
}

fn failed(base: &Base, error: &dyn std::error::Error) -> BuildError {
    BuildError::Base { name: name_of(base), reason: chain(error), span: None }
}

/// A base as the Dockerfile names it.
fn name_of(base: &Base) -> String {
    match &base.name {
        BaseName::Image(reference) => reference.familiar(),
        BaseName::NamedContext(name) => name.clone(),
    }
}

fn outcome<T, E: std::error::Error>(result: &Result<T, E>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(chain(error)),
    }
}

/// Runs blocking work on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BuildError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| BuildError::Internal(error.to_string()))
}
