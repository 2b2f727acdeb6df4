//! Manifests and indexes as a registry hands them out: is it one of them, and is it the one asked for.

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, Index, Manifest, ManifestOrIndex, MediaType, Platform, Reference};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::Error;

/// The types that are asked for.
pub(super) const ACCEPTED: [MediaType; 4] =
    [MediaType::OciIndex, MediaType::OciManifest, MediaType::DockerManifestList, MediaType::DockerManifest];

/// The types of Docker's schema 1, unsigned and signed.
const SCHEMA_1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// Types by which a server says that it does not know.
const VAGUE: [&str; 4] = ["", "application/json", "text/plain", "application/octet-stream"];

/// A manifest or index as the registry holds it.
#[derive(Clone, Debug)]
pub struct Document {
    /// Media type, digest and size of [`Document::raw`].
    pub descriptor: Descriptor,
    /// The bytes; their digest was checked.
    pub raw: Bytes,
    /// The same, read.
    pub content: ManifestOrIndex,
}

/// An image for one platform.
#[derive(Clone, Debug)]
pub struct RemoteImage {
    /// What the reference names: the index, or the manifest itself where there is no index.
    pub root: Document,
    /// Media type, digest and size of the manifest; from an index, with its platform.
    pub descriptor: Descriptor,
    /// The bytes of the manifest; their digest was checked.
    pub raw: Bytes,
    /// The same, read.
    pub manifest: Manifest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u32>,
    media_type: Option<MediaType>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
}

/// Reads a document whose digest was checked. `announced` is the type that its carrier gives it.
pub(super) fn read(
    reference: &Reference,
    announced: Option<MediaType>,
    digest: Digest,
    raw: Bytes,
) -> Result<Document, Error> {
    let invalid = |detail: String| Error::InvalidManifest { reference: Box::new(reference.clone()), detail };
    let outline: Outline = serde_json::from_slice(&raw).map_err(|e| invalid(e.to_string()))?;
    let announced = announced.filter(|media_type| !VAGUE.contains(&media_type.as_str()));
    if let (Some(outside), Some(inside)) = (&announced, &outline.media_type)
        && outside != inside
    {
        return Err(invalid(format!("it was announced as {outside} but calls itself {inside}")));
    }
    if outline.manifests.is_some() && (outline.config.is_some() || outline.layers.is_some()) {
        return Err(invalid("it has the members of both a manifest and an index".into()));
    }
    let by_members = || if outline.manifests.is_some() { MediaType::OciIndex } else { MediaType::OciManifest };
    let media_type = announced.or_else(|| outline.media_type.clone()).unwrap_or_else(by_members);
    refuse_unsupported(reference, &media_type, outline.schema_version)?;
    if outline.schema_version != Some(2) {
        return Err(invalid("its schemaVersion is not 2".into()));
    }
    if media_type.is_index() != outline.manifests.is_some() {
        return Err(invalid(format!("it lacks the members of {media_type}")));
    }
    let content = ManifestOrIndex::parse(&raw).map_err(|e| invalid(e.to_string()))?;
    Ok(Document { descriptor: Descriptor::new(media_type, digest, raw.len() as u64), raw, content })
}

fn refuse_unsupported(reference: &Reference, media_type: &MediaType, version: Option<u32>) -> Result<(), Error> {
    let reason = if SCHEMA_1.contains(&media_type.as_str()) || version == Some(1) {
        "a manifest of Docker's old schema 1; push the image again with a current tool"
    } else if !media_type.is_index() && !media_type.is_manifest() {
        "neither an image manifest nor an index"
    } else {
        return Ok(());
    };
    Err(Error::UnsupportedManifest { reference: Box::new(reference.clone()), media_type: media_type.clone(), reason })
}

/// Refuses manifests of things that are no container images, such as charts and signatures.
pub(super) fn check_is_image(reference: &Reference, manifest: &Manifest) -> Result<(), Error> {
    match &manifest.config.media_type {
        MediaType::OciConfig | MediaType::DockerConfig => Ok(()),
        other => Err(Error::UnsupportedManifest {
            reference: Box::new(reference.clone()),
            media_type: other.clone(),
            reason: "an artefact that is no container image",
        }),
    }
}

