//! The list of a repository's tags.

use kiln_oci::Reference;
use reqwest::StatusCode;
use reqwest::header::LINK;
use serde::Deserialize;

use super::{Client, request};
use crate::Error;
use crate::transport::said;

/// How large one page of the list may be, in bytes.
const PAGE_LIMIT: u64 = 4 << 20;

/// How many pages are read.
const PAGES: usize = 1000;

#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<String>>,
}

impl Client {
    /// The tags of the repository of `reference`, as the registry orders them; pages are read up to the last.
    ///
    /// # Errors
    /// No connection, no permission, no such repository, or a list without end.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        let endpoint = self.own_endpoint(reference)?;
        let mut call = request::get(&endpoint, reference, "tags/list");
        let mut tags = Vec::new();
        for _ in 0..PAGES {
            let answer = self.transport.fetch(&call, PAGE_LIMIT).await?;
            if answer.status != StatusCode::OK {
                return Err(request::failure(&self.transport, &call, answer.status, said(&answer.body)).await);
            }
            let page: Page = serde_json::from_slice(&answer.body)
                .map_err(|e| Error::Protocol { host: endpoint.host(), detail: format!("its list of tags: {e}") })?;
            tags.extend(page.tags.unwrap_or_default());
            let link = answer.headers.get(LINK).and_then(|value| value.to_str().ok());
            match link.and_then(next_page) {
                Some(next) => call.path = next.to_owned(),
                None => return Ok(tags),
            }
        }
        Err(Error::Protocol { host: endpoint.host(), detail: format!("more than {PAGES} pages of tags") })
    }
}

/// The target of a `Link` header that names the next page.
fn next_page(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = |parameter: &str| matches!(parameter.trim(), "rel=\"next\"" | "rel=next");
    parameters.split(';').any(is_next).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_the_next_page_is_found() {
        assert_eq!(next_page(r#"</v2/a/tags/list?n=1>; rel="next""#), Some("/v2/a/tags/list?n=1"));
        assert_eq!(next_page(r#"</v2/a>; rel="prev""#), None);
        assert_eq!(next_page("nonsense"), None);
    }
}
