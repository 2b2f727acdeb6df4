//! Sources, operations, cache and exporters, put together into a build.
//!
//! [`Builder::build`] takes a [`Request`] and a [`Client`] and gives an [`Outcome`]: it plans the Dockerfile,
//! resolves base images, lowers to a graph, lets the solver run the steps, and writes the result. It does not
//! know how progress is shown, nor sockets, nor where a user's settings come from.

mod bases;
mod build;
mod cache;
mod check;
mod client;
mod context;
mod devices;
mod diagnosis;
mod error;
mod executor;
mod explain;
mod file;
mod history;
mod key;
mod memory;
mod mending;
mod output;
mod platforms;
mod push;
mod request;
mod sources;
mod squash;
mod ssh;
mod step;
mod tree;

pub use build::{Builder, BuiltImage, Outcome};
pub use cache::{CacheError, CacheExport, CacheFilter, CacheImport, CacheStore, ImportedCache};
pub use check::CheckOptions;
pub use client::{Client, LocalClient, LocalDirectory, SecretError, SecretSource};
pub use context::{
    Context, ContextEntry, ContextError, EmptyContext, IgnoreFile, IgnoreRule, LocalContext, Snapshot, StoredContext,
    StoredFiles,
};
pub use diagnosis::{Cause, Diagnosis, Installer};
pub use error::{BuildError, Entitlement, StepError, StepProblem, chain, errno};
pub use explain::{
    BaseCause, BaseImage, BuildOutcome, ComparedWith, ExplainedBuild, ExplainedStep, FileAspect, HitKind, Novelty,
    Position, Reason, StepResult,
};
pub use file::Guess;
pub use kiln_images::export::{Annotation, AnnotationTarget, MediaTypes};
pub use kiln_sandbox::users::UserError;
pub use kiln_sandbox::{Bounds, Secret};
pub use request::{
    Allowed, AllowedDevices, Destination, DockerfileText, ImageForm, Kept, NamedContext, Output, OutputKind, PushedAs,
    Pushing, Request,
};
pub use sources::{ContextFetcher, FetchedContext, RemoteContext, SourceError};
pub use ssh::{KeyProblem, SshAgent, SshError, SshSource};
