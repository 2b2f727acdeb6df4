//! The lists of a registry's repositories and of a repository's tags.

use kiln_oci::Reference;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::{Client, request};
use crate::Error;
use crate::transport::{Answer, Call, Endpoint, Payload};

/// How many entries are asked for at once; a registry may give fewer.
const ENTRIES: usize = 1000;

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Repositories {
    repositories: Option<Vec<String>>,
}

impl Client {
    /// The tags of the repository of `reference`, as the registry orders them; pages are read up to the last.
    ///
    /// # Errors
    /// No connection, no permission, no such repository, or a list without end.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        let endpoint = self.own_endpoint(reference).await?;
        let call = request::get(&endpoint, reference, &format!("tags/list?n={ENTRIES}"));
        let mut all = Vec::new();
        self.pages(call, |page| {
            all.extend(read::<Tags>(page, &endpoint)?.tags.unwrap_or_default());
            Ok(())
        })
        .await?;
        Ok(all)
    }

    /// The repositories of the registry `domain` (`NAME[:PORT]`) that one may see, as it orders them. Large public
    /// registries do not tell.
    ///
    /// # Errors
    /// As [`Client::tags`]; [`Error::NotFound`] from a registry without such a list.
    pub async fn catalog(&self, domain: &str) -> Result<Vec<String>, Error> {
        let endpoint = self.transport.endpoint(domain).await?;
        let call = Call {
            endpoint: &endpoint,
            method: Method::GET,
            path: format!("/v2/_catalog?n={ENTRIES}"),
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            repository: "_catalog",
            scope: "registry:catalog:*".into(),
            what: "its list of repositories".into(),
            patience: std::time::Duration::ZERO,
        };
        let mut all = Vec::new();
        self.pages(call, |page| {
            all.extend(read::<Repositories>(page, &endpoint)?.repositories.unwrap_or_default());
            Ok(())
        })
        .await?;
        Ok(all)
    }
}

fn read<'a, T: Deserialize<'a>>(page: &'a Answer, endpoint: &Endpoint) -> Result<T, Error> {
    serde_json::from_slice(&page.body)
        .map_err(|e| Error::Protocol { host: endpoint.host(), detail: format!("a page of a list: {e}") })
}
