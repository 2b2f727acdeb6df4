//! Compression of layers and archives: recognised by content when reading, written in parallel
//! blocks so that the bytes depend on format and level only, never on the number of threads.
//!
//! Knows streams of bytes, nothing of tar or images.

mod blocks;
mod detect;

pub use blocks::CompressedWriter;
pub use detect::{Decompressor, decompress, detect};

use kiln_oci::MediaType;

/// How a stream of bytes is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    Identity,
    /// gzip (RFC 1952), perhaps of several members.
    Gzip,
    /// Zstandard (RFC 8878), perhaps of several frames.
    Zstd,
    /// bzip2; only read.
    Bzip2,
    /// xz; only read.
    Xz,
}

impl Compression {
    /// The format that a layer's media type promises; `None` if the type is no layer's.
    #[must_use]
    pub fn of_media_type(media_type: &MediaType) -> Option<Compression> {
        match media_type {
            MediaType::OciLayer => Some(Compression::Identity),
            MediaType::OciLayerGzip | MediaType::DockerLayerGzip => Some(Compression::Gzip),
            MediaType::OciLayerZstd => Some(Compression::Zstd),
            _ => None,
        }
    }
}

/// The format in which layers are written, with its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Plain tar.
    Uncompressed,
    /// gzip by libdeflate.
    Gzip {
        /// `1..=12`.
        level: i32,
    },
    /// Zstandard.
    Zstd {
        /// `1..=22`.
        level: i32,
    },
}

impl Format {
    /// gzip at the level that is about as small as `gzip -6`.
    pub const GZIP: Format = Format::Gzip { level: 4 };
    /// Zstandard at its own default level.
    pub const ZSTD: Format = Format::Zstd { level: 3 };

    /// The OCI media type of a layer in this format.
    #[must_use]
    pub fn media_type(self) -> MediaType {
        match self {
            Format::Uncompressed => MediaType::OciLayer,
            Format::Gzip { .. } => MediaType::OciLayerGzip,
            Format::Zstd { .. } => MediaType::OciLayerZstd,
        }
    }
}

impl Default for Format {
    fn default() -> Format {
        Format::GZIP
    }
}
