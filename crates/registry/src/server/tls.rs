//! The certificate and key with which a registry is served over TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// What cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read, or is no PEM.
    #[error("cannot read {what} from {}: {source}", .path.display())]
    Unreadable {
        /// What should be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// A file in PEM without a certificate.
    #[error("{} has no certificate\nhint: it should have one or more sections BEGIN CERTIFICATE, the server's own first", .0.display())]
    NoCertificate(PathBuf),
    /// A certificate and a key that cannot be used, or do not belong to each other.
    #[error("cannot serve with the certificate {} and the key {}: {source}", .certificate.display(), .key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
}

/// Takes TLS connections with the certificates in one file of PEM, the server's own first, and the key in another.
/// Blocks.
///
/// # Errors
/// Files that cannot be read, hold something else, or do not belong to each other.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let unreadable = |what, path: &Path, source| TlsError::Unreadable { what, path: path.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| unreadable("certificates", certificate, source))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate(certificate.to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| unreadable("a private key", key, source))?;
    let unusable = |source| TlsError::Unusable { certificate: certificate.to_owned(), key: key.to_owned(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A certificate and its key, as PEM.
    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn accept(certificate: &str, key: &str) -> Result<(), TlsError> {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        acceptor(&place("cert.pem", certificate), &place("key.pem", key)).map(drop)
    }

    #[test]
    fn a_certificate_and_its_key_are_taken() {
        let (certificate, key) = made();
        accept(&certificate, &key).unwrap();
        accept(&format!("{certificate}{}", made().0), &key).unwrap();
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let (certificate, key) = made();
        assert!(matches!(accept(&certificate, &made().1), Err(TlsError::Unusable { .. })));
        assert!(matches!(accept(&key, &key), Err(TlsError::NoCertificate(_))));
        assert!(matches!(accept("", &key), Err(TlsError::NoCertificate(_))));
        assert!(matches!(accept(&certificate, &certificate), Err(TlsError::Unreadable { .. })));
        let nowhere = Path::new("/nowhere/cert.pem");
        let said = acceptor(nowhere, nowhere).map(drop).unwrap_err().to_string();
        assert!(said.contains("/nowhere/cert.pem"), "{said}");
    }
}
