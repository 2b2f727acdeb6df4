//! The fixed words of the formats in which images travel: OCI image layout and docker archive.
//!
//! Only names and documents; who reads or writes the files is elsewhere.

use kiln_oci::Digest;
use serde::{Deserialize, Deserializer, Serialize};

/// The file that marks a directory or tar as an OCI layout.
pub const MARKER: &str = "oci-layout";
/// What the marker holds (OCI image specification 1.1, "oci-layout file").
pub const MARKER_CONTENT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The index at the top of an OCI layout.
pub const INDEX: &str = "index.json";
/// The list of images in a docker archive.
pub const DOCKER_MANIFEST: &str = "manifest.json";

/// Annotation of an index entry: the tag, or whatever its writer calls the image.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation of an index entry: the full name, as containerd and docker write it.
pub const IMAGE_NAME: &str = "io.containerd.image.name";
/// Annotation of an index entry: when the image was made, RFC 3339.
pub const CREATED: &str = "org.opencontainers.image.created";

/// Path of a blob within a layout.
#[must_use]
pub fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

/// One image of a docker archive's `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerImage {
    /// Path of the config within the archive.
    pub config: String,
    /// Names such as `busybox:latest`; none for an untagged image.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub repo_tags: Vec<String>,
    /// Paths of the layers within the archive, bottom first.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub layers: Vec<String>,
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
