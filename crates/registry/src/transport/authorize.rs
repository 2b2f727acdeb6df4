//! Answers the challenge of a 401: finds credentials, asks token servers, and decides who may see what.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};

use super::{Call, Endpoint, Transport, Trouble, answer, redirect, retry};
use crate::auth::{self, Authorization, Challenge, Grant, TokenRequest};
use crate::{Credential, Error, Security, host};

/// How large a token server's answer may be, in bytes.
const TOKEN_LIMIT: u64 = 1 << 20;

/// What is wanted of a token server.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Its address.
    pub(crate) realm: &'a str,
    /// How the registry is called there.
    pub(crate) service: Option<&'a str>,
    /// What the token must allow.
    pub(crate) scope: &'a str,
    /// Who we are.
    pub(crate) credential: Option<&'a Credential>,
    /// Whether an identity token is wanted too.
    pub(crate) lasting: bool,
}

/// Why there is no token.
#[derive(Debug)]
pub(crate) enum Ungranted {
    /// The token server does not want to.
    Refused {
        /// Its host.
        server: String,
        /// What it answered.
        status: StatusCode,
        /// What it said.
        said: String,
    },
    /// It did not come to that.
    Failed(Error),
}

impl From<Error> for Ungranted {
    fn from(error: Error) -> Self {
        Ungranted::Failed(error)
    }
}

impl Transport {
    /// An authorization in place of `refused`, which the registry answered with the 401 `response`.
    pub(super) async fn renew(
        &self,
        call: &Call<'_>,
        response: &Response,
        refused: Option<&Authorization>,
    ) -> Result<Authorization, Error> {
        let slot = self.authorizations.slot(&call.endpoint.domain, &call.scope);
        let mut current = slot.lock().await;
        if let Some(newer) = current.as_ref().filter(|c| refused.is_none_or(|r| !c.equals(r))) {
            return Ok(newer.clone());
        }
        let fresh = self.answer_challenge(call, &auth::challenges(response.headers())).await?;
        *current = Some(fresh.clone());
        Ok(fresh)
    }

    /// Forgets an authorization that was of no use.
    pub(super) async fn reject(&self, call: &Call<'_>, useless: &Authorization) {
        let slot = self.authorizations.slot(&call.endpoint.domain, &call.scope);
        let mut current = slot.lock().await;
        if current.as_ref().is_some_and(|c| c.equals(useless)) {
            *current = None;
        }
    }

    /// The error for a request that the registry denies.
    pub(crate) async fn denied(&self, call: &Call<'_>, said: String) -> Error {
        let credential = self.credentials.credential(&call.endpoint.domain).await.ok().flatten();
        let detail = if said.is_empty() { "no reason given".to_owned() } else { said };
        Error::Denied {
            host: call.endpoint.host(),
            repository: call.repository.to_owned(),
            detail,
            hint: auth::hint(credential.as_ref()),
        }
    }

    async fn answer_challenge(&self, call: &Call<'_>, challenges: &[Challenge]) -> Result<Authorization, Error> {
        let credential = self.credentials.credential(&call.endpoint.domain).await?;
        let bearer = challenges.iter().find(|challenge| **challenge != Challenge::Basic);
        match (bearer, &credential) {
            (Some(Challenge::Bearer { realm, service, scope, .. }), _) => {
                let scope = scope.as_deref().filter(|scope| !scope.is_empty()).unwrap_or(&call.scope);
                let (service, credential) = (service.as_deref(), credential.as_ref());
                self.token(call, Wanted { realm, service, scope, credential, lasting: false }).await
            }
            (_, Some(Credential::Basic { username, password })) if !challenges.is_empty() => {
                Authorization::basic(username, password.expose())
                    .ok_or_else(|| Error::Setup(format!("the credentials for {} cannot be sent", call.endpoint.domain)))
            }
            _ => Err(self.denied(call, "authentication required".into()).await),
        }
    }

    async fn token(&self, call: &Call<'_>, wanted: Wanted<'_>) -> Result<Authorization, Error> {
        match self.grant(call.endpoint, wanted).await {
            Ok(grant) => Ok(grant.authorization),
            Err(Ungranted::Refused { server, status, said }) => {
                let detail = format!("the token server {server} says {status}: {said}");
                Err(self.denied(call, detail).await)
            }
            Err(Ungranted::Failed(error)) => Err(error),
        }
    }

