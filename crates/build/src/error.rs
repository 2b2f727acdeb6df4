//! Why a build failed, with the place in the Dockerfile where it has one.

use std::path::PathBuf;
use std::time::Duration;

use kiln_graph::SourceSpan;
use kiln_sandbox::users::UserError;

use crate::client::SecretError;
use crate::context::ContextError;
use crate::diagnosis::Diagnosis;
use crate::file::{FileError, Guess};
use crate::tree::TreeError;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile is wrong, or cannot be built as asked: all that was found, at least one.
    #[error("{}", first(.0))]
    Dockerfile(Vec<kiln_dockerfile::Error>),
    /// A base image cannot be had.
    #[error("{name}: {reason}")]
    Base {
        /// The image as the Dockerfile names it.
        name: String,
        /// Why not, in one or more lines.
        reason: String,
        /// Where it is named.
        span: Option<SourceSpan>,
    },
    /// A context cannot be read.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A step failed.
    #[error(transparent)]
    Step(#[from] Box<StepError>),
    /// Several steps failed, in this order, as nothing that could go on was to be given up.
    #[error("{} steps failed", .0.len())]
    Steps(Vec<StepError>),
    /// The result cannot be written.
    #[error("exporting the result failed: {0}")]
    Export(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
    /// A cache that was to be written cannot be.
    #[error("cannot export the cache to {place}: {reason}")]
    CacheExport {
        /// Where, without credentials.
        place: String,
        /// Why not.
        reason: String,
    },
    /// Nobody waits for it any more.
    #[error("the build was cancelled")]
    Cancelled,
    /// A mistake of kiln's.
    #[error("internal error: {0}")]
    Internal(String),
}

fn first(errors: &[kiln_dockerfile::Error]) -> String {
    errors.first().map(ToString::to_string).unwrap_or_default()
}

impl From<kiln_dockerfile::Error> for BuildError {
    fn from(error: kiln_dockerfile::Error) -> Self {
        BuildError::Dockerfile(vec![error])
    }
}

/// Why a step failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{problem}")]
pub struct StepError {
    /// The step as it is shown, such as `[2/3] RUN make`.
    pub name: String,
    /// Where it stands.
    pub span: Option<SourceSpan>,
    /// What went wrong.
    pub problem: StepProblem,
    /// The step's whole output on disk.
    pub log: Option<PathBuf>,
}

/// What went wrong in a step.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StepProblem {
    /// The process of a RUN ended with something else than 0.
    #[error("process {command:?} did not complete successfully: exit code: {code}")]
    Exit {
        /// The command line.
        command: String,
        /// Its exit code; 128 + n for signal n.
        code: i32,
        /// What the runtime said of a process that did not start.
        note: Option<String>,
        /// Its last words, and why it may have failed.
        diagnosis: Box<Diagnosis>,
    },
    /// The process of a RUN was killed as it did not end in its time.
    #[error("process {command:?} was killed: it did not end within {limit:?}, the limit of a step's time")]
    TimedOut {
        /// The command line.
        command: String,
        /// How long it might have run.
        limit: Duration,
        /// Its last words.
        diagnosis: Box<Diagnosis>,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
    /// Something that the kernel refused, in words.
    #[error("{message}")]
    System {
        /// What failed, and why.
        message: String,
        /// The kernel's reason, a number of `errno`.
        code: i32,
    },
    /// The caller has no secret of that id, and the step needs it.
    #[error("secret {0}: not found")]
    MissingSecret(String),
    /// The caller has no SSH agent of that id, and the step needs it.
    #[error("no SSH key {0:?} forwarded from the client")]
    MissingSshAgent(String),
    /// No specification of this machine describes a device that the step needs.
    #[error("required device {name:?} is not registered")]
    MissingDevice {
        /// The device, or a kind of devices.
        name: String,
        /// Specifications that cannot be read, a line each.
        faults: Vec<String>,
    },
    /// The step wants more than the caller allowed.
    #[error("{0} is not allowed")]
    NotAllowed(Entitlement),
    /// A user or group that the step names is not to be had.
    #[error(transparent)]
    User(UserError),
    /// Who builds may not read a file or directory of a context, in words.
    #[error("{0}")]
    UnreadableContext(String),
    /// A source of a copy is not there.
    #[error("{message}")]
    MissingSource {
        /// In BuildKit's words.
        message: String,
        /// Which, without a leading slash.
        path: String,
        /// What may have been meant.
        guess: Option<Box<Guess>>,
    },
    /// A layer that a cache elsewhere promised is gone or damaged there.
    #[error("layer {diff_id} of a cache cannot be had: {reason}")]
    LostLayer {
        /// The layer.
        diff_id: kiln_oci::Digest,
        /// What the last place that was asked said.
        reason: String,
    },
    /// Not supported yet.
    #[error("{0} is not supported yet")]
    Unsupported(String),
    /// Nobody waits for it any more.
    #[error("cancelled")]
    Cancelled,
}

/// What a step may do only when the caller allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entitlement {
    /// `network.host`
    HostNetwork,
    /// `security.insecure`
    Insecure,
    /// `device=NAME`
    Device(String),
}

