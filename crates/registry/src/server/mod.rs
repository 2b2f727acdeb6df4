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
mod htpasswd;
mod listen;
mod listing;
mod manifests;
mod mirror;
mod names;
mod password_file;
mod ranges;
mod read_only;
mod referrers;
mod refusal;
mod registry;
mod route;
mod stalled;
mod storage;
mod tls;
mod turns;
mod uploads;

pub use answer::{Answer, Body};
pub use hooks::{Gate, Hooked, Upstream, Wanted};
pub use htpasswd::{Htpasswd, ReportUsers, Users};
pub use listen::{Serving, serve};
pub use mirror::{Mirror, MirrorAddress, MirrorAddressError, ReportUpstream};
pub use names::{ManifestName, Repository, Tag};
pub use password_file::HtpasswdError;
pub use read_only::ReadOnly;
pub use refusal::{Code, Refusal};
pub use registry::{Registry, Report};
pub use storage::{
    Bytes, Finished, ManifestFacts, NewManifest, Placed, Referrer, Storage, StorageError, Stored, Upload,
    WantedReferrers,
};
pub use tls::{TlsError, acceptor};
