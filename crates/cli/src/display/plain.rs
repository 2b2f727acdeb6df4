//! Progress as plain lines: `#N` is the task, its output lines carry the seconds since it started.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use kiln_progress::{Event, Outcome, Receiver, TaskId, Timestamp};

/// One event as a line of JSON.
pub(super) fn raw_json(event: Event) {
    if let Ok(line) = serde_json::to_string(&event) {
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }
}

/// Progress as plain lines on the standard error.
pub(super) struct Plain {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tasks: HashMap<TaskId, Shown>,
    next: usize,
    last: Option<usize>,
}

struct Shown {
    name: String,
    /// Given when something of the task is shown first.
    number: Option<usize>,
    started: Option<Timestamp>,
    /// The beginning of a line whose end did not come yet.
    partial: Vec<u8>,
    part: bool,
}

impl Plain {
    pub(super) fn new() -> Self {
        Plain { state: Mutex::default() }
    }
}

impl Receiver for Plain {
    fn receive(&self, event: Event) {
        let mut lines = Vec::new();
        self.state.lock().unwrap_or_else(PoisonError::into_inner).take(event, &mut lines);
        if !lines.is_empty() {
            // A closed standard error is no reason to fail.
            let _ = std::io::stderr().lock().write_all(&lines);
        }
    }
}

impl State {
    fn take(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Announced { task, name, parent, .. } => {
                let shown = Shown { name, number: None, started: None, partial: Vec::new(), part: parent.is_some() };
                self.tasks.insert(task, shown);
            }
            Event::Started { task, at } => {
                if let Some(shown) = self.tasks.get_mut(&task) {
                    shown.started = Some(at);
                }
                self.heading(task, out);
            }
            Event::Waiting { task, reason } => self.line(task, &format!("... {reason}"), out),
            Event::Progress { .. } => {}
            Event::Log { task, at, bytes, .. } => self.log(task, at, &bytes, out),
            Event::Warned { task, warning } => match task {
                Some(task) => self.line(task, &format!("WARNING: {}", warning.short), out),
                None => out.extend(format!("WARNING: {}\n", warning.short).into_bytes()),
            },
            Event::Finished { task, at, outcome } => self.finished(task, at, &outcome, out),
        }
    }

    /// The number of a task; its name is shown the first time, and again when another was shown between.
    fn heading(&mut self, task: TaskId, out: &mut Vec<u8>) -> Option<usize> {
        let shown = self.tasks.get_mut(&task).filter(|shown| !shown.part)?;
        let first = shown.number.is_none();
        let number = *shown.number.get_or_insert_with(|| {
            self.next += 1;
            self.next
        });
        if first || self.last != Some(number) {
            if self.last.is_some() {
                out.push(b'\n');
            }
            out.extend(format!("#{number} {}\n", shown.name).into_bytes());
        }
        self.last = Some(number);
        Some(number)
    }

    fn line(&mut self, task: TaskId, text: &str, out: &mut Vec<u8>) {
        if let Some(number) = self.heading(task, out) {
            out.extend(format!("#{number} {text}\n").into_bytes());
        }
    }

    fn log(&mut self, task: TaskId, at: Timestamp, bytes: &[u8], out: &mut Vec<u8>) {
        let Some(shown) = self.tasks.get_mut(&task) else { return };
        let seconds = shown.started.map_or(0.0, |started| at.seconds_since(started));
        shown.partial.extend_from_slice(bytes);
        let Some(end) = shown.partial.iter().rposition(|byte| *byte == b'\n') else { return };
        let rest = shown.partial.split_off(end + 1);
        let whole = std::mem::replace(&mut shown.partial, rest);
        self.log_lines(task, seconds, &whole[..end], out);
    }

    fn log_lines(&mut self, task: TaskId, seconds: f64, text: &[u8], out: &mut Vec<u8>) {
        let Some(number) = self.heading(task, out) else { return };
        for line in text.split(|byte| *byte == b'\n') {
            out.extend(format!("#{number} {seconds:.3} ").into_bytes());
            out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            out.push(b'\n');
        }
    }

    fn finished(&mut self, task: TaskId, at: Timestamp, outcome: &Outcome, out: &mut Vec<u8>) {
        let Some(shown) = self.tasks.get_mut(&task) else { return };
        let seconds = shown.started.map_or(0.0, |started| at.seconds_since(started));
        let partial = std::mem::take(&mut shown.partial);
        if !partial.is_empty() {
            self.log_lines(task, seconds, &partial, out);
        }
        match outcome {
            Outcome::Done => self.line(task, &format!("DONE {seconds:.1}s"), out),
            Outcome::Cached => self.line(task, "CACHED", out),
            Outcome::Failed(reason) => self.line(task, &format!("ERROR: {}", reason.lines().next().unwrap_or("")), out),
            Outcome::Cancelled => self.line(task, "CANCELED", out),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kiln_progress::{Sink, Stream};

    use super::*;

    #[test]
    fn output_is_shown_line_by_line_under_its_task() {
        let state = Arc::new(Mutex::new((State::default(), Vec::new())));
        let copy = Arc::clone(&state);
        let sink = Sink::new(Arc::new(move |event| {
            let (state, out) = &mut *copy.lock().unwrap();
            state.take(event, out);
        }));
        let (first, second) = (sink.task("[1/2] FROM busybox"), sink.task("[2/2] RUN x"));
        first.finish(Outcome::Cached);
        second.log(Stream::Stdout, b"one\ntw");
        second.log(Stream::Stdout, b"o\nthree");
        second.finish(Outcome::Done);
        let text = String::from_utf8(state.lock().unwrap().1.clone()).unwrap();
        let want = "#1 [1/2] FROM busybox\n#1 CACHED\n\n#2 [2/2] RUN x\n#2 0.000 one\n#2 0.000 two\n#2 0.000 three\n#2 DONE 0.0s\n";
        assert_eq!(text, want);
    }
}
