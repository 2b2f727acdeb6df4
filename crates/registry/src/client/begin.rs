//! The wish to upload a blob, and the ways in which a registry may have it already.

use kiln_oci::Digest;
use reqwest::{Method, Response, StatusCode};

use super::push::{Sent, push_call};
use super::request;
use super::upload::{Session, Upload, location};
use crate::Error;
use crate::transport::{Call, Trouble};

/// What is asked of the registry, the best first; what it refuses is not asked again.
#[derive(Clone, Debug)]
pub(super) enum Beginning<'a> {
    /// To take the blob from this repository.
    MountFrom(&'a str),
    /// To take it from where it may be.
    Mount,
    /// To wait for the bytes.
    Send,
}

/// How a registry answers the wish.
pub(super) enum Begun {
    /// No bytes are needed.
    There(Sent),
    /// It wants the bytes.
    Open(Session),
}

impl Beginning<'_> {
    /// Begins `upload`.
    pub(super) async fn begin(&mut self, upload: &Upload<'_>) -> Result<Begun, Trouble> {
        loop {
            let call = self.call(upload);
            let answer = upload.transport.attempt(&call).await;
            if !matches!(self, Beginning::Send) && is_refused(&answer) {
                // A mount may need a permission that sending does not.
                *self = Beginning::Send;
                continue;
            }
            let response = answer?;
            return match (response.status(), &*self) {
                (StatusCode::CREATED, Beginning::MountFrom(from)) => {
                    Ok(Begun::There(Sent::Mounted((*from).to_owned())))
                }
                (StatusCode::CREATED, Beginning::Mount) => Ok(Begun::There(Sent::Existed)),
                (StatusCode::ACCEPTED, _) => {
                    *self = Beginning::Send;
                    Ok(Begun::Open(session(upload, &response)?))
                }
                _ => Err(request::failed(upload.transport, &call, response).await.into()),
            };
        }
    }

    fn call<'u>(&self, upload: &Upload<'u>) -> Call<'u> {
        let digest: &Digest = &upload.descriptor.digest;
        let mut call = push_call(upload.endpoint, upload.reference, "blobs/uploads/");
        call.method = Method::POST;
        match self {
            Beginning::MountFrom(from) => {
                call.path.push_str(&format!("?mount={digest}&from={from}"));
                call.scope.push_str(&format!(" repository:{from}:pull"));
            }
            Beginning::Mount => call.path.push_str(&format!("?mount={digest}")),
            Beginning::Send => {}
        }
        call
    }
}

/// Whether the registry will not do it, other than because it has no time.
fn is_refused(answer: &Result<Response, Trouble>) -> bool {
    match answer {
        Ok(response) => response.status().is_client_error(),
        Err(Trouble::Final(error)) => matches!(error, Error::Denied { .. } | Error::Status { .. }),
        Err(_) => false,
    }
}

fn session(upload: &Upload<'_>, response: &Response) -> Result<Session, Error> {
    let address = location(response).ok_or_else(|| Error::Protocol {
        host: upload.endpoint.host(),
        detail: "it accepts an upload without saying where".into(),
    })?;
    let least = response.headers().get("oci-chunk-min-length").and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(Session::new(address, least.unwrap_or_default()))
}
