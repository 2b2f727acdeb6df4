//! Lists of names, page by page: tags and repositories.

use std::sync::Arc;

use http::StatusCode;
use http::header::LINK;
use http::request::Parts;
use serde_json::json;

use super::answer::{Answer, With};
use super::flow::blocking;
use super::names::{Repository, Tag};
use super::refusal::{Code, Refusal};
use super::registry::{Handled, Registry};
use super::route::parameter;

/// The most names in one answer.
const MOST: usize = 10_000;

/// The part of a list that a request asks for.
struct Page {
    /// What the client wants at most.
    count: Option<usize>,
    after: Option<String>,
}

impl Page {
    fn of(head: &Parts) -> Result<Self, Refusal> {
        let invalid = |text: &String| {
            let message = "n is the number of names that are wanted";
            Refusal::new(Code::Unsupported, message).with_status(StatusCode::BAD_REQUEST).about(text)
        };
        let count = parameter(head.uri.query(), "n").filter(|text| !text.is_empty());
        let count = count.map(|text| text.parse::<u32>().map_err(|_| invalid(&text))).transpose()?;
        let after = parameter(head.uri.query(), "last").filter(|text| !text.is_empty());
        Ok(Page { count: count.map(|count| count as usize), after })
    }

    fn length(&self) -> usize {
        self.count.unwrap_or(MOST).min(MOST)
    }

    /// The page's tags of all that there are, and one more if there is one.
    fn of_tags(&self, mut all: Vec<String>) -> Vec<String> {
        all.retain(|tag| self.after.as_deref().is_none_or(|after| Tag::order(tag, after).is_gt()));
        all.sort_by(|one, other| Tag::order(one, other));
        all.truncate(self.length() + 1);
        all
    }

    /// What leads to the rest, if there is any: `names` has one more than the page then, which is taken off.
    fn link(&self, path: &str, names: &mut Vec<String>) -> Option<String> {
        let more = names.len() > self.length();
        names.truncate(self.length());
        let last = names.last().filter(|_| more)?;
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("n", &self.length().to_string())
            .append_pair("last", last)
            .finish();
        Some(format!("<{path}?{query}>; rel=\"next\""))
    }
}

/// `GET /v2/<repository>/tags/list`
pub(super) async fn tags(registry: &Arc<Registry>, head: &Parts, repository: &Repository) -> Handled {
    let page = Page::of(head)?;
    let unknown = || Refusal::new(Code::NameUnknown, "the registry does not have the repository").about(repository);
    let mut tags = match registry.tags_elsewhere(repository).await? {
        Some(all) => page.of_tags(all),
        None => {
            let (storage, of, after) = (Arc::clone(&registry.storage), repository.clone(), page.after.clone());
            let limit = page.length() + 1;
            blocking(move || storage.tags(&of, after.as_deref(), limit)).await?.ok_or_else(unknown)?
        }
    };
    let link = page.link(&format!("/v2/{repository}/tags/list"), &mut tags);
    Ok(linked(super::answer::json(StatusCode::OK, &json!({"name": repository.as_str(), "tags": tags})), link))
}

/// `GET /v2/_catalog`
pub(super) async fn catalog(registry: &Arc<Registry>, head: &Parts) -> Handled {
    let page = Page::of(head)?;
    let (storage, after, limit) = (Arc::clone(&registry.storage), page.after.clone(), page.length() + 1);
    let mut names = blocking(move || storage.repositories(after.as_deref(), limit)).await?;
    let link = page.link("/v2/_catalog", &mut names);
    Ok(linked(super::answer::json(StatusCode::OK, &json!({"repositories": names})), link))
}

/// An answer with a link to the next page, if there is one.
pub(super) fn linked(answer: Answer, link: Option<String>) -> Answer {
    match link {
        Some(link) => answer.with(LINK, link),
        None => answer,
    }
}
