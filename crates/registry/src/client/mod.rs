//! The client: finds and fetches manifests and blobs.

mod begin;
mod blob;
mod delete;
mod insecure;
mod manifest;
mod pages;
mod push;
mod ranges;
mod referrers;
mod request;
mod size;
mod tags;
mod upload;
mod watched;

use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, ManifestOrIndex, MediaType, Platform, Reference};
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};

pub use blob::BlobStream;
pub use manifest::{Document, RemoteImage};
pub use push::Sent;

use crate::transport::{Call, Endpoint, Transport, said};
use crate::{Config, CredentialSource, Error};

/// How large a manifest or index may be, in bytes.
const MANIFEST_LIMIT: u64 = 4 << 20;

/// How large a blob may be that is held in memory, in bytes.
const SMALL_BLOB_LIMIT: u64 = 8 << 20;

/// How deep indexes may hold indexes.
const INDEX_DEPTH: usize = 4;

/// Talks to registries. Cheap to clone; clones share connections, tokens and limits.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Arc<Transport>,
}

impl Client {
    /// A client that asks `credentials` when a registry wants some. Nothing is sent or read yet.
    pub fn new(config: Config, credentials: Arc<dyn CredentialSource>) -> Self {
        Client { transport: Arc::new(Transport::new(config, credentials)) }
    }

