//! What the process that runs a step tells those who wait for it: where its output goes, and that it failed.
//!
//! A failure is for who waits already; nobody who comes later hears of it. Only what the step itself did is handed
//! over: not what a limit, a full disk or the wishes of one caller did.

use std::path::PathBuf;

use kiln_graph::VertexId;
use kiln_progress::Stream;
use kiln_store::{Announcement, Following, Key};
use serde::{Deserialize, Serialize};

use super::Steps;
use crate::diagnosis::{Cause, Diagnosis};
use crate::error::StepProblem;

/// A line of an announcement.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    /// The step's output is in this file.
    Output(PathBuf),
    /// Its process failed.
    Failed { command: String, code: i32, diagnosis: Diagnosis },
}

/// A step that this process runs, as others see it; dropping it ends that.
pub(super) struct Announced(Option<Announcement>);

impl Announced {
    /// Tells that this process runs the step of that key, and where its output is. That nobody can be told is no
    /// reason to fail.
    pub(super) fn new(steps: &Steps, key: &Key, output: PathBuf) -> Self {
        let mut announced = Announced(steps.store.announce(&key.0).ok());
        announced.tell(&Told::Output(output));
        announced
    }

    /// Tells what became of it, if that holds for everybody.
    pub(super) fn ended<T>(mut self, result: &Result<T, StepProblem>) {
        let Err(StepProblem::Exit { command, code, note: None, diagnosis }) = result else { return };
        let by_chance = matches!(diagnosis.cause, Some(Cause::OutOfMemory { .. } | Cause::Killed | Cause::DiskFull));
        if !by_chance {
            let (command, diagnosis) = (command.clone(), Diagnosis::clone(diagnosis));
            self.tell(&Told::Failed { command, code: *code, diagnosis });
        }
    }

    fn tell(&mut self, told: &Told) {
        if let (Some(announcement), Ok(line)) = (&mut self.0, serde_json::to_string(told)) {
            let _ = announcement.tell(&line);
        }
    }
}

/// A step that another process runs, as one sees it who waits.
pub(crate) struct Handover {
    id: VertexId,
    key: Key,
    owner: Option<Owner>,
}

struct Owner {
    told: Following,
    /// The beginning of a line whose end did not come yet.
    partial: Vec<u8>,
    output: Option<(PathBuf, Following)>,
}

impl Handover {
    pub(crate) fn new(id: VertexId, key: Key) -> Self {
        Handover { id, key, owner: None }
    }

    /// Shows what came of the owner's output since the last time.
    ///
    /// # Errors
    /// The step's failure, where it failed.
    pub(crate) fn listen(&mut self, steps: &Steps) -> Result<(), StepProblem> {
        self.hear(steps)?;
        let Some(told) = steps.store.announced(&self.key.0)? else { return Ok(()) };
        if self.owner.as_ref().is_none_or(|owner| !owner.told.is_same(&told)) {
            self.owner = Some(Owner { told, partial: Vec::new(), output: None });
        }
        self.hear(steps)
    }

    fn hear(&mut self, steps: &Steps) -> Result<(), StepProblem> {
        let Some(owner) = &mut self.owner else { return Ok(()) };
        let told = owner.told();
        for line in &told {
            if let Told::Output(path) = line {
                owner.output = Following::open(path.clone()).ok().map(|output| (path.clone(), output));
            }
        }
        owner.show(&|bytes| steps.task(self.id).log(Stream::Stdout, bytes));
        for line in told {
            let Told::Failed { command, code, diagnosis } = line else { continue };
            if let Some((path, _)) = &owner.output {
                steps.has_log(self.id, path);
            }
            return Err(StepProblem::Exit { command, code, note: None, diagnosis: Box::new(diagnosis) });
        }
        Ok(())
    }
}

impl Owner {
    /// The lines that came since the last time. One that cannot be understood is of another version, and skipped.
    fn told(&mut self) -> Vec<Told> {
        while let Ok(bytes) = self.told.read()
            && !bytes.is_empty()
        {
            self.partial.extend(bytes);
        }
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let rest = self.partial.split_off(end + 1);
        let whole = std::mem::replace(&mut self.partial, rest);
        whole.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    fn show(&mut self, log: &dyn Fn(&[u8])) {
        let Some((_, output)) = &mut self.output else { return };
        while let Ok(bytes) = output.read()
            && !bytes.is_empty()
        {
            log(&bytes);
        }
    }
}
