//! Answers the challenge of a 401: finds credentials, asks token servers, and decides who may see what.

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, Url};

use super::{Call, Endpoint, Transport, Trouble, answer, redirect, retry};
use crate::auth::{self, Authorization, Challenge, TokenRequest};
use crate::{Credential, Error, Security, host};

/// How large a token server's answer may be, in bytes.
const TOKEN_LIMIT: u64 = 1 << 20;

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
                self.token(call, realm, service.as_deref(), scope, credential.as_ref()).await
            }
            (_, Some(Credential::Basic { username, password })) if !challenges.is_empty() => {
                Authorization::basic(username, password.expose())
                    .ok_or_else(|| Error::Setup(format!("the credentials for {} cannot be sent", call.endpoint.domain)))
            }
            _ => Err(self.denied(call, "authentication required".into()).await),
        }
    }

    async fn token(
        &self,
        call: &Call<'_>,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        credential: Option<&Credential>,
    ) -> Result<Authorization, Error> {
        let nonsense = |detail: &str| Error::Protocol { host: call.endpoint.host(), detail: detail.to_owned() };
        let mut url = Url::parse(realm).map_err(|_| nonsense("its token server has no valid address"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(nonsense("its token server has no HTTP address"));
        }
        redirect::forget_user(&mut url);
        if let Some(reason) = self.why_not_trusted(call.endpoint, &url, credential.is_some()) {
            let realm = redirect::shown(&url);
            return Err(Error::RealmRefused { host: call.endpoint.host(), realm, reason });
        }
        let asked = Instant::now();
        let request = TokenRequest::new(&url, service, scope, credential);
        let answer = self.ask_token_server(&url, &request).await?;
        if answer.status.is_success() {
            return auth::granted(&answer.body, asked).ok_or_else(|| Error::Protocol {
                host: redirect::authority(&url),
                detail: "the token server's answer has no token".into(),
            });
        }
        if answer.status.is_client_error() {
            let said = answer::said(&answer.body);
            let detail = format!("the token server {} says {}: {said}", redirect::authority(&url), answer.status);
            return Err(self.denied(call, detail).await);
        }
        let (host, status) = (redirect::authority(&url), answer.status.as_u16());
        Err(Error::Status { host, status, what: "a token".into(), detail: answer::said(&answer.body) })
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
        if realm.scheme() == "http" && !realm_is_local && declared != Some(Security::Plain) {
            return Some("the connection would not be encrypted");
        }
        (!endpoint.private).then_some("the registry itself is not connected securely, so anybody could have named it")
    }

    async fn ask_token_server(&self, url: &Url, request: &TokenRequest) -> Result<answer::Answer, Error> {
        let host = redirect::authority(url);
        let stall = self.config.timeouts.stall;
        retry::repeated(self.config.retry, &host, "a token", async || {
            let response = self.send_token_request(request).await?;
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

    /// One request to a token server. Redirects are not followed: credentials are for the realm only.
    async fn send_token_request(&self, request: &TokenRequest) -> Result<Response, Trouble> {
        let mut headers = HeaderMap::new();
        let nothing = AtomicU64::new(0);
        match request {
            TokenRequest::Get { url, authorization } => {
                if let Some(authorization) = authorization {
                    headers.insert(AUTHORIZATION, authorization.header());
                }
                let client = self.connections(&redirect::authority(url)).await?;
                self.within_head_limit(client.request(Method::GET, url.clone()).headers(headers), &nothing).await
            }
            TokenRequest::Post { url, form } => {
                let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(CONTENT_TYPE, form_type);
                let client = self.connections(&redirect::authority(url)).await?;
                let request = client.request(Method::POST, url.clone()).headers(headers);
                self.within_head_limit(request.body(form.expose().to_owned()), &nothing).await
            }
        }
    }
}
