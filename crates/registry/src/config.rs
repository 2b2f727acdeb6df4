//! What a client is told before it starts: hosts, retries, time limits. Values only; nothing is read here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How connections to a host are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// HTTPS, the certificate checked.
    Tls,
    /// HTTPS, with any certificate.
    UnverifiedTls,
    /// HTTP.
    Plain,
}

/// What is special about one registry host.
#[derive(Clone, Debug, Default)]
pub struct HostConfig {
    /// How to connect. `None`: plain for `localhost`, 127.0.0.0/8 and ::1 unless there are certificates for
    /// the host in [`Config::certificates`]; TLS for everything else.
    pub security: Option<Security>,
    /// Hosts (`name[:port]`) that are asked first, in this order. A mirror that fails in any way is passed over.
    pub mirrors: Vec<String>,
    /// How many bytes one request of an upload may bring at most. `None`: all, and fewer for a host that says that
    /// they are too many.
    pub upload_piece: Option<u64>,
}

/// How failed requests are repeated.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// How often a request is sent at most, the first time included.
    pub attempts: u32,
    /// The same where no connection could be made: a misspelt host should fail soon.
    pub connect_attempts: u32,
    /// The pause after the first failure; it doubles with each one. The real pause is a random time between
    /// half of it and all of it.
    pub base: Duration,
    /// The longest pause of our own.
    pub longest: Duration,
    /// The longest `Retry-After` that is waited for; a longer one ends in an error.
    pub longest_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            attempts: 6,
            connect_attempts: 3,
            base: Duration::from_millis(250),
            longest: Duration::from_secs(15),
            longest_retry_after: Duration::from_secs(90),
        }
    }
}

/// After how much silence a connection counts as broken.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// Until the head of an answer is there.
    pub head: Duration,
    /// Between two pieces of a body.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: Duration::from_secs(20), head: Duration::from_secs(60), stall: Duration::from_secs(45) }
    }
}

/// A client's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is special about single hosts, by the domain of the reference (`docker.io`, `localhost:5000`).
    pub hosts: BTreeMap<String, HostConfig>,
    /// A directory with a subdirectory per host, whose `*.crt` files are trusted for that host beside the
    /// system's authorities; Docker's is `/etc/docker/certs.d`.
    pub certificates: Option<PathBuf>,
    /// How failed requests are repeated.
    pub retry: RetryPolicy,
    /// After how much silence a connection counts as broken.
    pub timeouts: Timeouts,
    /// How many requests one host serves at the same time; a [`crate::BlobStream`] counts while it lives.
    pub connections_per_host: usize,
    /// What the client calls itself.
    pub user_agent: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            hosts: BTreeMap::new(),
            certificates: None,
            retry: RetryPolicy::default(),
            timeouts: Timeouts::default(),
            connections_per_host: 8,
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}
