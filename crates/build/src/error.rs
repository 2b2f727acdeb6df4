//! Why a build failed, with the place in the Dockerfile where it has one.

use std::path::PathBuf;

use kiln_graph::SourceSpan;

use crate::context::ContextError;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile is wrong, or cannot be built as asked: all that was found, at least one.
    #[error("{}", first(.0))]
    Dockerfile(Vec<kiln_dockerfile::Error>),
    /// `# syntax=` names a frontend that is not the Dockerfile's own, and kiln runs no other.
    #[error("the syntax directive asks for the frontend {0}: frontends other than docker/dockerfile are not supported")]
    ForeignFrontend(String),
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
    /// The result cannot be written.
    #[error("exporting the result failed: {0}")]
    Export(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
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
        /// What is known beyond the code, such as that memory ran out.
        note: Option<String>,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
    /// Not supported yet.
    #[error("{0} is not supported yet")]
    Unsupported(String),
    /// Nobody waits for it any more.
    #[error("cancelled")]
    Cancelled,
}

impl StepProblem {
    /// Any error, in its own words.
    pub(crate) fn from_error(error: &dyn std::error::Error) -> Self {
        StepProblem::Other(chain(error))
    }
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
