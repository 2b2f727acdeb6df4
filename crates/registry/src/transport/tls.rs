//! TLS settings: whom to trust for which host.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::Error;

/// Whether `directory` has certificates for `host`.
pub(crate) fn has_own_authority(directory: Option<&Path>, host: &str) -> bool {
    directory.is_some_and(|d| !certificate_files(d, host).is_empty())
}

/// Settings that trust the system's authorities, and those in `directory` for `host`. Blocks.
pub(crate) fn verified(directory: Option<&Path>, host: &str) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    // What the system has and cannot be read is left out, as other programs do; a host that needed it fails then.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for path in directory.map(|d| certificate_files(d, host)).unwrap_or_default() {
        let bad =
            |e: &dyn std::fmt::Display| Error::Setup(format!("cannot use the certificate {}: {e}", path.display()));
        for certificate in CertificateDer::pem_file_iter(&path).map_err(|e| bad(&e))? {
            roots.add(certificate.map_err(|e| bad(&e))?).map_err(|e| bad(&e))?;
        }
    }
    Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
}

/// Settings that trust anybody.
pub(crate) fn unverified() -> Result<ClientConfig, Error> {
    let verifier = Arc::new(TrustAnybody(Arc::new(ring::default_provider())));
    Ok(builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Setup(format!("cannot set up TLS: {e}")))
}

/// The `*.crt` files for `host`, sorted. A missing directory has none.
fn certificate_files(directory: &Path, host: &str) -> Vec<std::path::PathBuf> {
    if host.starts_with('.') || host.contains('/') {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir(directory.join(host)) else { return Vec::new() };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "crt")).collect();
    files.sort();
    files
}

/// Accepts every certificate, but still checks that the peer holds its key.
#[derive(Debug)]
struct TrustAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
