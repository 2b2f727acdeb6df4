//! The connections to each host, with its own TLS settings, time limit and proxy.

use std::path::PathBuf;
use std::time::Duration;

use super::{Endpoint, Transport, tls};
use crate::hosts::{self, Connection};
use crate::{Config, Error, Security, host};

/// How long a neighbour may take to answer a call.
const NEIGHBOUR: Duration = Duration::from_secs(1);

/// Which settings connections have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Settings {
    /// These.
    Exactly(Connection),
    /// Those of the host, and these files with authorities: who named the host is trusted so far.
    OfTheHost(Vec<PathBuf>),
}

impl Transport {
    /// The connections to a registry's host.
    pub(super) async fn to_endpoint(&self, endpoint: &Endpoint) -> Result<reqwest::Client, Error> {
        self.connections(&endpoint.host(), Settings::Exactly(endpoint.connection().clone())).await
    }

    /// The connections to a host that `endpoint` named.
    pub(super) async fn to_named(&self, name: &str, endpoint: &Endpoint) -> Result<reqwest::Client, Error> {
        self.connections(name, Settings::OfTheHost(endpoint.connection().authorities.clone())).await
    }

    /// The connections to any host.
    pub(super) async fn to_host(&self, name: &str) -> Result<reqwest::Client, Error> {
        self.connections(name, Settings::OfTheHost(Vec::new())).await
    }

    async fn connections(&self, name: &str, settings: Settings) -> Result<reqwest::Client, Error> {
        let key = (name.to_owned(), settings);
        let mut connections = self.connections.lock().await;
        if let Some(client) = connections.get(&key) {
            return Ok(client.clone());
        }
        let (config, (name, settings)) = (self.config.clone(), key.clone());
        let built = tokio::task::spawn_blocking(move || build(&config, &name, settings));
        let client = built.await.map_err(|e| Error::Setup(format!("cannot set up TLS: {e}")))??;
        connections.insert(key, client.clone());
        Ok(client)
    }

    /// Connections to `domain` for who speaks another protocol than this crate: what is silent for too long is broken.
    pub(crate) async fn bare(&self, domain: &str) -> Result<reqwest::Client, Error> {
        let (config, name) = (self.config.clone(), domain.to_owned());
        let built = tokio::task::spawn_blocking(move || {
            let connection = Connection { security: Security::Tls, ..hosts::connection(&config, &name)? };
            let mut builder = builder(&config, &name, &connection)?.read_timeout(config.timeouts.stall);
            if host::is_link_local(&name) {
                builder = builder.no_proxy().connect_timeout(NEIGHBOUR);
            }
            finished(builder)
        });
        built.await.map_err(|e| Error::Setup(format!("cannot set up TLS: {e}")))?
    }
}

/// An HTTP client for one host. Blocks: it reads certificates.
fn build(config: &Config, name: &str, settings: Settings) -> Result<reqwest::Client, Error> {
    let connection = match settings {
        Settings::Exactly(connection) => connection,
        Settings::OfTheHost(further) => {
            let mut connection = hosts::connection(config, host::domain_of(name))?;
            connection.authorities.extend(further);
            connection
        }
    };
    finished(builder(config, name, &connection)?)
}

fn finished(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, Error> {
    builder.build().map_err(|e| Error::Setup(format!("cannot set up the HTTP client: {}", e.without_url())))
}

fn builder(config: &Config, name: &str, connection: &Connection) -> Result<reqwest::ClientBuilder, Error> {
    let settings = match connection.security {
        Security::UnverifiedTls | Security::Insecure => tls::unverified(&connection.identities)?,
        Security::Tls => tls::verified(&connection.authorities, &connection.identities)?,
        Security::Plain => tls::verified(&[], &[])?,
    };
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(settings)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(connection.patience.unwrap_or(config.timeouts.connect))
        .user_agent(&config.user_agent);
    if host::is_loopback(name) || connection.proxy.is_some() {
        builder = builder.no_proxy();
    }
    if let Some(proxy) = &connection.proxy {
        // The address may hold a password, so it is not told.
        let bad = |_| Error::Setup(format!("the proxy for {name} is no address"));
        builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(bad)?);
    }
    Ok(builder)
}
