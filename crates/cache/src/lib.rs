//! Build caches that travel between machines.
//!
//! [`depot`] knows places where an exported cache lies (a directory, a registry, an object store) and nothing of what
//! is in it: blobs, and entries that list them. Beside it are the records in their portable form, what sends them and
//! the layers that they need, what takes them in together (a [`Shelf`]), and what fetches a layer when it is read.

mod catalogue;
pub mod depot;
mod fetch;
mod format;
mod hex;
mod inline;
pub mod mounts;
mod send;
mod shelf;
mod spec;
mod take_in;

pub use catalogue::{CATALOGUE, Catalogue, CatalogueError, PortableLayer, PortableMount, PortableRecord};
pub use fetch::{FetchError, blob};
pub use inline::{BUILDKIT_MEMBER, Inline, InlineRecord};
pub use send::{Cargo, Delivery, Manner, Outgoing, OutgoingLayer, SendError, send};
pub use shelf::{RemoteLayer, RemoteMount, RemoteRecord, Shelf, Source};
pub use spec::{CacheFrom, CacheTo, Mode, Place, SpecError};
pub use take_in::Found;
