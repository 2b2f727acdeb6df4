//! Sends requests to registries: connections, limits, redirects, authentication and repetition. It does not
//! know what the requests are for.

mod answer;
mod authorize;
mod connections;
mod endpoint;
mod failure;
mod identity;
mod pace;
mod payload;
pub(crate) mod redirect;
pub(crate) mod retry;
mod tls;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use answer::{Answer, chunk, complaint, said};
pub(crate) use authorize::{Ungranted, Wanted};
pub(crate) use endpoint::Endpoint;
pub(crate) use pace::Pace;
pub use payload::BlobSource;
pub(crate) use payload::Payload;
pub(crate) use redirect::authority;
pub(crate) use retry::{PROGRESS, Pauses, Trouble};

use crate::auth::{self, Authorization};
use crate::{Config, CredentialSource, Error};

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    /// The host.
    pub(crate) endpoint: &'a Endpoint,
    /// The method.
    pub(crate) method: Method,
    /// The path, with a leading slash, or a whole address that the registry named.
    pub(crate) path: String,
    /// The headers, except for authorization.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) payload: Payload,
    /// The repository.
    pub(crate) repository: &'a str,
    /// What a token must allow, such as `repository:a/b:pull`.
    pub(crate) scope: String,
    /// What is asked for, as messages name it.
    pub(crate) what: String,
    /// How much longer than others this request may take to be answered.
    pub(crate) patience: Duration,
}

/// An answer whose body is still to be read; it counts against the host's limit while it lives.
#[derive(Debug)]
pub(crate) struct Open {
    /// The answer.
    pub(crate) response: Response,
    _permit: OwnedSemaphorePermit,
}

/// Connections, tokens and limits of one client.
pub(crate) struct Transport {
    pub(crate) config: Config,
    credentials: Arc<dyn CredentialSource>,
    authorizations: auth::Cache,
    limits: Mutex<HashMap<String, Arc<Semaphore>>>,
    known: endpoint::Known,
    gone: Mutex<HashSet<String>>,
    connections: tokio::sync::Mutex<HashMap<(String, connections::Settings), reqwest::Client>>,
}

impl Transport {
    /// Nothing is sent or read yet.
    pub(crate) fn new(config: Config, credentials: Arc<dyn CredentialSource>) -> Self {
        Transport {
            config,
            credentials,
            authorizations: auth::Cache::default(),
            limits: Mutex::default(),
            known: Mutex::default(),
            gone: Mutex::default(),
            connections: tokio::sync::Mutex::default(),
        }
    }

    /// Where this client has its credentials from.
    pub(crate) fn credentials(&self) -> Arc<dyn CredentialSource> {
        Arc::clone(&self.credentials)
    }

    /// Sends a request until there is an answer that repeating would not change.
    pub(crate) async fn open(&self, call: &Call<'_>) -> Result<Open, Error> {
        let host = call.endpoint.host();
        let permit = self.permit(&host).await?;
        let response = retry::repeated(self.config.retry, &host, &call.what, || self.attempt(call)).await?;
        Ok(Open { response, _permit: permit })
    }

    /// The same, with the body, of at most `limit` bytes.
    pub(crate) async fn fetch(&self, call: &Call<'_>, limit: u64) -> Result<Answer, Error> {
        let host = call.endpoint.host();
        let _permit = self.permit(&host).await?;
        let stall = self.config.timeouts.stall;
        retry::repeated(self.config.retry, &host, &call.what, async || {
            let response = self.attempt(call).await?;
            answer::whole(response, limit, stall, (&host, &call.what)).await
        })
        .await
    }

    /// Waits until `host` may be asked.
    pub(crate) async fn permit(&self, host: &str) -> Result<OwnedSemaphorePermit, Error> {
        let limit = {
            let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = || Arc::new(Semaphore::new(self.config.connections_to(host)));
            limits.entry(host.to_owned()).or_insert_with(fresh).clone()
        };
        limit.acquire_owned().await.map_err(|_| Error::Setup("the client is closing".into()))
    }

