//! A registry of one's own: the serving side of the distribution protocol (OCI distribution specification 1.1).
//!
//! [`Registry`] answers requests out of a [`Storage`], which lies wherever its maker likes; [`serve`] brings it the
//! requests of a listening socket. Whatever decides who may do what is a [`Gate`] before it, and where it gets what it
//! lacks an [`Upstream`]. This module knows no files.

mod answer;
mod blobs;
mod document;
mod flow;
mod hooks;
mod listen;
mod listing;
mod manifests;
mod names;
mod ranges;
mod referrers;
mod refusal;
mod registry;
mod route;
mod stalled;
mod storage;
mod turns;
mod uploads;

pub use answer::{Answer, Body};
pub use hooks::{Gate, Hooked, Upstream, Wanted};
pub use listen::{Serving, serve};
pub use names::{ManifestName, Repository, Tag};
pub use refusal::{Code, Refusal};
pub use registry::{Registry, Report};
pub use storage::{
    Bytes, Finished, ManifestFacts, NewManifest, Placed, Referrer, Storage, StorageError, Stored, Upload,
    WantedReferrers,
};
