//! The typed events that everything long-running reports.
//!
//! Work is a set of *tasks*: a build step, the pull of a layer, an export. Whoever does the work holds a
//! [`Task`] and reports through it; whoever shows it implements [`Receiver`]. This crate does not know how
//! events are shown, stored or sent.

mod event;
mod task;

pub use event::{Event, Outcome, Stream, TaskId, Timestamp, Warning};
pub use task::{Receiver, Sink, Task};
