//! Whom to ask for a registry's content: finds the hosts, once for each registry, and which of two ways an insecure one
//! is spoken to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderMap;

use super::{Transport, Trouble, authority};
use crate::hosts::{self, Connection, Purpose, Server};
use crate::{Error, Security, host};

/// How long a host may take to show that it speaks TLS: one that does not may wait for more.
const PATIENCE: Duration = Duration::from_secs(5);

/// A host that serves a registry's content: the registry itself, or a mirror.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The name under which settings and credentials are kept.
    pub(crate) domain: String,
    /// Whether nobody between can read along.
    pub(super) private: bool,
    /// The address, without a path.
    pub(super) base: Url,
    server: Arc<Server>,
}

impl Endpoint {
    fn new(server: Server) -> Endpoint {
        let security = server.connection.security;
        let private = security == Security::Tls || host::is_loopback(&server.domain);
        Endpoint { domain: server.domain.clone(), private, base: server.base.clone(), server: Arc::new(server) }
    }

    /// The host, as messages name it.
    pub(crate) fn host(&self) -> String {
        authority(&self.base)
    }

    /// The address that the answer to a request for `from` calls `to`.
    pub(crate) fn linked(&self, from: &str, to: &str) -> Option<String> {
        Some(self.url(from)?.join(to).ok()?.into())
    }

    /// The address of `path` with one more pair in its query.
    pub(crate) fn with_query(&self, path: &str, name: &str, value: &str) -> String {
        let Some(mut url) = self.url(path) else { return path.to_owned() };
        url.query_pairs_mut().append_pair(name, value);
        url.into()
    }

    /// The address of `path`, as messages name it.
    pub(crate) fn address(&self, path: &str) -> String {
        self.url(path).map_or_else(|| self.host(), String::from)
    }

    /// The address of a path of the protocol, or of what the host itself called so.
    pub(super) fn url(&self, path: &str) -> Option<Url> {
        let Some(rest) = path.strip_prefix(hosts::ROOT).filter(|rest| rest.starts_with('/')) else {
            return self.base.join(path).ok();
        };
        let mut url = self.base.join(&format!("{}{rest}", self.server.root)).ok()?;
        if let Some(namespace) = &self.server.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        Some(url)
    }

    /// How it is connected to.
    pub(super) fn connection(&self) -> &Connection {
        &self.server.connection
    }

    /// What every request to it says.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.server.headers
    }
}

/// The hosts of the registries that were asked for, by domain.
pub(super) type Known = Mutex<HashMap<String, Arc<[Endpoint]>>>;

impl Transport {
    /// The hosts to ask for something of `domain`: its mirrors, but for those that are passed over, then itself.
    ///
    /// # Errors
    /// Settings that cannot be read or leave nobody to be asked.
    pub(crate) async fn endpoints(&self, domain: &str, purpose: Purpose) -> Result<Vec<Endpoint>, Error> {
        let all = self.all(domain).await?;
        let mut able: Vec<Endpoint> = all.iter().filter(|e| purpose.is_for(e.server.can)).cloned().collect();
        let (mut ahead, gone) = (able.len(), self.gone.lock().unwrap_or_else(PoisonError::into_inner));
        able.retain(|endpoint| {
            ahead -= 1;
            ahead == 0 || !gone.contains(&endpoint.host())
        });
        match able.is_empty() {
            false => Ok(able),
            true => Err(Error::Setup(format!(
                "no host of {domain} may be asked to {}\nhint: see the capabilities in its hosts.toml",
                match purpose {
                    Purpose::Resolve => "resolve a tag",
                    Purpose::Pull => "give content",
                    Purpose::Push => "take content",
                }
            ))),
        }
    }

