//! Media types of manifests, configs and layers: OCI's, and Docker's of schema 2.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The type of a blob or document. Unknown ones are kept as they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// `application/vnd.oci.image.index.v1+json`
    OciIndex,
    /// `application/vnd.oci.image.manifest.v1+json`
    OciManifest,
    /// `application/vnd.oci.image.config.v1+json`
    OciConfig,
    /// `application/vnd.oci.image.layer.v1.tar`
    OciLayer,
    /// `application/vnd.oci.image.layer.v1.tar+gzip`
    OciLayerGzip,
    /// `application/vnd.oci.image.layer.v1.tar+zstd`
    OciLayerZstd,
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    DockerManifestList,
    /// `application/vnd.docker.distribution.manifest.v2+json`
    DockerManifest,
    /// `application/vnd.docker.container.image.v1+json`
    DockerConfig,
    /// `application/vnd.docker.image.rootfs.diff.tar`
    DockerLayer,
    /// `application/vnd.docker.image.rootfs.diff.tar.gzip`
    DockerLayerGzip,
    /// `application/vnd.docker.image.rootfs.foreign.diff.tar.gzip`
    DockerForeignLayer,
    /// `application/vnd.oci.image.layer.nondistributable.v1.tar`, with `+gzip` and `+zstd`: layers that registries need
    /// not have, but web servers that their descriptors name.
    OciForeignLayer,
    /// See [`MediaType::OciForeignLayer`].
    OciForeignLayerGzip,
    /// See [`MediaType::OciForeignLayer`].
    OciForeignLayerZstd,
    /// Anything else, as written.
    Other(String),
}

const NAMES: &[(MediaType, &str)] = &[
    (MediaType::OciIndex, "application/vnd.oci.image.index.v1+json"),
    (MediaType::OciManifest, "application/vnd.oci.image.manifest.v1+json"),
    (MediaType::OciConfig, "application/vnd.oci.image.config.v1+json"),
    (MediaType::OciLayer, "application/vnd.oci.image.layer.v1.tar"),
    (MediaType::OciLayerGzip, "application/vnd.oci.image.layer.v1.tar+gzip"),
    (MediaType::OciLayerZstd, "application/vnd.oci.image.layer.v1.tar+zstd"),
    (MediaType::DockerManifestList, "application/vnd.docker.distribution.manifest.list.v2+json"),
    (MediaType::DockerManifest, "application/vnd.docker.distribution.manifest.v2+json"),
    (MediaType::DockerConfig, "application/vnd.docker.container.image.v1+json"),
    (MediaType::DockerLayer, "application/vnd.docker.image.rootfs.diff.tar"),
    (MediaType::DockerLayerGzip, "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    (MediaType::DockerForeignLayer, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
    (MediaType::OciForeignLayer, "application/vnd.oci.image.layer.nondistributable.v1.tar"),
    (MediaType::OciForeignLayerGzip, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
    (MediaType::OciForeignLayerZstd, "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"),
];

impl MediaType {
    /// The text of a media type, parameters (`; charset=…`) left out.
    pub fn parse(text: &str) -> Self {
        let essence = text.split(';').next().unwrap_or("").trim();
        let known = NAMES.iter().find(|(_, name)| *name == essence);
        known.map_or_else(|| MediaType::Other(essence.to_owned()), |(media_type, _)| media_type.clone())
    }

    /// The media type as it is written.
    pub fn as_str(&self) -> &str {
        match self {
            MediaType::Other(text) => text,
            known => NAMES.iter().find(|(media_type, _)| media_type == known).map_or("", |(_, name)| name),
        }
    }

    /// Whether a document of this type lists manifests by platform.
    pub fn is_index(&self) -> bool {
        matches!(self, MediaType::OciIndex | MediaType::DockerManifestList)
    }

    /// Whether a document of this type is the manifest of one image.
    pub fn is_manifest(&self) -> bool {
        matches!(self, MediaType::OciManifest | MediaType::DockerManifest)
    }

    /// Whether a blob of this type is a file system layer, compressed or not.
    pub fn is_layer(&self) -> bool {
        matches!(
            self,
            MediaType::OciLayer
                | MediaType::OciLayerGzip
                | MediaType::OciLayerZstd
                | MediaType::DockerLayer
                | MediaType::DockerLayerGzip
        ) || !self.is_distributable()
    }

    /// Whether registries have blobs of this type; of others they may have nothing but the descriptors, which name web
    /// servers, and what is pushed goes without them.
    pub fn is_distributable(&self) -> bool {
        !matches!(
            self,
            MediaType::DockerForeignLayer
                | MediaType::OciForeignLayer
                | MediaType::OciForeignLayerGzip
                | MediaType::OciForeignLayerZstd
        )
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(MediaType::parse(&<std::borrow::Cow<'de, str>>::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_round_trips() {
        for (media_type, name) in NAMES {
            assert_eq!(&MediaType::parse(name), media_type);
            assert_eq!(media_type.as_str(), *name);
        }
        assert_eq!(MediaType::parse("application/json; charset=utf-8").as_str(), "application/json");
    }
}
