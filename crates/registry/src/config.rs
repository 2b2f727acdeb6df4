//! What a client is told before it starts: hosts, retries, time limits. Values only; nothing is read here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How connections to a host are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// HTTPS, the certificate checked.
    Tls,
    /// HTTPS, with any certificate.
    UnverifiedTls,
    /// HTTP.
    Plain,
    /// HTTPS with any certificate, or HTTP where the host does not speak TLS; which of the two is found out.
    Insecure,
}

/// A certificate that is shown to a host, and the key that belongs to it: PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The certificate, and those that lead to an authority.
    pub certificate: PathBuf,
    /// The key; `None` where it is in the same file.
    pub key: Option<PathBuf>,
}

/// What is special about one registry host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// How to connect. `None`: plain for `localhost`, 127.0.0.0/8 and ::1 unless there are certificates for
    /// the host in [`Config::certificates`]; TLS for everything else.
    pub security: Option<Security>,
    /// Hosts (`name[:port]`, or an address with a path) that are asked first, in this order. A mirror that fails in any
    /// way is passed over.
    pub mirrors: Vec<String>,
    /// PEM files with authorities that are trusted for this host beside the system's.
    pub authorities: Vec<PathBuf>,
    /// What may be shown to the host; it is shown what one of its authorities signed, or the first.
    pub identities: Vec<Identity>,
    /// How many requests it serves at the same time, in place of [`Config::connections_per_host`].
    pub connections: Option<usize>,
    /// How many bytes one request of an upload may bring at most. `None`: all, and fewer for a host that says that
    /// they are too many.
    pub upload_piece: Option<u64>,
}

impl HostConfig {
    /// Whether nothing is said of how the host itself is connected to.
    pub(crate) fn leaves_open(&self) -> bool {
        self.security.is_none() && self.authorities.is_empty() && self.identities.is_empty()
    }
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
    /// Directories with a subdirectory per host, whose `*.crt` files are trusted for that host beside the system's
    /// authorities, and whose `*.cert` with `*.key` are shown to it; Docker's is `/etc/docker/certs.d`.
    pub certificates: Vec<PathBuf>,
    /// Directories with a subdirectory per registry that may have a `hosts.toml`; containerd's is
    /// `/etc/containerd/certs.d`. What [`Config::hosts`] says of a registry counts more.
    pub hosts_directories: Vec<PathBuf>,
    /// How failed requests are repeated.
    pub retry: RetryPolicy,
    /// After how much silence a connection counts as broken.
    pub timeouts: Timeouts,
    /// How many requests one host serves at the same time; a [`crate::BlobStream`] counts while it lives.
    pub connections_per_host: usize,
    /// What the client calls itself.
    pub user_agent: String,
}

impl Config {
    /// How many requests `host` serves at the same time.
    pub(crate) fn connections_to(&self, host: &str) -> usize {
        let special = self.hosts.get(crate::host::domain_of(host)).and_then(|host| host.connections);
        special.unwrap_or(self.connections_per_host).max(1)
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            hosts: BTreeMap::new(),
            certificates: Vec::new(),
            hosts_directories: Vec::new(),
            retry: RetryPolicy::default(),
            timeouts: Timeouts::default(),
            connections_per_host: 8,
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}
