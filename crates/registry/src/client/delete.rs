//! Removing manifests from a registry.

use kiln_oci::Reference;
use reqwest::{Method, StatusCode};

use super::{Client, request};
use crate::Error;
use crate::transport::{Call, said};

/// How large the answer may be, in bytes.
const ANSWER_LIMIT: u64 = 64 << 10;

impl Client {
    /// Deletes the manifest that `reference` names by digest, with every tag on it. One that is not there is gone.
    /// The blobs stay until the registry tidies up.
    ///
    /// # Errors
    /// No connection, no permission; [`Error::Status`] with 405 from a registry that does not delete.
    pub async fn delete_manifest(&self, reference: &Reference) -> Result<(), Error> {
        let endpoint = self.own_endpoint(reference)?;
        let path = format!("manifests/{}", super::manifest_name(reference));
        let mut call = Call { method: Method::DELETE, ..request::get(&endpoint, reference, &path) };
        call.scope = format!("repository:{}:pull,push,delete", reference.path());
        let answer = self.transport.fetch(&call, ANSWER_LIMIT).await?;
        if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(request::failure(&self.transport, &call, answer.status, said(&answer.body)).await)
    }
}
