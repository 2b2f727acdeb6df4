//! An image to serve, and clients to ask for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kiln_oci::{Descriptor, Digest, Manifest, MediaType, Reference};
use kiln_registry::{Client, Config, Credential, Error, RetryPolicy, Secret, StaticCredentials, Timeouts};

use crate::server::{Reply, Request, Server};

pub(crate) const REPOSITORY: &str = "team/app";

/// An image with a config and one layer.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) config: Vec<u8>,
    pub(crate) layer: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
}

impl Image {
    pub(crate) fn new() -> Self {
        let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#.to_vec();
        let layer: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let layers = vec![descriptor(MediaType::OciLayer, &layer)];
        let manifest = Manifest::new(descriptor(MediaType::OciConfig, &config), layers);
        Image { config, layer, manifest: serde_json::to_vec(&manifest).unwrap() }
    }

    pub(crate) fn config_descriptor(&self) -> Descriptor {
        descriptor(MediaType::OciConfig, &self.config)
    }

    pub(crate) fn layer_descriptor(&self) -> Descriptor {
        descriptor(MediaType::OciLayer, &self.layer)
    }

    /// The answer of a registry that behaves, without ranges.
    pub(crate) fn reply(&self, request: &Request) -> Reply {
        let Some(name) = request.path.strip_prefix("/v2/team/app/") else { return Reply::new(404) };
        if name == "manifests/1" || name == format!("manifests/{}", Digest::of(&self.manifest)) {
            return manifest_reply(MediaType::OciManifest.as_str(), &self.manifest);
        }
        for blob in [&self.config, &self.layer] {
            if name == format!("blobs/{}", Digest::of(blob)) {
                return Reply::body(blob.clone());
            }
        }
        Reply::new(404).with("Content-Type", "application/json")
    }
}

pub(crate) fn manifest_reply(media_type: &str, raw: &[u8]) -> Reply {
    let digest = Digest::of(raw).to_string();
    Reply::body(raw).with("Content-Type", media_type).with("Docker-Content-Digest", digest)
}

pub(crate) fn descriptor(media_type: MediaType, raw: &[u8]) -> Descriptor {
    Descriptor::new(media_type, Digest::of(raw), raw.len() as u64)
}

/// `team/app:1` on `server`.
pub(crate) fn reference(server: &Server) -> Reference {
    format!("{}/{REPOSITORY}:1", server.host()).parse().unwrap()
}

/// Settings with short pauses.
pub(crate) fn config() -> Config {
    let pause = Duration::from_millis(1);
    let retry = RetryPolicy {
        attempts: 3,
        connect_attempts: 2,
        base: pause,
        longest: pause,
        longest_retry_after: Duration::from_secs(5),
    };
    let long = Duration::from_secs(30);
    Config { retry, timeouts: Timeouts { connect: long, head: long, stall: long }, ..Config::default() }
}

pub(crate) fn client() -> Client {
    Client::new(config(), Arc::new(StaticCredentials::default()))
}

pub(crate) fn basic() -> Credential {
    Credential::Basic { username: "ann".into(), password: Secret::new("hunter2") }
}

/// A client with `credential` for `server`.
pub(crate) fn client_with(server: &Server, credential: Credential) -> Client {
    let all = BTreeMap::from([(server.host(), credential)]);
    Client::new(config(), Arc::new(StaticCredentials(all)))
}

/// Downloads the layer, to the end.
pub(crate) async fn layer(client: &Client, server: &Server, image: &Image) -> Result<Vec<u8>, Error> {
    let mut stream = client.blob(&reference(server), &image.layer_descriptor()).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.chunk().await? {
        bytes.extend_from_slice(&piece);
    }
    assert_eq!(stream.received(), bytes.len() as u64);
    Ok(bytes)
}

/// Everything that the client does may run in a task of its own.
#[test]
fn work_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}
    let (client, image) = (client(), Image::new());
    let reference: Reference = "localhost:1/a".parse().unwrap();
    let (layer, platform) = (image.layer_descriptor(), kiln_oci::Platform::host());
    let source = Arc::new(bytes::Bytes::new());
    is_send(&client.head(&reference));
    is_send(&client.image(&reference, &platform));
    is_send(&client.blob(&reference, &layer));
    is_send(&client.small_blob(&reference, &layer));
    is_send(&client.push_blob(&reference, &layer, None, source));
    is_send(&client.push_manifest(&reference, MediaType::OciManifest, bytes::Bytes::new()));
    is_send(&client.tags(&reference));
    is_send(&async {
        let mut stream = client.blob(&reference, &layer).await?;
        stream.chunk().await
    });
}
