//! A registry under test, and what every request of these tests has in common: names, digests, the content that is
//! pushed, and the demands on any answer at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::http::{Request, Response, Server};
use kiln_tests::kiln::Kiln;
use kiln_tests::kiln_registry::KilnRegistry;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

/// The media types that the tests push.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A registry over HTTP. Nothing but its address is known of it.
pub(crate) struct Peer {
    server: Server,
    /// What every request says who sends it.
    authorization: Option<String>,
    repositories: AtomicUsize,
    // In this order: the server ends, then its store is looked through for what was left behind.
    _serving: Option<KilnRegistry>,
    _docker: Option<DockerRegistry>,
    _kiln: Option<Arc<Kiln>>,
}

/// A repository of a peer.
#[derive(Clone)]
pub(crate) struct Repository<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) name: String,
}

/// Content that is named by its digest.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: String,
    pub(crate) media_type: String,
}

impl Peer {
    /// `kiln registry serve` over an empty store.
    pub(crate) fn kiln() -> Peer {
        Peer::kiln_with(&[])
    }

    /// The same with these flags.
    pub(crate) fn kiln_with(flags: &[&str]) -> Peer {
        Peer::over(Arc::new(Kiln::new()), flags)
    }

    /// The same over a store that there is.
    pub(crate) fn over(kiln: Arc<Kiln>, flags: &[&str]) -> Peer {
        let serving = KilnRegistry::start(&kiln, flags);
        let server = serving.server().clone();
        Peer { _serving: Some(serving), _kiln: Some(kiln), ..Peer::at(server) }
    }

    /// Docker's registry, empty.
    pub(crate) fn docker() -> Peer {
        let docker = DockerRegistry::start();
        let server = Server::plain(docker.address());
        Peer { _docker: Some(docker), ..Peer::at(server) }
    }

    /// A registry that somebody else runs.
    pub(crate) fn at(server: Server) -> Peer {
        let repositories = AtomicUsize::new(0);
        Peer { server, authorization: None, repositories, _serving: None, _docker: None, _kiln: None }
    }

    /// The same, spoken to over TLS with these settings.
    pub(crate) fn secured(mut self, settings: Arc<rustls::ClientConfig>) -> Peer {
        self.server.tls = Some(settings);
        self
    }

    /// The same, every request with this `Authorization`.
    pub(crate) fn authorized(self, value: &str) -> Peer {
        Peer { authorization: Some(value.to_owned()), ..self }
    }

    /// A repository that nobody has used.
    pub(crate) fn repository(&self) -> Repository<'_> {
        let number = self.repositories.fetch_add(1, Ordering::Relaxed);
        self.named(&format!("conformance/repository{number}"))
    }

    /// The repository of this name.
    pub(crate) fn named(&self, name: &str) -> Repository<'_> {
        Repository { peer: self, name: name.to_owned() }
    }

    /// Sends a request; its answer has passed what is demanded of every answer.
    #[track_caller]
    pub(crate) fn send(&self, request: &Request) -> Response {
        let request = match &self.authorization {
            Some(value) => request.clone().header("Authorization", value),
            None => request.clone(),
        };
        let response = self.server.send(&request);
        assert!(response.status < 500, "{response}");
        check_errors(&response);
        check_warnings(&response);
        response
    }

    /// Sends a request that must be answered by this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16, request: &Request) -> Response {
        let response = self.send(request);
        assert_eq!(response.status, status, "{response}");
        response
    }

    /// Where it is.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The path and query of a `Location`, absolute or relative.
    #[track_caller]
    pub(crate) fn target(&self, response: &Response) -> String {
        let location = response.header("location").unwrap_or_else(|| panic!("no Location: {response}"));
        for scheme in ["http://", "https://"] {
            if let Some(rest) = location.strip_prefix(scheme) {
                let path = rest.strip_prefix(self.server.address.as_str());
                return path.unwrap_or_else(|| panic!("leads to another host: {response}")).to_owned();
            }
        }
        assert!(location.starts_with('/'), "neither a URL nor a path: {response}");
        location.to_owned()
    }
}

