//! What `registry serve` puts before the registry: TLS, users, a ban on changes, another registry.

use std::path::PathBuf;
use std::sync::Arc;

use kiln_registry::server::{
    Htpasswd, HtpasswdError, Mirror, MirrorAddress, ReadOnly, Registry, Serving, Storage, Users, acceptor,
};

use crate::failure::{Failure, chain};
use crate::host;

/// The flags of `registry serve` that say who is served how.
#[derive(clap::Args, Debug)]
pub(super) struct Before {
    /// Serve over TLS with these certificates (PEM, the server's own first)
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Serve only the users in this file, made by `htpasswd -B`
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// Let nothing be pushed or deleted
    #[arg(long)]
    read_only: bool,
    /// Fetch what is missing from the registry there and keep it; nothing can be pushed then
    #[arg(long, value_name = "URL")]
    mirror_of: Option<MirrorAddress>,
}

impl Before {
    /// How connections are served.
    ///
    /// # Errors
    /// A certificate or key that cannot be used.
    pub(super) fn serving(&self, serving: Serving) -> Result<Serving, Failure> {
        match (&self.tls_cert, &self.tls_key) {
            (None, None) => Ok(serving),
            (Some(certificate), Some(key)) => {
                Ok(Serving { tls: Some(acceptor(certificate, key).map_err(failure)?), ..serving })
            }
            (Some(_), None) => Err(Failure::new("ERROR: --tls-cert needs the certificate's key: --tls-key FILE")),
            (None, Some(_)) => Err(Failure::new("ERROR: --tls-key needs its certificate: --tls-cert FILE")),
        }
    }

    /// A registry over `storage` with all that is before it.
    ///
    /// # Errors
    /// Users that cannot be read; settings of the way to another registry that make no sense.
    pub(super) fn registry(&self, storage: Arc<dyn Storage>) -> Result<Registry, Failure> {
        let mut registry = Registry::new(Arc::clone(&storage));
        if let Some(path) = &self.htpasswd {
            let report = |error: &HtpasswdError| eprintln!("WARNING: {error}; the users stay as they were");
            let users = Users::open(path, Box::new(report)).map_err(failure)?;
            registry = registry.with_gate(Arc::new(Htpasswd::new(users)));
        }
        if self.read_only || self.mirror_of.is_some() {
            registry = registry.with_gate(Arc::new(ReadOnly));
        }
        if let Some(address) = &self.mirror_of {
            let client = host::client_of(address)?;
            let report = |error: &kiln_registry::Error| eprintln!("WARNING: {}", chain(error));
            registry = registry.with_upstream(Arc::new(Mirror::new(client, address, storage, Box::new(report))));
        }
        Ok(registry)
    }
}

fn failure(error: impl std::error::Error) -> Failure {
    Failure::new(format!("ERROR: {error}"))
}
