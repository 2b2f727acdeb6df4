//! TLS settings: whom to trust, and who we are.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::identity;
use crate::Error;
use crate::config::Identity;

/// Settings that trust the system's authorities, and those in the files `authorities`. Blocks.
pub(crate) fn verified(authorities: &[PathBuf], identities: &[Identity]) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    // What the system has and cannot be read is left out, as other programs do; a host that needed it fails then.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for path in authorities {
        for certificate in identity::certificates(path)? {
            roots.add(certificate).map_err(|e| identity::unusable(path, &e))?;
        }
    }
    Ok(shown(builder()?.with_root_certificates(roots), identity::Identities::read(identities)?))
}

/// Settings that trust anybody.
pub(crate) fn unverified(identities: &[Identity]) -> Result<ClientConfig, Error> {
    let verifier = Arc::new(TrustAnybody(Arc::new(ring::default_provider())));
    let trusting = builder()?.dangerous().with_custom_certificate_verifier(verifier);
    Ok(shown(trusting, identity::Identities::read(identities)?))
}

fn shown(
    builder: rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>,
    identities: identity::Identities,
) -> ClientConfig {
    match identities.is_empty() {
        true => builder.with_no_client_auth(),
        false => builder.with_client_cert_resolver(Arc::new(identities)),
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Setup(format!("cannot set up TLS: {e}")))
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
