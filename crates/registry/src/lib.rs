//! The distribution protocol (OCI distribution specification 1.1) and its authentication.
//!
//! [`Client`] finds and fetches manifests and blobs; every byte that it hands out was checked against the
//! digest and the size that named it. This crate does not know the store, where a user's settings come
//! from, or how progress is shown.

mod auth;
mod client;
mod config;
mod credentials;
mod error;
mod host;
mod hosts;
pub mod retries;
pub mod server;
mod transport;
mod web;

pub use auth::{Granted, LoginError};
pub use client::{BlobStream, Client, Document, RemoteImage, Sent};
pub use config::{Config, HostConfig, Identity, RetryPolicy, Security, Timeouts};
pub use credentials::{
    Anonymous, Credential, CredentialSource, CredentialsError, DockerConfig, Kept, Login, LoginSecret, Lookup, Secret,
    StaticCredentials,
};
pub use error::{Error, Failure};
pub use transport::BlobSource;
pub use web::{WebAnswer, WebError};