    /// From now on `host` is asked only where nobody else can be: it cannot be reached.
    pub(crate) fn pass_over(&self, host: String) {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).insert(host);
    }

    /// The host of `domain` that takes content, and knows what it took.
    pub(crate) async fn endpoint(&self, domain: &str) -> Result<Endpoint, Error> {
        Ok(self.endpoints(domain, Purpose::Push).await?.swap_remove(0))
    }

    /// The registry `domain` itself.
    pub(crate) async fn itself(&self, domain: &str) -> Result<Endpoint, Error> {
        let nobody = || Error::Setup(format!("{domain} has no host"));
        self.all(domain).await?.last().cloned().ok_or_else(nobody)
    }

    async fn all(&self, domain: &str) -> Result<Arc<[Endpoint]>, Error> {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(domain) {
            return Ok(Arc::clone(known));
        }
        let (config, name) = (self.config.clone(), domain.to_owned());
        let found = tokio::task::spawn_blocking(move || hosts::serving(&config, &name)).await;
        let mut all = Vec::new();
        for server in found.map_err(|e| Error::Setup(format!("cannot read the hosts of {domain}: {e}")))?? {
            all.push(Endpoint::new(self.settled(server).await));
        }
        let all: Arc<[Endpoint]> = all.into();
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(domain.to_owned(), Arc::clone(&all));
        Ok(all)
    }

    /// The same server, with one way to speak to it.
    async fn settled(&self, mut server: Server) -> Server {
        if server.connection.security != Security::Insecure {
            return server;
        }
        server.connection.security = Security::UnverifiedTls;
        // Both schemes are special ones, between which an address may change.
        let _ = server.base.set_scheme("https");
        if !self.speaks_tls(&server).await {
            server.connection.security = Security::Plain;
            let _ = server.base.set_scheme("http");
        }
        server
    }

    /// The same host with TLS, if that is how it speaks although plain HTTP was guessed; from now on for everybody.
    pub(super) async fn guessed_wrongly(&self, endpoint: &Endpoint) -> Option<Endpoint> {
        if !endpoint.server.is_guess {
            return None;
        }
        let known = Server { is_guess: false, ..Server::clone(&endpoint.server) };
        let mut secure = known.clone();
        secure.connection.security = Security::UnverifiedTls;
        // Both schemes are special ones, between which an address may change.
        let _ = secure.base.set_scheme("https");
        let speaks_tls = self.speaks_tls(&secure).await;
        let now = Endpoint::new(if speaks_tls { secure } else { known });
        self.replace(endpoint, &now);
        speaks_tls.then_some(now)
    }

    fn replace(&self, old: &Endpoint, new: &Endpoint) {
        let is_old = |known: &Endpoint| Arc::ptr_eq(&known.server, &old.server);
        for all in self.known.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            *all = all.iter().map(|known| if is_old(known) { new } else { known }).cloned().collect();
        }
    }

    async fn speaks_tls(&self, server: &Server) -> bool {
        let endpoint = Endpoint::new(server.clone());
        let Some(url) = endpoint.url("/v2/") else { return true };
        let patience = PATIENCE.min(self.config.timeouts.connect);
        let asked = tokio::time::timeout(patience, self.get_own(&endpoint, url)).await;
        !matches!(asked, Err(_) | Ok(Err(Trouble::Connect(_) | Trouble::Broken(_))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::Capabilities;

    fn endpoint(base: &str, root: &str, namespace: Option<&str>) -> Endpoint {
        let connection = Connection {
            security: Security::Tls,
            authorities: Vec::new(),
            identities: Vec::new(),
            patience: None,
            proxy: None,
        };
        Endpoint::new(Server {
            domain: "a.example".into(),
            base: Url::parse(base).unwrap(),
            root: root.into(),
            can: Capabilities::ALL,
            namespace: namespace.map(str::to_owned),
            headers: HeaderMap::new(),
            connection,
            is_guess: false,
        })
    }

    #[test]
    fn paths_of_the_protocol_lie_below_the_root() {
        let check = |root: &str, namespace: Option<&str>, path: &str, want: &str| {
            assert_eq!(endpoint("https://a.example", root, namespace).url(path).unwrap().as_str(), want, "{path}");
        };
        check("/v2", None, "/v2/", "https://a.example/v2/");
        check("/v2/hub", None, "/v2/x/tags/list?n=1", "https://a.example/v2/hub/x/tags/list?n=1");
        check("", None, "/v2/x/blobs/y", "https://a.example/x/blobs/y");
        check("/v2", Some("docker.io"), "/v2/x/tags/list?n=1", "https://a.example/v2/x/tags/list?n=1&ns=docker.io");
        check("/hub/v2", None, "/v20/x", "https://a.example/v20/x");
        check("/hub/v2", None, "http://b.example/v2/x", "http://b.example/v2/x");
    }
}
