//! Lists that come in pages: tags, repositories, referrers.

use std::collections::HashSet;

use reqwest::StatusCode;
use reqwest::header::LINK;

use super::{Client, request};
use crate::Error;
use crate::transport::{Answer, Call, said};

/// How large one page may be, in bytes.
const PAGE_LIMIT: u64 = 4 << 20;

/// How large all pages may be, in bytes.
const LIST_LIMIT: u64 = 64 << 20;

/// How many pages are read.
const PAGES: usize = 10_000;

impl Client {
    /// Hands the pages of a list to `take`, from the one that `call` asks for to the last.
    ///
    /// # Errors
    /// No connection, no permission, nothing there, a list without end, and what `take` says.
    pub(super) async fn pages(
        &self,
        mut call: Call<'_>,
        mut take: impl FnMut(&Answer) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let host = call.endpoint.host();
        let (mut seen, mut bytes) = (HashSet::new(), 0);
        while seen.len() < PAGES && seen.insert(call.path.clone()) {
            let answer = self.transport.fetch(&call, PAGE_LIMIT).await?;
            if answer.status != StatusCode::OK {
                return Err(request::failure(&self.transport, &call, answer.status, said(&answer.body)).await);
            }
            bytes += answer.body.len() as u64;
            if bytes > LIST_LIMIT {
                return Err(Error::TooLarge { host, what: call.what, limit: LIST_LIMIT });
            }
            take(&answer)?;
            let links = answer.headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
            let Some(next) = links.filter_map(next_page).next_back() else { return Ok(()) };
            call.path = call.endpoint.linked(&call.path, next).ok_or_else(|| Error::Protocol {
                host: host.clone(),
                detail: "it continues a list at no usable address".into(),
            })?;
        }
        Err(Error::Protocol { host, detail: format!("the list of {} does not end", call.what) })
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