/// A JSON body of a refusal is an object with `errors`, each with a code of capitals and underscores; and it is the
/// code of the specification's list that fits.
#[track_caller]
fn check_errors(response: &Response) {
    let is_json = response.header("content-type").is_some_and(|kind| kind.contains("json"));
    if !(400..500).contains(&response.status) || !is_json || response.body.is_empty() {
        return;
    }
    let body = response.json();
    let errors = body["errors"].as_array().unwrap_or_else(|| panic!("no list of errors: {response}"));
    assert!(!errors.is_empty(), "an empty list of errors: {response}");
    for error in errors {
        let code = error["code"].as_str().unwrap_or_else(|| panic!("no code: {response}"));
        assert!(code.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{response}");
        assert!(error["message"].is_null() || error["message"].is_string(), "{response}");
    }
}

/// Warnings say 299, name nobody, have no date, and are not too long.
#[track_caller]
fn check_warnings(response: &Response) {
    let warnings: Vec<_> = response.headers.iter().filter(|(name, _)| name == "warning").collect();
    assert!(warnings.iter().map(|(_, value)| value.len()).sum::<usize>() <= 4096, "{response}");
    for (_, value) in warnings {
        assert!(value.starts_with("299 - \"") && value.ends_with('"'), "{response}");
    }
}

/// The codes of an answer's errors.
#[track_caller]
pub(crate) fn codes(response: &Response) -> Vec<String> {
    let body = response.json();
    let errors = body["errors"].as_array().unwrap_or_else(|| panic!("no list of errors: {response}"));
    errors.iter().map(|error| error["code"].as_str().unwrap_or_default().to_owned()).collect()
}

impl Repository<'_> {
    /// `/v2/NAME/` and this.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.name)
    }

    /// A request for something in this repository.
    pub(crate) fn request(&self, method: &str, rest: &str) -> Request {
        Request::new(method, &self.path(rest))
    }

    /// Begins an upload; the target of its `Location`.
    #[track_caller]
    pub(crate) fn begin_upload(&self) -> String {
        let begun = self.peer.expect(202, &self.request("POST", "blobs/uploads/"));
        self.peer.target(&begun)
    }

    /// Pushes a blob: POST, then PUT.
    #[track_caller]
    pub(crate) fn push_blob(&self, blob: &Content) -> Response {
        let target = closing(&self.begin_upload(), &blob.digest);
        let put = Request::new("PUT", &target).header("Content-Type", "application/octet-stream").body(&blob.bytes);
        self.peer.expect(201, &put)
    }

    /// Sends a manifest under a tag or digest.
    pub(crate) fn put(&self, reference: &str, manifest: &Content) -> Response {
        let put = self.request("PUT", &format!("manifests/{reference}"));
        self.peer.send(&put.header("Content-Type", &manifest.media_type).body(&manifest.bytes))
    }

    /// Pushes a manifest under a tag or digest.
    #[track_caller]
    pub(crate) fn push(&self, reference: &str, manifest: &Content) -> Response {
        let answer = self.put(reference, manifest);
        assert_eq!(answer.status, 201, "{answer}");
        answer
    }

    /// Pushes an image, made of `seed`, with all that it names, under a tag; its manifest.
    #[track_caller]
    pub(crate) fn push_image(&self, tag: &str, seed: &str) -> Content {
        let image = self.image(seed);
        self.push(tag, &image);
        image
    }

    /// An image whose blobs are pushed, and whose manifest is not.
    #[track_caller]
    pub(crate) fn image(&self, seed: &str) -> Content {
        Content::manifest(&self.image_document(seed))
    }

    /// The same as a document that can still be changed.
    #[track_caller]
    pub(crate) fn image_document(&self, seed: &str) -> Value {
        let config = Content::of(format!(r#"{{"architecture":"amd64","os":"linux","x":"{seed}"}}"#).as_bytes(), CONFIG);
        let layer = Content::of(format!("layer of {seed}").as_bytes(), LAYER);
        self.push_blob(&config);
        self.push_blob(&layer);
        image_of(&config, &[&layer])
    }

    /// GET of a manifest with the types of the tests accepted.
    pub(crate) fn get_manifest(&self, reference: &str) -> Request {
        self.manifest("GET", reference)
    }

    /// HEAD of a manifest.
    pub(crate) fn head_manifest(&self, reference: &str) -> Request {
        self.manifest("HEAD", reference)
    }

    fn manifest(&self, method: &str, reference: &str) -> Request {
        let docker = "application/vnd.docker.distribution.manifest.v2+json, \
                      application/vnd.docker.distribution.manifest.list.v2+json";
        let request = self.request(method, &format!("manifests/{reference}"));
        request.header("Accept", &format!("{MANIFEST}, {INDEX}, {docker}"))
    }

    /// GET of a blob.
    pub(crate) fn get_blob(&self, digest: &str) -> Request {
        self.request("GET", &format!("blobs/{digest}"))
    }

    /// HEAD of a blob.
    pub(crate) fn head_blob(&self, digest: &str) -> Request {
        self.request("HEAD", &format!("blobs/{digest}"))
    }
}

/// The target of an upload with the digest that closes it.
pub(crate) fn closing(target: &str, digest: &str) -> String {
    let separator = if target.contains('?') { '&' } else { '?' };
    format!("{target}{separator}digest={digest}")
}

/// The manifest of an image.
pub(crate) fn image_of(config: &Content, layers: &[&Content]) -> Value {
    let layers: Vec<_> = layers.iter().map(|layer| layer.descriptor()).collect();
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(), "layers": layers})
}

/// An index of these manifests.
pub(crate) fn index_of(manifests: &[&Content]) -> Value {
    let manifests: Vec<_> = manifests.iter().map(|manifest| manifest.descriptor()).collect();
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
}

impl Content {
    /// These bytes.
    pub(crate) fn of(bytes: &[u8], media_type: &str) -> Content {
        let digest = sha256(bytes);
        Content { bytes: bytes.to_vec(), digest, media_type: media_type.to_owned() }
    }

    /// A layer of these bytes.
    pub(crate) fn layer(bytes: &[u8]) -> Content {
        Content::of(bytes, LAYER)
    }

    /// A layer of so many bytes that do not repeat.
    pub(crate) fn large(length: usize) -> Content {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        };
        Content::layer(&(0..length).map(|_| next()).collect::<Vec<u8>>())
    }

    /// The same, named by its SHA-512 digest.
    pub(crate) fn under_sha512(self) -> Content {
        let digest = format!("sha512:{}", hex(&Sha512::digest(&self.bytes)));
        Content { digest, ..self }
    }

    /// A manifest or index, of the type that it says of itself.
    pub(crate) fn manifest(document: &Value) -> Content {
        let bytes = serde_json::to_vec_pretty(document).expect("a document");
        Content::of(&bytes, document["mediaType"].as_str().expect("a media type"))
    }

    /// How a manifest names it.
    pub(crate) fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// `sha256:HEX`.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A digest of nothing that anybody pushed.
pub(crate) fn unknown_digest() -> String {
    sha256(b"nobody pushed this")
}