impl std::fmt::Display for Entitlement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Entitlement::HostNetwork => f.write_str("network.host"),
            Entitlement::Insecure => f.write_str("security.insecure"),
            Entitlement::Device(name) => write!(f, "device={name}"),
        }
    }
}

/// Any error, in its own words; what the kernel refused keeps its reason.
impl From<&(dyn std::error::Error + 'static)> for StepProblem {
    fn from(error: &(dyn std::error::Error + 'static)) -> Self {
        let message = chain(error);
        match errno(error) {
            Some(code) => StepProblem::System { message, code },
            None => StepProblem::Other(message),
        }
    }
}

impl From<FileError> for StepProblem {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Cancelled => StepProblem::Cancelled,
            FileError::NotFound { ref path, ref guess } | FileError::NoSuchDirectory { ref path, ref guess } => {
                let (path, guess) = (path.clone(), guess.clone());
                StepProblem::MissingSource { message: error.to_string(), path, guess }
            }
            FileError::User(user) => StepProblem::User(user),
            FileError::Tree(TreeError::Context(context)) => StepProblem::from(context),
            FileError::Store(ref store) | FileError::Tree(TreeError::Store(ref store)) => {
                StepProblem::from(&**store as &(dyn std::error::Error + 'static))
            }
            other => StepProblem::from(&other as &(dyn std::error::Error + 'static)),
        }
    }
}

impl From<ContextError> for StepProblem {
    fn from(error: ContextError) -> Self {
        match error {
            ContextError::Entry { code: Some(code), .. } if denies(code) => {
                StepProblem::UnreadableContext(error.to_string())
            }
            other => StepProblem::from(&other as &(dyn std::error::Error + 'static)),
        }
    }
}

impl From<kiln_sandbox::Error> for StepProblem {
    fn from(error: kiln_sandbox::Error) -> Self {
        match error {
            kiln_sandbox::Error::User(user) => StepProblem::User(user),
            other => StepProblem::from(&other as &(dyn std::error::Error + 'static)),
        }
    }
}

fn denies(code: i32) -> bool {
    let error = rustix::io::Errno::from_raw_os_error(code);
    error == rustix::io::Errno::ACCESS || error == rustix::io::Errno::PERM
}

/// Errors that become a problem in their own words, so that `?` takes them.
macro_rules! in_its_own_words {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for StepProblem {
            fn from(error: $error) -> Self {
                StepProblem::from(&error as &(dyn std::error::Error + 'static))
            }
        }
    )+};
}

in_its_own_words!(
    SecretError,
    kiln_images::export::ExportError,
    kiln_images::pack::PackError,
    kiln_images::pull::PullError,
    kiln_store::Error,
    serde_json::Error,
);

/// The kernel's reason, a number of `errno`, if an error has one below it.
pub fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let of_std = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        let of_rustix = error.downcast_ref::<rustix::io::Errno>().map(|errno| errno.raw_os_error());
        if let Some(code) = of_std.or(of_rustix) {
            return Some(code);
        }
        cause = error.source();
    }
    None
}

/// An error with what caused it, joined by colons; causes that the text says already are left out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