    /// Sends a request with this authorization, whatever the answer to it is.
    pub(crate) async fn ask_as(
        &self,
        call: &Call<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Response, Error> {
        retry::repeated(self.config.retry, &call.endpoint.host(), &call.what, async || {
            let (response, _) = self.follow(call, authorization).await?;
            let status = response.status();
            if !retry::is_busy(status) {
                return Ok(response);
            }
            let retry_after = retry::retry_after(response.headers());
            Err(Trouble::Busy { status, retry_after, detail: String::new() })
        })
        .await
    }

    /// Sends a request once, with a new authorization if the present one is not accepted.
    pub(crate) async fn attempt(&self, call: &Call<'_>) -> Result<Response, Trouble> {
        let known = self.authorizations.current(&call.endpoint.domain, &call.scope).await;
        let (mut response, own) = self.follow(call, known.as_ref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED && own {
            let renewed = self.renew(call, &response, known.as_ref()).await?;
            let (second, own) = self.follow(call, Some(&renewed)).await?;
            if second.status() == StatusCode::UNAUTHORIZED && own {
                self.reject(call, &renewed).await;
                let said = complaint(second, self.config.timeouts.stall).await;
                return Err(self.denied(call, said).await.into());
            }
            response = second;
        }
        let status = response.status();
        if retry::is_busy(status) {
            let retry_after = retry::retry_after(response.headers());
            let detail = complaint(response, self.config.timeouts.stall).await;
            return Err(Trouble::Busy { status, retry_after, detail });
        }
        Ok(response)
    }

    /// Sends a request and follows redirects; also says whether the answer is the registry's own. The
    /// authorization goes nowhere else, and not to the registry again once another host had its say.
    async fn follow(
        &self,
        call: &Call<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<(Response, bool), Trouble> {
        let answer = self.follow_from(call, authorization).await;
        let is_no_http = match &answer {
            // So some servers say it that speak TLS.
            Ok((response, _)) => response.status() == StatusCode::BAD_REQUEST,
            Err(trouble) => matches!(trouble, Trouble::Connect(failure) if failure.is_no_http()),
        };
        if is_no_http && let Some(endpoint) = self.guessed_wrongly(call.endpoint).await {
            return self.follow_from(&Call { endpoint: &endpoint, ..call.clone() }, authorization).await;
        }
        answer
    }

    async fn follow_from(
        &self,
        call: &Call<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<(Response, bool), Trouble> {
        let base = &call.endpoint.base;
        let nonsense = || Error::Protocol { host: call.endpoint.host(), detail: "an address that is none".into() };
        let start = redirect::checked(base, call.endpoint.url(&call.path).ok_or_else(nonsense)?)?;
        let mut url = start.clone();
        let mut own = redirect::same_origin(&start, base);
        let reads = call.method == Method::GET || call.method == Method::HEAD;
        for _ in 0..=redirect::LIMIT {
            let mut headers = call.headers.clone();
            if own {
                headers.extend(call.endpoint.headers().clone());
                headers.extend(authorization.map(|authorization| (AUTHORIZATION, authorization.header())));
            }
            let response = self.send(call, url.clone(), own, headers).await?;
            let follows = if reads { redirect::is_redirect(&response) } else { redirect::keeps_method(&response) };
            if !follows {
                return Ok((response, own));
            }
            url = redirect::target(&response, &url)?;
            own = own && redirect::same_origin(&url, &start);
        }
        Err(Error::TooManyRedirects { host: call.endpoint.host(), limit: redirect::LIMIT }.into())
    }

    async fn send(&self, call: &Call<'_>, url: Url, own: bool, headers: HeaderMap) -> Result<Response, Trouble> {
        let client = match own {
            true => self.to_endpoint(call.endpoint).await?,
            false => self.to_named(&authority(&url), call.endpoint).await?,
        };
        let (body, sent) = call.payload.body();
        let request = client.request(call.method.clone(), url).headers(headers).body(body);
        self.within_head_limit(request, &sent, call.patience).await
    }

    /// Gets an address once, as it is: without authorization of ours, and without following redirects.
    pub(crate) async fn get(&self, url: Url, headers: HeaderMap) -> Result<Response, Trouble> {
        let client = self.to_host(&authority(&url)).await?;
        let nothing = AtomicU64::new(0);
        self.within_head_limit(client.request(Method::GET, url).headers(headers), &nothing, Duration::ZERO).await
    }

    /// The same with the connections to `endpoint`.
    async fn get_own(&self, endpoint: &Endpoint, url: Url) -> Result<Response, Trouble> {
        let client = self.to_endpoint(endpoint).await?;
        self.within_head_limit(client.request(Method::GET, url), &AtomicU64::new(0), Duration::ZERO).await
    }

    /// Sends a request and waits for the head of the answer, as long as the bytes `sent` become more, and `patience`
    /// longer when they no longer do.
    async fn within_head_limit(
        &self,
        request: reqwest::RequestBuilder,
        sent: &AtomicU64,
        patience: Duration,
    ) -> Result<Response, Trouble> {
        let limit = self.config.timeouts.head;
        let mut answer = std::pin::pin!(request.send());
        let (mut before, mut silence) = (0, Duration::ZERO);
        loop {
            if let Ok(answer) = tokio::time::timeout(limit, &mut answer).await {
                return answer.map_err(failure::sorted);
            }
            let now = sent.load(Ordering::Relaxed);
            silence = if now >= before + pace::TRICKLE { Duration::ZERO } else { silence + limit };
            before = now;
            if silence > patience {
                return Err(Trouble::Broken(failure::silence(silence.as_secs())));
            }
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("config", &self.config).finish_non_exhaustive()
    }
}