/// The manifest in `index` for `wanted`: the same variant first, then the newest that runs there. An entry
/// that names no platform is taken if it is the only one.
pub(super) fn select<'a>(reference: &Reference, index: &'a Index, wanted: &Platform) -> Result<&'a Descriptor, Error> {
    let images: Vec<&Descriptor> = index.manifests.iter().filter(|entry| is_image(entry)).collect();
    let fitting = images.iter().filter_map(|entry| Some((*entry, wanted.rank(entry.platform.as_ref()?)?)));
    // Of equal ones the first counts, and `min_by_key` keeps the first.
    let best = fitting.min_by_key(|(_, rank)| *rank);
    if let Some((entry, _)) = best {
        return Ok(entry);
    }
    if let [only] = images[..]
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let available = images.iter().filter_map(|entry| entry.platform.clone()).collect();
    Err(Error::NoPlatform { reference: Box::new(reference.clone()), wanted: Box::new(wanted.clone()), available })
}

/// Whether an entry is an image or a further index, and no attestation.
fn is_image(entry: &Descriptor) -> bool {
    let unknown = |platform: &Platform| platform.os == "unknown" || platform.architecture == "unknown";
    let attests = entry.annotations.contains_key("vnd.docker.reference.type");
    let kind = &entry.media_type;
    (kind.is_manifest() || kind.is_index()) && !attests && !entry.platform.as_ref().is_some_and(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference() -> Reference {
        "registry.example/a:1".parse().unwrap()
    }

    fn index(platforms: &[&str]) -> Index {
        let entry = |text: &&str| {
            let mut entry = Descriptor::new(MediaType::OciManifest, Digest::of(text.as_bytes()), 1);
            entry.platform = match text.split('/').collect::<Vec<_>>()[..] {
                [os, architecture, variant] => {
                    Some(Platform { variant: Some(variant.into()), ..Platform::new(os, architecture) })
                }
                [os, architecture] => Some(Platform::new(os, architecture)),
                _ => None,
            };
            entry
        };
        Index::new(platforms.iter().map(entry).collect())
    }

    #[test]
    fn the_platform_that_fits_best_is_taken() {
        let check = |platforms: &[&str], wanted: &str, want: &str| {
            let index = index(platforms);
            let found = select(&reference(), &index, &wanted.parse().unwrap()).unwrap();
            assert_eq!(found.digest, Digest::of(want.as_bytes()), "{wanted} of {platforms:?}");
        };
        check(&["linux/arm64", "linux/amd64"], "linux/amd64", "linux/amd64");
        check(&["linux/arm64/v8"], "linux/arm64", "linux/arm64/v8");
        check(&["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], "linux/arm/v7", "linux/arm/v7");
        check(&["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", "linux/arm/v6");
        check(&["linux/arm/v7", "linux/arm/v5"], "linux/arm/v6", "linux/arm/v5");
        check(&["linux/amd64/v1", "linux/amd64/v3"], "linux/amd64", "linux/amd64/v1");
        check(&["none", "unknown/unknown"], "linux/amd64", "none");
    }

    #[test]
    fn a_missing_platform_is_an_error_that_lists_what_there_is() {
        let check = |platforms: &[&str], wanted: &str, want: &str| {
            let error = select(&reference(), &index(platforms), &wanted.parse().unwrap()).unwrap_err();
            assert_eq!(error.to_string(), want);
        };
        check(
            &["linux/arm64", "linux/arm/v7", "unknown/unknown"],
            "linux/amd64",
            "registry.example/a:1 has no image for linux/amd64; it has linux/arm64, linux/arm/v7",
        );
        check(&[], "linux/amd64", "registry.example/a:1 has no image for linux/amd64; it has none at all");
        check(
            &["linux/arm/v7"],
            "linux/arm/v6",
            "registry.example/a:1 has no image for linux/arm/v6; it has linux/arm/v7",
        );
    }

    #[test]
    fn documents_of_other_kinds_are_refused_with_the_reason() {
        let check = |announced: &str, raw: &str, want: &str| {
            let raw = Bytes::copy_from_slice(raw.as_bytes());
            let announced = Some(MediaType::parse(announced));
            let error = read(&reference(), announced, Digest::of(&raw), raw).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        };
        check("application/json", r#"{"schemaVersion":1,"name":"a"}"#, "old schema 1");
        check(SCHEMA_1[1], r#"{"schemaVersion":1}"#, "old schema 1");
        check("application/vnd.x+json", r#"{"schemaVersion":2}"#, "neither an image manifest nor an index");
        check("text/html", "<html>", "not valid");
        check("", r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, "both a manifest and an index");
        check("", r#"{"schemaVersion":3,"manifests":[]}"#, "schemaVersion");
        check("", r#"{"schemaVersion":2}"#, "config");
        let oci = MediaType::OciManifest;
        check(oci.as_str(), r#"{"schemaVersion":2,"manifests":[]}"#, "lacks the members");
        let list = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        check(oci.as_str(), list, "announced as");
    }
}
