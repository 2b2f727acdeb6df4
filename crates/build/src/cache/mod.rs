//! Caches elsewhere, as a build uses them: what they have is asked where the store has nothing, what they hold is
//! fetched when somebody reads it, and what the build used goes to where it was asked to.
//!
//! How records and blobs travel is `kiln-cache`'s business; which keys belong to which step is the steps'.

mod elsewhere;
mod fetch;
mod gather;
mod inline;
mod open;
mod seeds;
mod send;
mod whole;

pub(crate) use elsewhere::Elsewhere;
pub(crate) use gather::ResultLayers;
pub(crate) use inline::write_inline;
pub(crate) use open::read_all;
pub(crate) use send::{Exports, send_all};
pub use whole::{CacheError, CacheExport, CacheFilter, CacheImport, CacheStore, ImportedCache};
