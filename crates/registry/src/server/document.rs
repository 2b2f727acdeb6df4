//! What the registry reads of a manifest that is pushed: what it is made of, and what it says something about.
//!
//! Manifests of types that are not known here are taken too, if they are JSON: what they list under the usual names
//! counts.

use std::collections::BTreeMap;

use kiln_oci::{Descriptor, Digest, MediaType};
use serde::Deserialize;

use super::names::ManifestName;
use super::refusal::{Code, Refusal};
use super::storage::NewManifest;

/// The largest manifest that is taken, in bytes.
pub(super) const LARGEST: usize = 4 << 20;

/// Types of the old manifests, which name their layers otherwise.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u32>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Layer>>,
    blobs: Option<Vec<Layer>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

/// A layer; one that may be fetched elsewhere need not be here.
#[derive(Deserialize)]
struct Layer {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(default)]
    urls: Option<Vec<String>>,
}

/// Reads a manifest that was sent as one of `content_type` under `name`, and checks it against both.
pub(super) fn read(bytes: Vec<u8>, content_type: Option<&str>, name: &ManifestName) -> Result<NewManifest, Refusal> {
    let invalid = |message: String| Refusal::new(Code::ManifestInvalid, message);
    let document: Document = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    let media_type = media_type(&document, content_type)?;
    if media_type.starts_with(SCHEMA_1) || document.schema_version == Some(1) {
        return Err(invalid("manifests of schema 1 are not supported: push one of schema 2 or of OCI".into()));
    }
    check_shape(&document, &MediaType::parse(&media_type)).map_err(invalid)?;
    let digest = digest(&bytes, name)?;
    let layers = document.layers.into_iter().chain(document.blobs).flatten();
    let here =
        layers.filter(|layer| layer.urls.as_ref().is_none_or(Vec::is_empty)).map(|layer| layer.descriptor.digest);
    let config_type = document.config.as_ref().map(|config| config.media_type.to_string());
    let blobs = document.config.into_iter().map(|config| config.digest).chain(here).collect();
    Ok(NewManifest {
        bytes,
        digest,
        media_type,
        blobs,
        manifests: document.manifests.into_iter().flatten().map(|each| each.digest).collect(),
        is_partial: false,
        subject: document.subject.map(|subject| subject.digest),
        artifact_type: document.artifact_type.filter(|text| !text.is_empty()).or(config_type),
        annotations: document.annotations.unwrap_or_default(),
    })
}

/// The type that the manifest gives itself must be the one that it is sent as.
fn media_type(document: &Document, content_type: Option<&str>) -> Result<String, Refusal> {
    let sent = content_type.map(|text| MediaType::parse(text).to_string());
    match (&document.media_type, sent) {
        (Some(own), Some(sent)) if *own != sent => {
            let message = format!("the manifest says that it is {own} and was sent as {sent}");
            Err(Refusal::new(Code::ManifestInvalid, message))
        }
        (Some(own), _) => Ok(own.clone()),
        (None, Some(sent)) => Ok(sent),
        (None, None) => Err(Refusal::new(Code::ManifestInvalid, "the manifest has no media type")),
    }
}

/// What must be there in a manifest of a known type, and must not.
fn check_shape(document: &Document, media_type: &MediaType) -> Result<(), String> {
    if document.manifests.is_some() && (document.layers.is_some() || document.config.is_some()) {
        return Err("it is both a manifest and an index".into());
    }
    let known = media_type.is_manifest() || media_type.is_index();
    if known && document.schema_version != Some(2) {
        return Err("schemaVersion is not 2".into());
    }
    if media_type.is_manifest() && (document.config.is_none() || document.layers.is_none()) {
        return Err("a manifest needs config and layers".into());
    }
    if media_type.is_index() && document.manifests.is_none() {
        return Err("an index needs manifests".into());
    }
    Ok(())
}

