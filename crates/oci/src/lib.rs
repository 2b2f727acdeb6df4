//! The nouns of OCI: digests, references, platforms, descriptors, manifests, image configs.
//!
//! Everything here is a value: parsing, printing and comparing, nothing else. This crate knows no files,
//! no network and no async. Types follow the OCI image specification 1.1 and, where the field still uses
//! it, Docker's schema 2; documents keep the members that they do not know.

mod config;
mod descriptor;
mod digest;
mod manifest;
mod media_type;
mod platform;
mod reference;

pub use config::{ContainerConfig, HealthCheck, HistoryEntry, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use manifest::{Index, Manifest, ManifestOrIndex};
pub use media_type::MediaType;
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
