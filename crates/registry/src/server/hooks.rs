//! What may be put before a registry: who may do what, and where comes from what it lacks.

use std::future::Future;
use std::pin::Pin;

use http::request::Parts;
use kiln_oci::Digest;

use super::answer::Answer;
use super::names::{Repository, Tag};

/// A future of a hook.
pub type Hooked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Looks at every request before the registry does.
pub trait Gate: Send + Sync + 'static {
    /// Lets a request pass, or answers it.
    fn admit<'a>(&'a self, request: &'a Parts) -> Hooked<'a, Result<(), Answer>>;
}

/// What a reading request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// Whatever this tag means now. Asked for also if the registry has something under it.
    Tag(&'a Tag),
    /// A manifest that is not there.
    Manifest(&'a Digest),
    /// A blob that is not there.
    Blob(&'a Digest),
    /// The manifests that say something about this one. Asked for always.
    Referrers(&'a Digest),
}

/// Brings what the registry lacks from elsewhere into its storage, before a request for it is answered.
pub trait Upstream: Send + Sync + 'static {
    /// Brings what the request needs, if it can be had. Afterwards the request is answered with what the storage has; an
    /// answer given here takes its place.
    fn bring<'a>(
        &'a self,
        request: &'a Parts,
        repository: &'a Repository,
        wanted: Wanted<'a>,
    ) -> Hooked<'a, Result<(), Answer>>;

    /// All tags that the repository has elsewhere, in any order; `None` if that cannot be told, and the storage's count.
    fn tags<'a>(&'a self, repository: &'a Repository) -> Hooked<'a, Result<Option<Vec<String>>, Answer>>;
}