fn digest(bytes: &[u8], name: &ManifestName) -> Result<Digest, Refusal> {
    let ManifestName::Digest(named) = name else { return Ok(Digest::of(bytes)) };
    let refuse = |message: &str| Refusal::new(Code::DigestInvalid, message).about(named);
    let mut hasher = named.hasher().ok_or_else(|| refuse("unsupported digest algorithm"))?;
    hasher.update(bytes);
    match hasher.finish() {
        digest if digest == *named => Ok(digest),
        _ => Err(refuse("the manifest has another digest")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";

    fn descriptor(of: &str) -> Value {
        json!({"mediaType": "application/x", "digest": Digest::of(of.as_bytes()).to_string(), "size": of.len()})
    }

    fn take(document: &Value, content_type: Option<&str>) -> Result<NewManifest, Refusal> {
        let name = ManifestName::parse("latest").unwrap();
        read(document.to_string().into_bytes(), content_type, &name)
    }

    fn manifest() -> Value {
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor("c"), "layers": [descriptor("l")]})
    }

    #[test]
    fn a_manifest_is_made_of_its_config_and_layers() {
        let read = take(&manifest(), Some(MANIFEST)).unwrap();
        assert_eq!(read.blobs, [Digest::of(b"c"), Digest::of(b"l")]);
        assert_eq!((read.media_type.as_str(), read.subject), (MANIFEST, None));
        assert_eq!(read.artifact_type.as_deref(), Some("application/x"));
        let mut foreign = manifest();
        foreign["layers"][0]["urls"] = json!(["https://example.com/l"]);
        assert_eq!(take(&foreign, None).unwrap().blobs, [Digest::of(b"c")]);
    }

    #[test]
    fn an_index_is_made_of_manifests() {
        let mut index = json!({"schemaVersion": 2, "manifests": [descriptor("m")], "subject": descriptor("s")});
        index["annotations"] = json!({"k": "v"});
        index["artifactType"] = json!("application/y");
        let read = take(&index, Some(INDEX)).unwrap();
        assert_eq!((read.manifests, read.subject), (vec![Digest::of(b"m")], Some(Digest::of(b"s"))));
        assert_eq!(read.artifact_type.as_deref(), Some("application/y"));
        assert_eq!(read.annotations["k"], "v");
    }

    #[test]
    fn an_unknown_type_is_taken_as_it_is() {
        let read = take(&json!({"blobs": [descriptor("b")]}), Some("application/vnd.example+json")).unwrap();
        assert_eq!(read.blobs, [Digest::of(b"b")]);
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let check = |document: Value, content_type: Option<&str>| {
            assert!(take(&document, content_type).is_err(), "{document} as {content_type:?}");
        };
        check(json!([]), Some(MANIFEST));
        check(manifest(), Some(INDEX));
        check(json!({"schemaVersion": 2, "layers": []}), Some(MANIFEST));
        check(json!({"schemaVersion": 2}), Some(INDEX));
        check(json!({"schemaVersion": 2, "config": descriptor("c"), "layers": []}), None);
        check(json!({"schemaVersion": 1, "fsLayers": []}), Some(&format!("{SCHEMA_1}prettyjws")));
        let mut both = manifest();
        both["manifests"] = json!([]);
        check(both, None);
        let mut damaged = manifest();
        damaged["layers"][0]["digest"] = json!("sha256:00");
        check(damaged, None);
    }

    #[test]
    fn a_digest_in_the_name_is_checked() {
        let bytes = manifest().to_string().into_bytes();
        let named = |digest: &Digest| read(bytes.clone(), None, &ManifestName::Digest(digest.clone()));
        assert!(named(&Digest::of(&bytes)).is_ok());
        assert!(named(&Digest::of(b"other")).is_err());
        let mut hasher = kiln_oci::Hasher::new(kiln_oci::Algorithm::Sha512).unwrap();
        hasher.update(&bytes);
        let digest = hasher.finish();
        assert_eq!(named(&digest).unwrap().digest, digest);
    }
}
