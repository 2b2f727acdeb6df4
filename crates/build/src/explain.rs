//! Why steps ran or did not: what differs from the nearest earlier build of the same Dockerfile.
//!
//! While a build runs, its [`Trace`] notes what becomes known of each step. At its end [`report`] makes a document of
//! it: each step that ran is compared ([`judge`]) with its counterpart ([`align`]) in the nearest earlier build
//! ([`nearest`]), first by what it is itself made of ([`compare`]), then by the steps that it works on ([`below`]).
//! Nothing here is on the way of a build without a miss but writing that document.

mod align;
mod below;
mod compare;
mod document;
mod earlier;
mod judge;
mod nearest;
mod report;
mod texts;
mod trace;

pub use document::{
    BaseCause, BaseImage, BuildOutcome, ComparedWith, ExplainedBuild, ExplainedStep, FileAspect, HitKind, Novelty,
    Position, Reason, StepResult,
};
pub(crate) use report::{About, report};
pub(crate) use texts::Texts;
pub(crate) use trace::{Ended, Ran, Trace};

/// The input that is the instruction as written.
pub(crate) const INSTRUCTION: &str = "instruction";
/// The input that says how faithfully processes run.
pub(crate) const FIDELITY: &str = "fidelity";
/// Begins the name of an input that is a variable of a process.
pub(crate) const ENVIRONMENT: &str = "environment ";
/// The input that is the order of a process's variables.
pub(crate) const ORDER: &str = "order of variables";
/// Begins the name of an input that is a variable which the instruction's text names.
pub(crate) const USED_VARIABLE: &str = "variable ";
/// Begins the name of an input that is some other part of the operation.
pub(crate) const SETTING: &str = "setting ";
/// Begins the name of an input that is the list of files taken from a context: a number and the context's name follow.
pub(crate) const FILES: &str = "files ";
