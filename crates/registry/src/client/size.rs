//! How large a blob is, for whoever knows only its digest.

use kiln_oci::{Digest, Reference};
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, StatusCode};

use super::{Client, request, text};
use crate::Error;
use crate::transport::Call;

/// How much of a refusal is read.
const REFUSAL_LIMIT: u64 = 64 << 10;

impl Client {
    /// The size in bytes of the blob `digest` of the repository of `reference`, as the registry says.
    ///
    /// # Errors
    /// No connection, no permission, no such blob, a registry that does not tell.
    pub async fn blob_size(&self, reference: &Reference, digest: &Digest) -> Result<u64, Error> {
        let endpoint = self.own_endpoint(reference).await?;
        let call = Call { method: Method::HEAD, ..request::get(&endpoint, reference, &format!("blobs/{digest}")) };
        let answer = self.transport.fetch(&call, REFUSAL_LIMIT).await?;
        if answer.status != StatusCode::OK {
            return Err(request::failure(&self.transport, &call, answer.status, String::new()).await);
        }
        let size = text(&answer.headers, CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
        let detail = || format!("it does not tell the size of {digest}");
        size.ok_or_else(|| Error::Protocol { host: endpoint.host(), detail: detail() })
    }
}
