//! Sending blobs and manifests to a registry.

use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, MediaType, Reference};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};

use super::begin::Beginning;
use super::upload::Upload;
use super::watched::Watched;
use super::{Client, referrers, request};
use crate::Error;
use crate::transport::{BlobSource, Call, Endpoint, Payload};

/// How large the answer to a manifest may be, in bytes.
const ANSWER_LIMIT: u64 = 64 << 10;

/// The header by which a registry says that it keeps the list of what refers to a manifest.
const SUBJECT: &str = "oci-subject";

/// How a blob got into its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was there, in this repository or in another that the registry does not name.
    Existed,
    /// The registry took it from this other repository.
    Mounted(String),
    /// Its bytes were sent.
    Uploaded,
}

impl Client {
    /// Whether the repository of `reference` has the blob `digest`.
    ///
    /// # Errors
    /// No connection or no permission.
    pub async fn has_blob(&self, reference: &Reference, digest: &Digest) -> Result<bool, Error> {
        let endpoint = self.own_endpoint(reference).await?;
        let call = Call { method: Method::HEAD, ..push_call(&endpoint, reference, &format!("blobs/{digest}")) };
        let answer = self.transport.fetch(&call, ANSWER_LIMIT).await?;
        match answer.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status => Err(request::failure(&self.transport, &call, status, String::new()).await),
        }
    }

    /// Sends the blob `descriptor` to the repository of `reference` unless it is there. `from` names another
    /// repository of the same registry that may have it: then no bytes are sent if the registry agrees. After a
    /// broken connection the upload goes on with what the registry lacks, or anew where it has forgotten the
    /// upload; `source` is read accordingly. Tells how the blob got there.
    ///
    /// # Errors
    /// No connection, no permission, a source that cannot be read or has other bytes than the descriptor's.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        from: Option<&str>,
        source: Arc<dyn BlobSource>,
    ) -> Result<Sent, Error> {
        if self.has_blob(reference, &descriptor.digest).await? {
            return Ok(Sent::Existed);
        }
        let endpoint = self.own_endpoint(reference).await?;
        let _permit = self.transport.permit(&endpoint.host()).await?;
        let upload = Upload {
            transport: &self.transport,
            endpoint: &endpoint,
            reference,
            descriptor,
            source: Watched::new(source, descriptor.size),
            piece: self.transport.config.hosts.get(reference.domain()).and_then(|host| host.upload_piece),
        };
        upload.run(from.map_or(Beginning::Mount, Beginning::MountFrom)).await
    }

    /// Sends a manifest or index and puts the tag of `reference` on it (`latest` by default), or none where
    /// `reference` has a digest. Its blobs must be there. One that refers to another manifest is listed there, where
    /// the registry does not do that itself.
    ///
    /// # Errors
    /// No connection, no permission, a manifest that the registry does not accept, or a digest in
    /// `reference` that is not that of `raw`.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: MediaType,
        raw: Bytes,
    ) -> Result<Descriptor, Error> {
        let (descriptor, is_listed) = self.put_manifest(reference, media_type, raw.clone()).await?;
        if !is_listed && let Some((subject, entry)) = referrers::entry(&raw, &descriptor) {
            self.list_referrer(reference, &subject, entry).await?;
        }
        Ok(descriptor)
    }

    /// The same without the list; also tells whether the registry says that it keeps that.
    pub(super) async fn put_manifest(
        &self,
        reference: &Reference,
        media_type: MediaType,
        raw: Bytes,
    ) -> Result<(Descriptor, bool), Error> {
        let endpoint = self.own_endpoint(reference).await?;
        let digest = super::check_digest(&endpoint.host(), reference.digest(), &raw)?;
        let descriptor = Descriptor::new(media_type, digest, raw.len() as u64);
        let mut call = push_call(&endpoint, reference, &format!("manifests/{}", super::manifest_name(reference)));
        call.method = Method::PUT;
        call.what = reference.to_string();
        let written = HeaderValue::from_str(descriptor.media_type.as_str());
        call.headers.insert(CONTENT_TYPE, written.map_err(|e| Error::Setup(format!("not a media type: {e}")))?);
        call.payload = Payload::Document(raw);
        let answer = self.transport.fetch(&call, ANSWER_LIMIT).await?;
        if answer.status == StatusCode::CREATED {
            return Ok((descriptor, answer.headers.contains_key(SUBJECT)));
        }
        let said = crate::transport::said(&answer.body);
        Err(request::failure(&self.transport, &call, answer.status, said).await)
    }

    /// The registry itself: mirrors are only read.
    pub(super) async fn own_endpoint(&self, reference: &Reference) -> Result<Endpoint, Error> {
        if reference.domain().is_empty() {
            return Err(Error::NoRegistry(Box::new(reference.clone())));
        }
        self.transport.endpoint(reference.domain()).await
    }
}

/// A request about `rest` below the repository of `reference`, with the permission to push.
pub(super) fn push_call<'a>(endpoint: &'a Endpoint, reference: &'a Reference, rest: &str) -> Call<'a> {
    let mut call = request::get(endpoint, reference, rest);
    call.scope = format!("repository:{}:pull,push", reference.path());
    call
}
