//! What can be reported.

use std::time::{SystemTime, UNIX_EPOCH};

use kiln_oci::Digest;
use serde::Serialize;

/// Names a task within one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct TaskId(pub u64);

/// Nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time now; 0 if the clock stands before 1970.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Seconds from `earlier` to `self`, 0 if the clock went back.
    pub fn seconds_since(self, earlier: Timestamp) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1e9
    }
}

/// Where output of a step came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "outcome", content = "detail")]
pub enum Outcome {
    /// It did its work.
    Done,
    /// Its result was there already.
    Cached,
    /// It failed; the text says why, in one or more lines.
    Failed(String),
    /// Nobody waited for it any more.
    Cancelled,
}

/// Something that a user should know though nothing failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// One line.
    pub short: String,
    /// Further lines: the source with a caret, a hint.
    pub detail: Vec<String>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A task is known and may start some time.
    Announced {
        /// The task.
        task: TaskId,
        /// What a user reads, such as `[2/5] RUN make`.
        name: String,
        /// The digest of the vertex in the build graph, where the task is one.
        digest: Option<Digest>,
        /// The task that this one is a part of.
        parent: Option<TaskId>,
    },
    /// A task does its work from now on.
    Started {
        /// The task.
        task: TaskId,
        /// When.
        at: Timestamp,
    },
    /// A task waits for something, such as another build that runs the same step.
    Waiting {
        /// The task.
        task: TaskId,
        /// For what.
        reason: String,
    },
    /// How far a task is.
    Progress {
        /// The task.
        task: TaskId,
        /// Bytes done.
        current: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
    },
    /// Output of a task, in pieces that need not end at line ends.
    Log {
        /// The task.
        task: TaskId,
        /// From where.
        stream: Stream,
        /// When.
        at: Timestamp,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A warning, of a task or of the whole.
    Warned {
        /// The task.
        task: Option<TaskId>,
        /// What.
        warning: Warning,
    },
    /// A task ended; nothing more comes of it.
    Finished {
        /// The task.
        task: TaskId,
        /// When.
        at: Timestamp,
        /// How.
        outcome: Outcome,
    },
}
