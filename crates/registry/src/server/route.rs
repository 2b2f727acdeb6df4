//! From a request's path to what it is about.

use kiln_oci::Digest;
use percent_encoding::percent_decode_str;

use super::names::Repository;
use super::refusal::{Code, Refusal};

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<repository>/tags/list`
    Tags(Repository),
    /// `/v2/<repository>/manifests/<tag or digest>`: what the request calls it.
    Manifest(Repository, String),
    /// `/v2/<repository>/blobs/<digest>`
    Blob(Repository, Digest),
    /// `/v2/<repository>/blobs/uploads/`
    Uploads(Repository),
    /// `/v2/<repository>/blobs/uploads/<id>`
    Upload(Repository, String),
    /// `/v2/<repository>/referrers/<digest>`
    Referrers(Repository, Digest),
}

impl Route {
    /// Reads a path. Repositories may have the words of the protocol in their names, so it is read from its end.
    pub(super) fn parse(path: &str) -> Result<Self, Refusal> {
        let nothing = || Refusal::new(Code::NameUnknown, "there is nothing here").about(path);
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Route::Base),
            Some("/_catalog") => return Ok(Route::Catalog),
            Some(rest) => rest.strip_prefix('/').ok_or_else(nothing)?,
            None => return Err(nothing()),
        };
        let decode = |part: &str| percent_decode_str(part).decode_utf8().ok().map(|part| part.into_owned());
        let parts: Vec<String> = rest.split('/').map(decode).collect::<Option<_>>().ok_or_else(nothing)?;
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        match words.as_slice() {
            [name @ .., "tags", "list"] => Ok(Route::Tags(repository(name)?)),
            [name @ .., "blobs", "uploads", ""] | [name @ .., "blobs", "uploads"] => {
                Ok(Route::Uploads(repository(name)?))
            }
            [name @ .., "blobs", "uploads", id] => Ok(Route::Upload(repository(name)?, (*id).to_owned())),
            [name @ .., "manifests", reference] => Ok(Route::Manifest(repository(name)?, (*reference).to_owned())),
            [name @ .., "blobs", digest] => Ok(Route::Blob(repository(name)?, parse_digest(digest)?)),
            [name @ .., "referrers", digest] => Ok(Route::Referrers(repository(name)?, parse_digest(digest)?)),
            _ => Err(nothing()),
        }
    }
}

fn repository(words: &[&str]) -> Result<Repository, Refusal> {
    let name = words.join("/");
    Repository::parse(&name).ok_or_else(|| Refusal::new(Code::NameInvalid, "invalid repository name").about(name))
}

/// A digest that a request names.
pub(super) fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    text.parse()
        .map_err(|error: kiln_oci::DigestError| Refusal::new(Code::DigestInvalid, error.to_string()).about(text))
}

/// The value of a parameter in a query.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_their_end() {
        let name = |text: &str| Repository::parse(text).unwrap();
        let check = |path: &str, route: Route| assert_eq!(Route::parse(path).unwrap(), route, "{path}");
        let digest = Digest::of(b"x");
        check("/v2", Route::Base);
        check("/v2/", Route::Base);
        check("/v2/_catalog", Route::Catalog);
        check("/v2/a/b/tags/list", Route::Tags(name("a/b")));
        check("/v2/tags/list/tags/list", Route::Tags(name("tags/list")));
        check("/v2/blobs/uploads/x/blobs/uploads/", Route::Uploads(name("blobs/uploads/x")));
        check("/v2/a/blobs/uploads", Route::Uploads(name("a")));
        check("/v2/a/blobs/uploads/1-2", Route::Upload(name("a"), "1-2".into()));
        check("/v2/a/manifests/.x", Route::Manifest(name("a"), ".x".into()));
        check(&format!("/v2/a/blobs/{digest}"), Route::Blob(name("a"), digest.clone()));
        check(&format!("/v2/a/blobs/sha256%3A{}", digest.hex()), Route::Blob(name("a"), digest.clone()));
        check(&format!("/v2/a/referrers/{digest}"), Route::Referrers(name("a"), digest));
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for path in [
            "/",
            "/v1/",
            "/v2x",
            "/v2/a",
            "/v2/A/tags/list",
            "/v2/tags/list",
            "/v2/a/blobs/sha256:00",
            "/v2/%ff/tags/list",
        ] {
            assert!(Route::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn parameters_are_decoded() {
        assert_eq!(parameter(Some("n=1&last=a%2Fb"), "last").as_deref(), Some("a/b"));
        assert_eq!(parameter(Some("n=1"), "last"), None);
        assert_eq!(parameter(None, "n"), None);
    }
}
