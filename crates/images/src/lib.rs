//! Images in and out of the store: pull, push, load, save, pack, unpack.
//!
//! This crate turns layers into tar archives and compressed blobs and back, and images into the
//! formats in which they travel. It does not know Dockerfiles, containers or how progress is shown.

pub mod compression;
pub mod export;
pub mod flat;
mod import;
pub mod layout;
pub mod load;
pub mod pack;
pub mod pull;
pub mod push;
pub mod rediscover;
pub mod repair;
pub mod save;
pub mod shelf;
pub mod tar;
#[cfg(test)]
mod testing;
pub mod unpack;
pub mod validate;
mod workers;
