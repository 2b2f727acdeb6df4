//! Requests to token servers and their answers (Docker's token specification, and its OAuth2 form for
//! identity tokens).

use std::time::{Duration, Instant};

use reqwest::Url;
use serde::Deserialize;

use super::Authorization;
use crate::{Credential, Secret};

/// How long a token is good for where its server does not say.
const DEFAULT_LIFETIME: u64 = 60;

/// What a token server calls us.
const CLIENT: &str = "kiln";

/// What is sent to a token server.
#[derive(Debug)]
pub(crate) enum TokenRequest {
    /// `GET`, with basic authentication where there are credentials.
    Get {
        /// The address with the query.
        url: Url,
        /// The header.
        authorization: Option<Authorization>,
    },
    /// `POST` of a refresh token, as a form.
    Post {
        /// The address.
        url: Url,
        /// The encoded form.
        form: Secret,
    },
}

impl TokenRequest {
    /// The request for a token that allows `scope` (several, separated by blanks), shown `credential`. With
    /// `lasting` an identity token is asked for as well, which is good for later requests.
    pub(crate) fn new(
        realm: &Url,
        service: Option<&str>,
        scope: &str,
        credential: Option<&Credential>,
        lasting: bool,
    ) -> Self {
        if let Some(Credential::IdentityToken(secret)) = credential {
            return TokenRequest::Post { url: realm.clone(), form: refresh_form(realm, service, scope, secret) };
        }
        let mut url = realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            if lasting {
                query.append_pair("offline_token", "true").append_pair("client_id", CLIENT);
            }
            for part in scope.split(' ').filter(|part| !part.is_empty()) {
                query.append_pair("scope", part);
            }
            if let Some(Credential::Basic { username, .. }) = credential {
                query.append_pair("account", username);
            }
        }
        let authorization = match credential {
            Some(Credential::Basic { username, password }) => Authorization::basic(username, password.expose()),
            _ => None,
        };
        TokenRequest::Get { url, authorization }
    }
}

/// The form of an OAuth2 refresh; encoded as a URL's query is.
fn refresh_form(realm: &Url, service: Option<&str>, scope: &str, secret: &Secret) -> Secret {
    let mut scratch = realm.clone();
    scratch.set_query(None);
    scratch
        .query_pairs_mut()
        .append_pair("grant_type", "refresh_token")
        .append_pair("service", service.unwrap_or_default())
        .append_pair("client_id", CLIENT)
        .append_pair("scope", scope)
        .append_pair("refresh_token", secret.expose());
    Secret::new(scratch.query().unwrap_or_default())
}

/// What a token server grants.
#[derive(Debug)]
pub(crate) struct Grant {
    /// The token, as it is sent.
    pub(crate) authorization: Authorization,
    /// A token for later requests, in place of the credentials that were shown.
    pub(crate) identity_token: Option<Secret>,
}

/// Reads the answer of a token server that was asked at `asked`; `None` if there is no token in it. The
/// token counts as run out a little before it is.
pub(crate) fn granted(body: &[u8], asked: Instant) -> Option<Grant> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        refresh_token: Option<String>,
        expires_in: Option<u64>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let token = answer.token.filter(|t| !t.is_empty()).or(answer.access_token).filter(|t| !t.is_empty())?;
    let lifetime = answer.expires_in.filter(|seconds| *seconds > 0).unwrap_or(DEFAULT_LIFETIME).min(86_400);
    let authorization = Authorization::bearer(&token, asked + Duration::from_secs(lifetime - lifetime / 10))?;
    let identity_token = answer.refresh_token.filter(|t| !t.is_empty()).map(Secret::new);
    Some(Grant { authorization, identity_token })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_answer_is_read_under_either_name() {
        let read = |text: &str| granted(text.as_bytes(), Instant::now()).map(|grant| grant.authorization);
        assert_eq!(read(r#"{"token":"a"}"#).unwrap().header(), "Bearer a");
        assert_eq!(read(r#"{"token":"","access_token":"b","expires_in":300}"#).unwrap().header(), "Bearer b");
        assert!(read(r#"{"token":""}"#).is_none());
        assert!(read(r#"{"token":"line\nbreak"}"#).is_none());
        assert!(read("<html>").is_none());
    }

    #[test]
    fn a_token_runs_out_by_what_its_server_said() {
        let asked = Instant::now().checked_sub(Duration::from_secs(100)).unwrap();
        let is_over = |text: &str| granted(text.as_bytes(), asked).unwrap().authorization.is_over();
        assert!(is_over(r#"{"token":"a","expires_in":60}"#));
        assert!(is_over(r#"{"token":"a"}"#));
        assert!(!is_over(r#"{"token":"a","expires_in":300}"#));
    }

    #[test]
    fn an_identity_token_comes_beside_the_token() {
        let read = |text: &str| granted(text.as_bytes(), Instant::now()).unwrap().identity_token;
        assert_eq!(read(r#"{"token":"a","refresh_token":"r"}"#), Some(Secret::new("r")));
        assert_eq!(read(r#"{"token":"a","refresh_token":""}"#), None);
    }

    #[test]
    fn requests_show_no_secrets() {
        let realm = Url::parse("https://auth.docker.io/token?a=b").unwrap();
        let basic = Credential::Basic { username: "ann".into(), password: Secret::new("hunter2") };
        let request = TokenRequest::new(&realm, Some("s"), "repository:a:pull repository:b:pull", Some(&basic), false);
        assert!(!format!("{request:?}").contains("hunter2"));
        let TokenRequest::Get { url, authorization } = request else { panic!("not a GET") };
        let query = "a=b&service=s&scope=repository%3Aa%3Apull&scope=repository%3Ab%3Apull&account=ann";
        assert_eq!(url.query(), Some(query));
        assert!(authorization.is_some());
        let request = TokenRequest::new(&realm, None, "", Some(&basic), true);
        let TokenRequest::Get { url, .. } = request else { panic!("not a GET") };
        assert_eq!(url.query(), Some("a=b&offline_token=true&client_id=kiln&account=ann"));

        let identity = Credential::IdentityToken(Secret::new("hunter2"));
        let request = TokenRequest::new(&realm, Some("s"), "x", Some(&identity), false);
        assert!(!format!("{request:?}").contains("hunter2"));
        let TokenRequest::Post { url, form } = request else { panic!("not a POST") };
        assert!(!url.as_str().contains("hunter2") && form.expose().ends_with("refresh_token=hunter2"));
    }
}
