//! What can go wrong between here and a registry, in words that help.

use std::time::Duration;

use kiln_oci::{Digest, MediaType, Platform, Reference};

use crate::CredentialsError;

/// Why a connection failed or broke; holds no addresses with secrets in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub(crate) String);

/// An error of a registry client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection, not even after repeating.
    #[error("cannot reach the registry {host}: {cause}\nhint: {hint}")]
    Unreachable {
        /// The host that was asked.
        host: String,
        /// What the last attempt said.
        cause: Failure,
        /// What to look at.
        hint: &'static str,
    },
    /// The connection broke, or nothing came for too long, each time.
    #[error("the connection to {host} broke {attempts} times while fetching {what}: {cause}")]
    Interrupted {
        /// The host that was asked.
        host: String,
        /// What was fetched.
        what: String,
        /// How often it was tried without getting further.
        attempts: u32,
        /// What the last attempt said.
        cause: Failure,
    },
    /// The registry asks for fewer requests and for a longer pause than we are willing to make.
    #[error("{host} refuses more requests for now{}\nhint: log in for a higher limit, or configure a mirror", retry_note(.retry_after))]
    RateLimited {
        /// The host that was asked.
        host: String,
        /// The pause that it asked for.
        retry_after: Option<Duration>,
    },
    /// The credentials are missing, wrong, or not enough for this.
    #[error("{host} denies access to {repository}: {detail}\nhint: {hint}")]
    Denied {
        /// The host that was asked.
        host: String,
        /// The repository.
        repository: String,
        /// What the registry said.
        detail: String,
        /// What to do.
        hint: &'static str,
    },
    /// There is no such manifest or blob.
    #[error("{what} was not found on {host}")]
    NotFound {
        /// The host that was asked.
        host: String,
        /// The reference or digest.
        what: String,
    },
    /// An answer with a status that the protocol does not foresee here.
    #[error("{host} answers {status} to the request for {what}{}", detail_note(.detail))]
    Status {
        /// The host that was asked.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What was asked for.
        what: String,
        /// What the body said, shortened.
        detail: String,
    },
    /// An answer that violates the protocol.
    #[error("{host} gives an answer that makes no sense: {detail}")]
    Protocol {
        /// The host that was asked.
        host: String,
        /// What is wrong.
        detail: String,
    },
    /// More redirects than are followed.
    #[error("{host} redirects in circles: gave up after {limit} redirects")]
    TooManyRedirects {
        /// The host that was asked first.
        host: String,
        /// How many were followed.
        limit: usize,
    },
    /// A redirect that leaves encryption, or is no HTTP address.
    #[error("{host} redirects to {target}, which is not followed: {reason}")]
    RedirectRefused {
        /// The host that was asked.
        host: String,
        /// Scheme and host of the target.
        target: String,
        /// Why not.
        reason: &'static str,
    },
    /// The registry names a token server that must not see credentials.
    #[error("{host} wants the credentials sent to {realm}, which is refused: {reason}")]
    RealmRefused {
        /// The registry.
        host: String,
        /// Scheme and host of the token server.
        realm: String,
        /// Why not.
        reason: &'static str,
    },
    /// The bytes are not those that the digest names.
    #[error("{host} sent wrong bytes: expected {expected}, got {actual}")]
    DigestMismatch {
        /// The host that was asked.
        host: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// More or fewer bytes than the descriptor says.
    #[error("{host} sent {actual} bytes for {digest}, expected {expected}")]
    SizeMismatch {
        /// The host that was asked.
        host: String,
        /// What was asked for.
        digest: Digest,
        /// Bytes expected.
        expected: u64,
        /// Bytes announced or received.
        actual: u64,
    },
    /// The body ended early, also after trying to go on from there.
    #[error("{host} sent only {received} of {expected} bytes of {digest}")]
    Truncated {
        /// The host that was asked.
        host: String,
        /// What was asked for.
        digest: Digest,
        /// Bytes expected.
        expected: u64,
        /// Bytes received.
        received: u64,
    },
    /// The registry gives a blob only whole.
    #[error("{host} does not give parts of blobs")]
    NoRanges {
        /// The host that was asked.
        host: String,
    },
    /// A document or blob that should be small is not.
    #[error("{what} from {host} is larger than the {limit} bytes that are accepted")]
    TooLarge {
        /// The host that was asked.
        host: String,
        /// What was fetched.
        what: String,
        /// Bytes accepted.
        limit: u64,
    },
    /// A manifest of a kind that is not read here.
    #[error("{reference} is {media_type:?}: {reason}", media_type = .media_type.as_str())]
    UnsupportedManifest {
        /// What was asked for.
        reference: Box<Reference>,
        /// The type of what came.
        media_type: MediaType,
        /// Why it is not read.
        reason: &'static str,
    },
    /// A manifest that is no valid document.
    #[error("the manifest of {reference} is not valid: {detail}")]
    InvalidManifest {
        /// What was asked for.
        reference: Box<Reference>,
        /// What is wrong.
        detail: String,
    },
    /// The index has nothing for the platform.
    #[error("{reference} has no image for {wanted}; it has {}", platform_list(.available))]
    NoPlatform {
        /// What was asked for.
        reference: Box<Reference>,
        /// The platform.
        wanted: Box<Platform>,
        /// The platforms that the index has.
        available: Vec<Platform>,
    },
    /// A digest whose bytes cannot be checked here.
    #[error("{0} cannot be verified: the hash function is not supported")]
    UnsupportedDigest(Digest),
    /// A stream that was read on after an error.
    #[error("the download of {0} failed before")]
    AlreadyFailed(Digest),
    /// The bytes to send cannot be read here, or are not as many as announced.
    #[error("cannot send {digest}: {detail}")]
    Source {
        /// What was to be sent.
        digest: Digest,
        /// Why it cannot.
        detail: String,
    },
    /// The reference names no host.
    #[error("{0} names no registry")]
    NoRegistry(Box<Reference>),
    /// The credentials could not be had.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The client could not be set up: certificates that cannot be read, a host that is no address.
    #[error("{0}")]
    Setup(String),
}

fn retry_note(retry_after: &Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |pause| format!(" (it says: again in {} s)", pause.as_secs()))
}

fn detail_note(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

fn platform_list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "none at all".into();
    }
    platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ")
}
