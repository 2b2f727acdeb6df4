//! Certificates in PEM files, and which of ours is shown to a host that asks for one.

use std::path::Path;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::Error;
use crate::config::Identity;

/// The certificates in a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).map_err(|e| unusable(path, &e))?;
    let all = read.collect::<Result<Vec<_>, _>>().map_err(|e| unusable(path, &e))?;
    if all.is_empty() {
        return Err(unusable(path, &"there is none in it"));
    }
    Ok(all)
}

/// The error for a file with certificates or a key.
pub(super) fn unusable(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::Setup(format!("cannot use the certificate {}: {why}", path.display()))
}

/// Who we are to one host.
#[derive(Debug)]
pub(super) struct Identities(Vec<Arc<CertifiedKey>>);

impl Identities {
    /// Reads certificates and keys. Blocks.
    pub(super) fn read(identities: &[Identity]) -> Result<Identities, Error> {
        identities.iter().map(read).collect::<Result<_, _>>().map(Identities)
    }

    /// Whether we are nobody.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn read(identity: &Identity) -> Result<Arc<CertifiedKey>, Error> {
    let chain = certificates(&identity.certificate)?;
    let path = identity.key.as_deref().unwrap_or(&identity.certificate);
    let bad = |e: &dyn std::fmt::Display| Error::Setup(format!("cannot use the key {}: {e}", path.display()));
    let key = PrivateKeyDer::from_pem_file(path).map_err(|e| bad(&e))?;
    let provider = ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map(Arc::new).map_err(|e| bad(&e))
}

impl ResolvesClientCert for Identities {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let wanted = |key: &&Arc<CertifiedKey>| issuers.iter().any(|issuer| is_signed_by(key, issuer));
        let able = || self.0.iter().filter(fits);
        able().find(wanted).or_else(|| able().next()).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.is_empty()
    }
}

/// Whether a certificate of the chain names `issuer`, whose encoded name then stands in it as it is.
fn is_signed_by(key: &CertifiedKey, issuer: &[u8]) -> bool {
    let names = |certificate: &CertificateDer<'_>| certificate.windows(issuer.len()).any(|part| part == issuer);
    !issuer.is_empty() && key.cert.iter().any(names)
}
