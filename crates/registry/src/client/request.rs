//! What all requests about a repository have in common.

use std::future::Future;
use std::time::Duration;

use kiln_oci::Reference;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode};

use crate::Error;
use crate::hosts::Purpose;
use crate::transport::{self, Call, Endpoint, Payload, Transport};

/// A `GET` of `rest` below the repository of `reference`.
pub(super) fn get<'a>(endpoint: &'a Endpoint, reference: &'a Reference, rest: &str) -> Call<'a> {
    let repository = reference.path();
    Call {
        endpoint,
        method: Method::GET,
        path: format!("/v2/{repository}/{rest}"),
        headers: HeaderMap::new(),
        payload: Payload::Empty,
        repository,
        scope: format!("repository:{repository}:pull"),
        what: format!("{repository}/{rest}"),
        patience: Duration::ZERO,
    }
}

/// What a request for the manifest that `reference` names is for.
pub(super) fn purpose(reference: &Reference) -> Purpose {
    if reference.digest().is_some() { Purpose::Pull } else { Purpose::Resolve }
}

/// Asks the mirrors of the reference's registry, then the registry; its error counts.
pub(super) async fn first<T, F>(
    transport: &Transport,
    reference: &Reference,
    purpose: Purpose,
    ask: impl Fn(Endpoint) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    first_besides(&[], transport, reference, purpose, ask).await
}

/// The same without those mirrors whose hosts are `useless`.
pub(super) async fn first_besides<T, F>(
    useless: &[String],
    transport: &Transport,
    reference: &Reference,
    purpose: Purpose,
    ask: impl Fn(Endpoint) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut last = Error::NoRegistry(Box::new(reference.clone()));
    if reference.domain().is_empty() {
        return Err(last);
    }
    let mut endpoints = transport.endpoints(reference.domain(), purpose).await?;
    let itself = endpoints.pop();
    endpoints.retain(|mirror| !useless.contains(&mirror.host()));
    for endpoint in endpoints.into_iter().chain(itself) {
        let host = endpoint.host();
        match ask(endpoint).await {
            Ok(answer) => return Ok(answer),
            Err(error) => {
                if matches!(error, Error::Unreachable { .. }) {
                    transport.pass_over(host);
                }
                last = error;
            }
        }
    }
    Err(last)
}

/// The error that an answer without success stands for.
pub(super) async fn failed(transport: &Transport, call: &Call<'_>, response: Response) -> Error {
    let status = response.status();
    let said = transport::complaint(response, transport.config.timeouts.stall).await;
    failure(transport, call, status, said).await
}

/// The same for an answer that was read already.
pub(super) async fn failure(transport: &Transport, call: &Call<'_>, status: StatusCode, said: String) -> Error {
    let (host, what) = (call.endpoint.host(), call.what.clone());
    match status {
        StatusCode::NOT_FOUND => Error::NotFound { host, what },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => transport.denied(call, said).await,
        status => Error::Status { host, status: status.as_u16(), what, detail: said },
    }
}
