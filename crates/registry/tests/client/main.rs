//! The client against registries that misbehave, each a server of the test's own on loopback, and against a
//! real one.

mod auth;
mod blobs;
mod delete;
mod image;
mod lists;
mod manifests;
mod push;
mod real;
mod referrers;
mod server;
mod storage;
mod transport;
mod uploads;
