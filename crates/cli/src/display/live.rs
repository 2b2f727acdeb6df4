//! Progress on a terminal: one line a task, redrawn in place, with the last lines of output below what runs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use console::{Term, style, truncate_str};
use kiln_progress::{Event, Outcome, Receiver, TaskId, Timestamp};

/// How many lines of output are shown below a running task.
const OUTPUT_LINES: usize = 6;
/// The least time between two redraws, in nanoseconds.
const REDRAW: u64 = 50_000_000;

/// Progress on the terminal of the standard error.
pub(super) struct Live {
    terminal: Term,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<TaskId, Shown>,
    /// Lines of the last drawing.
    drawn: usize,
    drawn_at: Option<Timestamp>,
    warnings: Vec<String>,
}

struct Shown {
    name: String,
    parent: Option<TaskId>,
    started: Option<Timestamp>,
    finished: Option<(Timestamp, Outcome)>,
    waiting: Option<String>,
    progress: Option<(u64, Option<u64>)>,
    output: VecDeque<String>,
    partial: String,
}

impl Live {
    pub(super) fn new() -> Self {
        Live { terminal: Term::stderr(), state: Mutex::default() }
    }

    /// Draws the last state and leaves it on the screen.
    pub(super) fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.draw(&self.terminal, true);
        for warning in state.warnings.drain(..) {
            let _ = self.terminal.write_line(&format!("{} {warning}", style("WARNING:").for_stderr().yellow()));
        }
    }
}

impl Receiver for Live {
    fn receive(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.take(event);
        let now = Timestamp::now();
        if state.drawn_at.is_none_or(|at| now.0.saturating_sub(at.0) > REDRAW) {
            state.drawn_at = Some(now);
            state.draw(&self.terminal, false);
        }
    }
}

impl State {
    fn take(&mut self, event: Event) {
        match event {
            Event::Announced { task, name, parent, .. } => {
                let shown = Shown {
                    name,
                    parent,
                    started: None,
                    finished: None,
                    waiting: None,
                    progress: None,
                    output: VecDeque::new(),
                    partial: String::new(),
                };
                self.tasks.insert(task, shown);
            }
            Event::Warned { warning, .. } => self.warnings.push(warning.short),
            Event::Started { task, at } => self.change(task, |shown| {
                shown.started = Some(at);
                shown.waiting = None;
            }),
            Event::Waiting { task, reason } => self.change(task, |shown| shown.waiting = Some(reason)),
            Event::Progress { task, current, total } => {
                self.change(task, |shown| shown.progress = Some((current, total)))
            }
            Event::Log { task, bytes, .. } => self.change(task, |shown| shown.log(&bytes)),
            Event::Finished { task, at, outcome } => self.change(task, |shown| shown.finished = Some((at, outcome))),
        }
    }

    fn change(&mut self, task: TaskId, change: impl FnOnce(&mut Shown)) {
        if let Some(shown) = self.tasks.get_mut(&task) {
            change(shown);
        }
    }

    fn draw(&mut self, terminal: &Term, last: bool) {
        let (height, width) = terminal.size();
        let mut lines = self.lines(last);
        let room = usize::from(height).saturating_sub(2).max(3);
        if !last && lines.len() > room {
            lines.drain(1..=lines.len() - room);
        }
        let _ = terminal.clear_last_lines(self.drawn);
        for line in &lines {
            let _ = terminal.write_line(&truncate_str(line, usize::from(width).max(20), "…"));
        }
        self.drawn = lines.len();
    }

    fn lines(&self, last: bool) -> Vec<String> {
        let now = Timestamp::now();
        let visible = || self.tasks.values().filter(|shown| shown.parent.is_none());
        let done = visible().filter(|shown| shown.finished.is_some()).count();
        let mut lines = vec![format!("[+] {done}/{} done", visible().count())];
        for shown in
            visible().filter(|shown| shown.started.is_some() || shown.finished.is_some() || shown.waiting.is_some())
        {
            lines.push(shown.line(now));
            if shown.finished.is_none() && !last {
                let output = shown.output.iter().map(|line| format!("     {}", style(line).for_stderr().dim()));
                lines.extend(output);
            }
        }
        lines
    }
}

impl Shown {
    fn log(&mut self, bytes: &[u8]) {
        self.partial.push_str(&String::from_utf8_lossy(bytes));
        while let Some(end) = self.partial.find('\n') {
            let line: String = self.partial.drain(..=end).filter(|c| !c.is_control()).collect();
            self.output.push_back(line);
            if self.output.len() > OUTPUT_LINES {
                self.output.pop_front();
            }
        }
    }

    fn line(&self, now: Timestamp) -> String {
        let seconds = |end: Timestamp| self.started.map_or(0.0, |started| end.seconds_since(started));
        let (mark, name, time) = match &self.finished {
            Some((_, Outcome::Cached)) => ("=>", format!("CACHED {}", self.name), 0.0),
            Some((_, Outcome::Cancelled)) => ("=>", format!("CANCELED {}", self.name), 0.0),
            Some((at, Outcome::Failed(_))) => ("=>", format!("ERROR {}", self.name), seconds(*at)),
            Some((at, Outcome::Done)) => ("=>", self.name.clone(), seconds(*at)),
            None => ("=>", format!("{}{}", self.name, self.remark()), seconds(now)),
        };
        let text = format!(" {mark} {name}  {time:.1}s");
        match &self.finished {
            Some((_, Outcome::Failed(_))) => style(text).for_stderr().red().to_string(),
            Some(_) => style(text).for_stderr().blue().to_string(),
            None => text,
        }
    }

    fn remark(&self) -> String {
        match (&self.waiting, self.progress) {
            (Some(reason), _) => format!(" ({reason})"),
            (None, Some((current, Some(total)))) if total > 0 => format!(" {}%", current * 100 / total),
            _ => String::new(),
        }
    }
}
