//! Sends requests to registries: connections, limits, redirects, authentication and repetition. It does not
//! know what the requests are for.

mod answer;
mod authorize;
mod failure;
mod pace;
mod payload;
pub(crate) mod redirect;
pub(crate) mod retry;
mod tls;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use answer::{Answer, chunk, complaint, said};
pub(crate) use authorize::{Ungranted, Wanted};
pub(crate) use pace::Pace;
pub use payload::BlobSource;
pub(crate) use payload::Payload;
pub(crate) use redirect::authority;
pub(crate) use retry::{Pauses, Trouble};

use crate::auth::{self, Authorization};
use crate::{Config, CredentialSource, Error, Security, host};

/// How long a neighbour may take to answer a call.
const NEIGHBOUR: Duration = Duration::from_secs(1);

/// A host that serves a registry's content: the registry itself, or a mirror.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The name under which settings and credentials are kept.
    pub(crate) domain: String,
    /// The address, without a path.
    base: Url,
    /// Whether nobody between can read along.
    private: bool,
}

impl Endpoint {
    /// The host, as messages name it.
    pub(crate) fn host(&self) -> String {
        authority(&self.base)
    }

    /// The address that the answer to a request for `from` calls `to`.
    pub(crate) fn linked(&self, from: &str, to: &str) -> Option<String> {
        Some(self.base.join(from).ok()?.join(to).ok()?.into())
    }

    /// The address of `path` with one more pair in its query.
    pub(crate) fn with_query(&self, path: &str, name: &str, value: &str) -> String {
        let Ok(mut url) = self.base.join(path) else { return path.to_owned() };
        url.query_pairs_mut().append_pair(name, value);
        url.into()
    }

    /// The address of `path`, as messages name it.
    pub(crate) fn address(&self, path: &str) -> String {
        self.base.join(path).map_or_else(|_| self.host(), String::from)
    }
}

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
    connections: tokio::sync::Mutex<HashMap<String, reqwest::Client>>,
}

impl Transport {
    /// Nothing is sent or read yet.
    pub(crate) fn new(config: Config, credentials: Arc<dyn CredentialSource>) -> Self {
        Transport {
            config,
            credentials,
            authorizations: auth::Cache::default(),
            limits: Mutex::default(),
            connections: tokio::sync::Mutex::default(),
        }
    }

    /// Where this client has its credentials from.
    pub(crate) fn credentials(&self) -> Arc<dyn CredentialSource> {
        Arc::clone(&self.credentials)
    }

    /// The hosts to ask for `domain`: its mirrors, then itself.
    pub(crate) fn endpoints(&self, domain: &str) -> Result<Vec<Endpoint>, Error> {
        let mirrors = self.config.hosts.get(domain).map(|host| host.mirrors.as_slice()).unwrap_or_default();
        mirrors.iter().map(String::as_str).chain([domain]).map(|domain| self.endpoint(domain)).collect()
    }

    /// The host that serves `domain`.
    pub(crate) fn endpoint(&self, domain: &str) -> Result<Endpoint, Error> {
        let security = self.security(domain);
        let scheme = if security == Security::Plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{}", host::serving(domain)))
            .map_err(|e| Error::Setup(format!("{domain:?} is no address of a registry: {e}")))?;
        let private = security == Security::Tls || host::is_loopback(domain);
        Ok(Endpoint { domain: domain.to_owned(), base, private })
    }

    fn security(&self, domain: &str) -> Security {
        let configured = self.config.hosts.get(domain).and_then(|host| host.security);
        let directory = self.config.certificates.as_deref();
        configured.unwrap_or_else(|| {
            let plain = host::is_loopback(domain) && !tls::has_own_authority(directory, domain);
            if plain { Security::Plain } else { Security::Tls }
        })
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
            let fresh = || Arc::new(Semaphore::new(self.config.connections_per_host.max(1)));
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
        let base = &call.endpoint.base;
        let nonsense = |_| Error::Protocol { host: call.endpoint.host(), detail: "an address that is none".into() };
        let start = redirect::checked(base, base.join(&call.path).map_err(nonsense)?)?;
        let mut url = start.clone();
        let mut own = redirect::same_origin(&start, base);
        let reads = call.method == Method::GET || call.method == Method::HEAD;
        for _ in 0..=redirect::LIMIT {
            let mut headers = call.headers.clone();
            if let Some(authorization) = authorization.filter(|_| own) {
                headers.insert(AUTHORIZATION, authorization.header());
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
        let domain = if own { call.endpoint.domain.clone() } else { authority(&url) };
        let client = self.connections(&domain).await?;
        let (body, sent) = call.payload.body();
        let request = client.request(call.method.clone(), url).headers(headers).body(body);
        self.within_head_limit(request, &sent, call.patience).await
    }

    /// Gets an address once, as it is: without authorization of ours, and without following redirects.
    pub(crate) async fn get(&self, url: Url, headers: HeaderMap) -> Result<Response, Trouble> {
        let client = self.connections(&authority(&url)).await?;
        let nothing = AtomicU64::new(0);
        self.within_head_limit(client.request(Method::GET, url).headers(headers), &nothing, Duration::ZERO).await
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

    /// Connections to `domain` for who speaks another protocol than this crate: what is silent for too long is broken.
    pub(crate) async fn bare(&self, domain: &str) -> Result<reqwest::Client, Error> {
        let (config, name) = (self.config.clone(), domain.to_owned());
        let built = tokio::task::spawn_blocking(move || {
            let mut builder = builder(&config, &name, Security::Tls)?.read_timeout(config.timeouts.stall);
            if host::is_link_local(&name) {
                builder = builder.no_proxy().connect_timeout(NEIGHBOUR);
            }
            builder.build().map_err(|e| Error::Setup(format!("cannot set up the HTTP client: {}", e.without_url())))
        });
        built.await.map_err(|e| Error::Setup(format!("cannot set up TLS: {e}")))?
    }

    /// The connections to `domain`, with its own TLS settings.
    async fn connections(&self, domain: &str) -> Result<reqwest::Client, Error> {
        let mut connections = self.connections.lock().await;
        if let Some(client) = connections.get(domain) {
            return Ok(client.clone());
        }
        let (config, name) = (self.config.clone(), domain.to_owned());
        let security = self.security(domain);
        let built = tokio::task::spawn_blocking(move || build(&config, &name, security));
        let client = built.await.map_err(|e| Error::Setup(format!("cannot set up TLS: {e}")))??;
        connections.insert(domain.to_owned(), client.clone());
        Ok(client)
    }
}

/// An HTTP client for one host. Blocks: it reads certificates.
fn build(config: &Config, domain: &str, security: Security) -> Result<reqwest::Client, Error> {
    let built = builder(config, domain, security)?.build();
    built.map_err(|e| Error::Setup(format!("cannot set up the HTTP client: {}", e.without_url())))
}

fn builder(config: &Config, domain: &str, security: Security) -> Result<reqwest::ClientBuilder, Error> {
    let directory = config.certificates.as_deref();
    let settings = match security {
        Security::UnverifiedTls => tls::unverified()?,
        Security::Tls | Security::Plain => tls::verified(directory, domain)?,
    };
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(settings)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(config.timeouts.connect)
        .user_agent(&config.user_agent);
    if host::is_loopback(domain) {
        builder = builder.no_proxy();
    }
    Ok(builder)
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("config", &self.config).finish_non_exhaustive()
    }
}