    /// Asks the token server that the registry `endpoint` named.
    pub(crate) async fn grant(&self, endpoint: &Endpoint, wanted: Wanted<'_>) -> Result<Grant, Ungranted> {
        let nonsense = |detail: &str| Error::Protocol { host: endpoint.host(), detail: detail.to_owned() };
        let Wanted { realm, service, scope, credential, lasting } = wanted;
        let mut url = Url::parse(realm).map_err(|_| nonsense("its token server has no valid address"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(nonsense("its token server has no HTTP address").into());
        }
        redirect::forget_user(&mut url);
        if let Some(reason) = self.why_not_trusted(endpoint, &url, credential.is_some()) {
            let realm = redirect::shown(&url);
            return Err(Error::RealmRefused { host: endpoint.host(), realm, reason }.into());
        }
        let asked = Instant::now();
        let request = TokenRequest::new(&url, service, scope, credential, lasting);
        let answer = self.ask_token_server(endpoint, &url, &request).await?;
        let (server, status) = (redirect::authority(&url), answer.status);
        if status.is_success() {
            let detail = "the token server's answer has no token".into();
            return Ok(auth::granted(&answer.body, asked).ok_or(Error::Protocol { host: server, detail })?);
        }
        let said = answer::said(&answer.body);
        if status.is_client_error() {
            return Err(Ungranted::Refused { server, status, said });
        }
        Err(Error::Status { host: server, status: status.as_u16(), what: "a token".into(), detail: said }.into())
    }

    /// Why a token server that `endpoint` names must not be asked, if so.
    fn why_not_trusted(&self, endpoint: &Endpoint, realm: &Url, has_credential: bool) -> Option<&'static str> {
        let realm_is_local = realm.host_str().is_some_and(host::is_loopback);
        if realm_is_local && !host::is_loopback(&endpoint.domain) {
            return Some("it is this machine");
        }
        let same_host = realm.host_str() == endpoint.base.host_str();
        if !has_credential || same_host && realm.scheme() == endpoint.base.scheme() {
            return None;
        }
        let declared = self.config.hosts.get(&redirect::authority(realm)).and_then(|host| host.security);
        let is_meant = matches!(declared, Some(Security::Plain | Security::Insecure));
        if realm.scheme() == "http" && !realm_is_local && !is_meant {
            return Some("the connection would not be encrypted");
        }
        (!endpoint.private).then_some("the registry itself is not connected securely, so anybody could have named it")
    }

    async fn ask_token_server(
        &self,
        endpoint: &Endpoint,
        url: &Url,
        request: &TokenRequest,
    ) -> Result<answer::Answer, Error> {
        let host = redirect::authority(url);
        let stall = self.config.timeouts.stall;
        retry::repeated(self.config.retry, &host, "a token", async || {
            let response = self.send_token_request(endpoint, request).await?;
            let status = response.status();
            if retry::is_busy(status) {
                let retry_after = retry::retry_after(response.headers());
                let detail = answer::complaint(response, stall).await;
                return Err(Trouble::Busy { status, retry_after, detail });
            }
            answer::whole(response, TOKEN_LIMIT, stall, (&host, "the token")).await
        })
        .await
    }

    /// The connections to a token server: the registry's own where it is the registry itself.
    async fn to_token_server(&self, endpoint: &Endpoint, url: &Url) -> Result<reqwest::Client, Error> {
        match redirect::same_origin(url, &endpoint.base) {
            true => self.to_endpoint(endpoint).await,
            false => self.to_named(&redirect::authority(url), endpoint).await,
        }
    }

    /// One request to a token server. Redirects are not followed: credentials are for the realm only.
    async fn send_token_request(&self, endpoint: &Endpoint, request: &TokenRequest) -> Result<Response, Trouble> {
        let mut headers = HeaderMap::new();
        let nothing = AtomicU64::new(0);
        match request {
            TokenRequest::Get { url, authorization } => {
                if let Some(authorization) = authorization {
                    headers.insert(AUTHORIZATION, authorization.header());
                }
                let client = self.to_token_server(endpoint, url).await?;
                self.within_head_limit(
                    client.request(Method::GET, url.clone()).headers(headers),
                    &nothing,
                    Duration::ZERO,
                )
                .await
            }
            TokenRequest::Post { url, form } => {
                let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(CONTENT_TYPE, form_type);
                let client = self.to_token_server(endpoint, url).await?;
                let request = client.request(Method::POST, url.clone()).headers(headers);
                self.within_head_limit(request.body(form.expose().to_owned()), &nothing, Duration::ZERO).await
            }
        }
    }
}
