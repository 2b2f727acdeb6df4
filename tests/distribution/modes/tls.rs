//! `--tls-cert` and `--tls-key`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_tests::http::{Request, Server};
use kiln_tests::kiln::{Kiln, fixture, tool};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::peer::Peer;

/// A certificate for 127.0.0.1 that signs itself, and its key, in files.
pub(super) struct Identity {
    directory: tempfile::TempDir,
    certificate: CertificateDer<'static>,
}

impl Identity {
    pub(super) fn new() -> Identity {
        let directory = tempfile::tempdir().expect("temporary directory");
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
        fs::write(directory.path().join("registry.crt"), made.cert.pem()).expect("certificate");
        fs::write(directory.path().join("registry.key"), made.signing_key.serialize_pem()).expect("key");
        Identity { directory, certificate: made.cert.der().clone() }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn flags(&self) -> [String; 4] {
        let path = |name| self.file(name).to_str().expect("path in UTF-8").to_owned();
        ["--tls-cert".into(), path("registry.crt"), "--tls-key".into(), path("registry.key")]
    }

    /// What trusts nobody but this.
    fn trust(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions");
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

fn words(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

#[test]
fn images_are_pushed_and_pulled_over_tls() {
    let identity = Identity::new();
    let peer = Peer::kiln_with(&words(&identity.flags())).secured(identity.trust());
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    assert!(peer.expect(200, &repository.get_manifest("latest")).body == image.bytes);
    let blob = crate::peer::Content::large(3_000_000);
    repository.push_blob(&blob);
    assert!(peer.expect(200, &repository.get_blob(&blob.digest)).body == blob.bytes);
}

#[test]
fn skopeo_trusts_the_certificate() {
    let identity = Identity::new();
    let peer = Peer::kiln_with(&words(&identity.flags()));
    let trusted = identity.file("trusted");
    fs::create_dir(&trusted).expect("directory");
    fs::copy(identity.file("registry.crt"), trusted.join("ca.crt")).expect("certificate");
    let trusted = trusted.to_str().expect("path in UTF-8");
    let place = format!("docker://{}/library/busybox:1", peer.server().address);
    let source = format!("oci:{}", fixture("busybox").display());
    tool("skopeo", &["copy", "--quiet", "--dest-cert-dir", trusted, &source, &place]);
    let back = format!("oci:{}:back", identity.file("back").display());
    tool("skopeo", &["copy", "--quiet", "--src-cert-dir", trusted, &place, &back]);
    let raw = |place: &str| tool("skopeo", &["inspect", "--raw", "--cert-dir", trusted, place]);
    assert_eq!(raw(&place), raw(&back));
}

#[test]
fn who_speaks_no_tls_is_left_and_others_are_served() {
    let identity = Identity::new();
    let peer = Peer::kiln_with(&words(&identity.flags())).secured(identity.trust());
    let plain = Server::plain(&peer.server().address);
    assert!(plain.try_send(&Request::new("GET", "/v2/")).is_err(), "an answer without TLS");
    peer.expect(200, &Request::new("GET", "/v2/"));
}

#[track_caller]
fn refused(certificate: &Path, key: &Path, said: &[&str]) {
    let path = |path: &Path| path.to_str().expect("path in UTF-8").to_owned();
    let (certificate, key) = (path(certificate), path(key));
    let args = ["registry", "serve", "--listen", "127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key];
    Kiln::new().fails(&args, said);
}

#[test]
fn what_cannot_be_served_with_is_named() {
    let (identity, other) = (Identity::new(), Identity::new());
    let (certificate, key) = (identity.file("registry.crt"), identity.file("registry.key"));
    refused(&certificate, &other.file("registry.key"), &["registry.crt", "registry.key"]);
    refused(&key, &key, &["registry.key has no certificate"]);
    refused(&certificate, &certificate, &["private key", "registry.crt"]);
    refused(&identity.file("absent"), &key, &["cannot read", "absent"]);
    let alone = certificate.to_str().expect("path in UTF-8");
    Kiln::new().fails(&["registry", "serve", "--tls-cert", alone], &["--tls-key"]);
}
