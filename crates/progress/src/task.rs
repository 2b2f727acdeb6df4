//! Reporting: a sink for events, and tasks as handles on it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_oci::Digest;

use crate::{Event, Outcome, Stream, TaskId, Timestamp, Warning};

/// Takes events, from any thread; must not block for long.
pub trait Receiver: Send + Sync {
    /// One event. Those of one task come in order.
    fn receive(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> Receiver for F {
    fn receive(&self, event: Event) {
        self(event);
    }
}

/// Where events go; cheap to clone.
#[derive(Clone)]
pub struct Sink {
    receiver: Option<Arc<dyn Receiver>>,
    next: Arc<AtomicU64>,
}

impl Sink {
    /// A sink that hands events to `receiver`.
    pub fn new(receiver: Arc<dyn Receiver>) -> Self {
        Sink { receiver: Some(receiver), next: Arc::default() }
    }

    /// A sink that drops everything.
    pub fn none() -> Self {
        Sink { receiver: None, next: Arc::default() }
    }

    /// Announces a task that a user reads as `name`.
    pub fn task(&self, name: impl Into<String>) -> Task {
        self.announce(name.into(), None, None)
    }

    /// Announces a task for the vertex `digest` of a build graph.
    pub fn vertex(&self, name: impl Into<String>, digest: Digest) -> Task {
        self.announce(name.into(), Some(digest), None)
    }

    /// A warning that belongs to no task.
    pub fn warn(&self, warning: Warning) {
        self.send(Event::Warned { task: None, warning });
    }

    fn announce(&self, name: String, digest: Option<Digest>, parent: Option<TaskId>) -> Task {
        let id = TaskId(self.next.fetch_add(1, Ordering::Relaxed));
        self.send(Event::Announced { task: id, name, digest, parent });
        Task { sink: self.clone(), id }
    }

    fn send(&self, event: Event) {
        if let Some(receiver) = &self.receiver {
            receiver.receive(event);
        }
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sink({})", if self.receiver.is_some() { "on" } else { "off" })
    }
}

/// A task, for the one who works on it; cheap to clone.
#[derive(Clone, Debug)]
pub struct Task {
    sink: Sink,
    id: TaskId,
}

impl Task {
    /// The task's id in events.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Announces a part of this task.
    pub fn part(&self, name: impl Into<String>) -> Task {
        self.sink.announce(name.into(), None, Some(self.id))
    }

    /// The work starts now.
    pub fn start(&self) {
        self.sink.send(Event::Started { task: self.id, at: Timestamp::now() });
    }

    /// The work waits for something.
    pub fn wait(&self, reason: impl Into<String>) {
        self.sink.send(Event::Waiting { task: self.id, reason: reason.into() });
    }

    /// `current` of `total` bytes are done.
    pub fn progress(&self, current: u64, total: Option<u64>) {
        self.sink.send(Event::Progress { task: self.id, current, total });
    }

    /// Output of the work.
    pub fn log(&self, stream: Stream, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        self.sink.send(Event::Log { task: self.id, stream, at: Timestamp::now(), bytes });
    }

    /// A warning about the work.
    pub fn warn(&self, warning: Warning) {
        self.sink.send(Event::Warned { task: Some(self.id), warning });
    }

    /// The work ended. Call it once.
    pub fn finish(&self, outcome: Outcome) {
        self.sink.send(Event::Finished { task: self.id, at: Timestamp::now(), outcome });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn events_of_a_task_arrive_in_order_with_its_id() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let copy = Arc::clone(&seen);
        let sink = Sink::new(Arc::new(move |event| copy.lock().unwrap().push(event)));
        let task = sink.task("pull");
        let part = task.part("layer");
        part.progress(1, Some(2));
        task.finish(Outcome::Done);
        let seen = seen.lock().unwrap();
        assert!(matches!(&seen[1], Event::Announced { parent: Some(p), .. } if *p == task.id()));
        assert!(matches!(seen[2], Event::Progress { task, current: 1, total: Some(2) } if task == part.id()));
        assert!(matches!(&seen[3], Event::Finished { outcome: Outcome::Done, .. }));
    }
}
