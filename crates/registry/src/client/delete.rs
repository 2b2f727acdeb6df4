//! Removing manifests, tags and blobs from a registry.

use kiln_oci::{Digest, Reference};
use reqwest::{Method, StatusCode};

use super::{Client, request};
use crate::Error;
use crate::transport::{Call, said};

/// How large the answer may be, in bytes.
const ANSWER_LIMIT: u64 = 64 << 10;

impl Client {
    /// Deletes what `reference` names: by digest the manifest, with every tag on it; otherwise the tag alone, which
    /// not every registry does. What is not there is gone. The blobs stay until the registry tidies up.
    ///
    /// # Errors
    /// No connection, no permission; [`Error::Status`] with 405 from a registry that does not delete.
    pub async fn delete_manifest(&self, reference: &Reference) -> Result<(), Error> {
        self.delete(reference, &format!("manifests/{}", super::manifest_name(reference))).await
    }

    /// Deletes the blob `digest` from the repository of `reference`. One that is not there is gone.
    ///
    /// # Errors
    /// As [`Client::delete_manifest`].
    pub async fn delete_blob(&self, reference: &Reference, digest: &Digest) -> Result<(), Error> {
        self.delete(reference, &format!("blobs/{digest}")).await
    }

    async fn delete(&self, reference: &Reference, path: &str) -> Result<(), Error> {
        let endpoint = self.own_endpoint(reference).await?;
        let mut call = Call { method: Method::DELETE, ..request::get(&endpoint, reference, path) };
        call.scope = format!("repository:{}:pull,push,delete", reference.path());
        let answer = self.transport.fetch(&call, ANSWER_LIMIT).await?;
        if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(request::failure(&self.transport, &call, answer.status, said(&answer.body)).await)
    }
}
