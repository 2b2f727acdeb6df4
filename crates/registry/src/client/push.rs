//! Sending blobs and manifests to a registry.

use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, MediaType, Reference};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};

use super::watched::Watched;
use super::{Client, request};
use crate::Error;
use crate::transport::{BlobSource, Call, Endpoint, Payload, Trouble, repeated};

/// How large the answer to a manifest may be, in bytes.
const ANSWER_LIMIT: u64 = 64 << 10;

/// How a blob got into its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was there.
    Existed,
    /// The registry took it from this other repository.
    Mounted(String),
    /// Its bytes were sent.
    Uploaded,
}

/// How a registry answers the wish to upload a blob.
enum Begun {
    /// It has the blob already, in the repository that was named.
    Mounted,
    /// It wants the bytes, there.
    Upload(Url),
}

impl Client {
    /// Whether the repository of `reference` has the blob `digest`.
    ///
    /// # Errors
    /// No connection or no permission.
    pub async fn has_blob(&self, reference: &Reference, digest: &Digest) -> Result<bool, Error> {
        let endpoint = self.own_endpoint(reference)?;
        let call = Call { method: Method::HEAD, ..push_call(&endpoint, reference, &format!("blobs/{digest}")) };
        let answer = self.transport.fetch(&call, ANSWER_LIMIT).await?;
        match answer.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status => Err(request::failure(&self.transport, &call, status, String::new()).await),
        }
    }

    /// Sends the blob `descriptor` to the repository of `reference` unless it is there. `from` names another
    /// repository of the same registry that may have it: then no bytes are sent if the registry agrees.
    /// Reads `source` anew after a broken connection. Tells how it got there.
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
        let endpoint = self.own_endpoint(reference)?;
        let host = endpoint.host();
        let _permit = self.transport.permit(&host).await?;
        let what = descriptor.digest.to_string();
        repeated(self.transport.config.retry, &host, &what, async || {
            match self.begin(&endpoint, reference, &descriptor.digest, from).await? {
                Begun::Mounted => Ok(Sent::Mounted(from.unwrap_or_default().to_owned())),
                Begun::Upload(address) => {
                    self.send(&endpoint, reference, descriptor, address, source.clone()).await?;
                    Ok(Sent::Uploaded)
                }
            }
        })
        .await
    }

    async fn begin(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        digest: &Digest,
        from: Option<&str>,
    ) -> Result<Begun, Trouble> {
        let mut call = Call { method: Method::POST, ..push_call(endpoint, reference, "blobs/uploads/") };
        if let Some(from) = from {
            call.path.push_str(&format!("?mount={digest}&from={from}"));
            call.scope.push_str(&format!(" repository:{from}:pull"));
        }
        let response = self.transport.attempt(&call).await?;
        match response.status() {
            StatusCode::CREATED if from.is_some() => Ok(Begun::Mounted),
            StatusCode::ACCEPTED => Ok(Begun::Upload(upload_address(endpoint, &response, digest)?)),
            _ => Err(request::failed(&self.transport, &call, response).await.into()),
        }
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        descriptor: &Descriptor,
        address: Url,
        source: Arc<dyn BlobSource>,
    ) -> Result<(), Trouble> {
        let mut call = push_call(endpoint, reference, "");
        call.method = Method::PUT;
        call.path = address.into();
        call.what = descriptor.digest.to_string();
        call.headers.insert(CONTENT_LENGTH, descriptor.size.into());
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let source = Watched::new(source, descriptor.size);
        call.payload = Payload::Blob(source.clone());
        let answer = self.transport.attempt(&call).await;
        if let Some(detail) = source.complaint() {
            return Err(Error::Source { digest: descriptor.digest.clone(), detail }.into());
        }
        let response = answer?;
        if response.status() == StatusCode::CREATED {
            return Ok(());
        }
        Err(request::failed(&self.transport, &call, response).await.into())
    }

    /// Sends a manifest or index and puts the tag of `reference` on it (`latest` by default), or none where
    /// `reference` has a digest. Its blobs must be there.
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
        let endpoint = self.own_endpoint(reference)?;
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
            return Ok(descriptor);
        }
        let said = crate::transport::said(&answer.body);
        Err(request::failure(&self.transport, &call, answer.status, said).await)
    }

    /// The registry itself: mirrors are only read.
    pub(super) fn own_endpoint(&self, reference: &Reference) -> Result<Endpoint, Error> {
        if reference.domain().is_empty() {
            return Err(Error::NoRegistry(Box::new(reference.clone())));
        }
        self.transport.endpoint(reference.domain())
    }
}

fn push_call<'a>(endpoint: &'a Endpoint, reference: &'a Reference, rest: &str) -> Call<'a> {
    let mut call = request::get(endpoint, reference, rest);
    call.scope = format!("repository:{}:pull,push", reference.path());
    call
}

/// Where the bytes go, from the answer to the wish to send them.
fn upload_address(endpoint: &Endpoint, response: &Response, digest: &Digest) -> Result<Url, Error> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let mut address = location.and_then(|text| response.url().join(text).ok()).ok_or_else(|| Error::Protocol {
        host: endpoint.host(),
        detail: "it accepts an upload without saying where".into(),
    })?;
    address.query_pairs_mut().append_pair("digest", &digest.to_string());
    Ok(address)
}
