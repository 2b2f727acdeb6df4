//! Build caches that travel between machines.
//!
//! [`depot`] knows places where an exported cache lies (a directory, a registry, an object store) and nothing of what
//! is in it: blobs, and entries that list them.

pub mod depot;