    /// Connections with this client's certificates and limits for a protocol that another crate speaks to `host`
    /// (`NAME[:PORT]`). They carry no credentials and follow no redirects. A link-local address is asked without a
    /// proxy, and given up soon.
    ///
    /// # Errors
    /// Certificates that cannot be read.
    pub async fn http(&self, host: &str) -> Result<reqwest::Client, Error> {
        self.transport.bare(host).await
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// What `reference` names now, without fetching it: a tag (`latest` by default) or a digest. One `HEAD`
    /// request as a rule, which public registries do not count as a pull.
    ///
    /// # Errors
    /// No connection, no permission, no such manifest.
    pub async fn head(&self, reference: &Reference) -> Result<Descriptor, Error> {
        let reference = &reference.with_default_tag();
        let found = request::first(&self.transport, reference, request::purpose(reference), |endpoint| {
            self.head_at(endpoint, reference)
        })
        .await?;
        match found {
            Some(descriptor) => Ok(descriptor),
            None => Ok(self.resolve(reference).await?.descriptor),
        }
    }

    async fn head_at(&self, endpoint: Endpoint, reference: &Reference) -> Result<Option<Descriptor>, Error> {
        let call = Call { method: Method::HEAD, ..manifest_call(&endpoint, reference) };
        let answer = self.transport.fetch(&call, MANIFEST_LIMIT).await?;
        if !answer.status.is_success() {
            return Err(request::failure(&self.transport, &call, answer.status, String::new()).await);
        }
        let size = text(&answer.headers, CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
        let (Some(digest), Some(media_type), Some(size)) =
            (content_digest(&answer.headers), content_type(&answer.headers), size)
        else {
            return Ok(None);
        };
        let is_asked_for = reference.digest().is_none_or(|asked| *asked == digest);
        let is_known = media_type.is_index() || media_type.is_manifest();
        Ok((is_asked_for && is_known).then(|| Descriptor::new(media_type, digest, size)))
    }

    /// Fetches what `reference` names: a tag (`latest` by default) or a digest, which counts where both are given.
    ///
    /// # Errors
    /// No connection, no permission, no such manifest, wrong bytes, more than 4 MiB, or a document of a kind
    /// that is not read here.
    pub async fn resolve(&self, reference: &Reference) -> Result<Document, Error> {
        let reference = &reference.with_default_tag();
        request::first(&self.transport, reference, request::purpose(reference), |endpoint| {
            self.manifest_at(endpoint, reference, None)
        })
        .await
    }

    /// Fetches a manifest or index of the repository of `reference` by its descriptor.
    ///
    /// # Errors
    /// As [`Client::resolve`], and a size that is not the descriptor's.
    pub async fn document(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Document, Error> {
        if descriptor.size > MANIFEST_LIMIT {
            return Err(too_large(reference, descriptor, MANIFEST_LIMIT));
        }
        let reference = &reference.with_digest(descriptor.digest.clone());
        let ask = |endpoint| self.manifest_at(endpoint, reference, Some(descriptor));
        request::first(&self.transport, reference, request::purpose(reference), ask).await
    }

    async fn manifest_at(
        &self,
        endpoint: Endpoint,
        reference: &Reference,
        expected: Option<&Descriptor>,
    ) -> Result<Document, Error> {
        let call = manifest_call(&endpoint, reference);
        let answer = self.transport.fetch(&call, MANIFEST_LIMIT).await?;
        if answer.status != StatusCode::OK {
            return Err(request::failure(&self.transport, &call, answer.status, said(&answer.body)).await);
        }
        let host = endpoint.host();
        if let Some(descriptor) = expected.filter(|descriptor| descriptor.size != answer.body.len() as u64) {
            let (digest, actual) = (descriptor.digest.clone(), answer.body.len() as u64);
            return Err(Error::SizeMismatch { host, digest, expected: descriptor.size, actual });
        }
        let announced_digest = content_digest(&answer.headers);
        let digest = check_digest(&host, reference.digest().or(announced_digest.as_ref()), &answer.body)?;
        let announced = content_type(&answer.headers);
        manifest::read(reference, announced, digest, answer.body)
    }

    /// Fetches what `reference` names, and of an index the manifest for `platform`. Whether the config of
    /// an image without an index is for `platform` is not looked at.
    ///
    /// # Errors
    /// As [`Client::resolve`]; [`Error::NoPlatform`] lists what an index has.
    pub async fn image(&self, reference: &Reference, platform: &Platform) -> Result<RemoteImage, Error> {
        let root = self.resolve(reference).await?;
        let mut document = root.clone();
        for _ in 0..INDEX_DEPTH {
            let index = match document.content {
                ManifestOrIndex::Manifest(manifest) => {
                    manifest::check_is_image(reference, &manifest)?;
                    let (descriptor, raw) = (document.descriptor, document.raw);
                    return Ok(RemoteImage { root, descriptor, raw, manifest: *manifest });
                }
                ManifestOrIndex::Index(index) => index,
            };
            let entry = manifest::select(reference, &index, platform)?;
            document = self.document(reference, entry).await?;
            document.descriptor.platform = entry.platform.clone();
        }
        let detail = format!("indexes within indexes, deeper than {INDEX_DEPTH}");
        Err(Error::InvalidManifest { reference: Box::new(reference.clone()), detail })
    }

    /// Fetches a small blob of the repository of `reference`, such as an image config, whole: at most 8 MiB.
    ///
    /// # Errors
    /// As [`Client::blob`] and [`BlobStream::chunk`], and a descriptor that says more than 8 MiB.
    pub async fn small_blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Bytes, Error> {
        if descriptor.size > SMALL_BLOB_LIMIT {
            return Err(too_large(reference, descriptor, SMALL_BLOB_LIMIT));
        }
        let mut stream = self.blob(reference, descriptor).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = stream.chunk().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.into())
    }
}

/// How a manifest is called in a path: by digest if there is one, otherwise by tag.
fn manifest_name(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    }
}

fn manifest_call<'a>(endpoint: &'a Endpoint, reference: &'a Reference) -> Call<'a> {
    let mut call = request::get(endpoint, reference, &format!("manifests/{}", manifest_name(reference)));
    for media_type in &manifest::ACCEPTED {
        if let Ok(value) = HeaderValue::from_str(media_type.as_str()) {
            call.headers.append(ACCEPT, value);
        }
    }
    call.what = reference.to_string();
    call
}

/// The digest of `body`, which must be `expected` if that is given.
fn check_digest(host: &str, expected: Option<&Digest>, body: &[u8]) -> Result<Digest, Error> {
    let Some(expected) = expected else { return Ok(Digest::of(body)) };
    let mut hasher = expected.hasher().ok_or_else(|| Error::UnsupportedDigest(expected.clone()))?;
    hasher.update(body);
    let actual = hasher.finish();
    if actual == *expected {
        return Ok(actual);
    }
    Err(Error::DigestMismatch { host: host.to_owned(), expected: expected.clone(), actual })
}

fn too_large(reference: &Reference, descriptor: &Descriptor, limit: u64) -> Error {
    Error::TooLarge { host: reference.domain().to_owned(), what: descriptor.digest.to_string(), limit }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    text(headers, "docker-content-digest")?.parse().ok()
}

fn content_type(headers: &HeaderMap) -> Option<MediaType> {
    text(headers, CONTENT_TYPE.as_str()).map(MediaType::parse)
}
