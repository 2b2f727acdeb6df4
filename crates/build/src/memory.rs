//! How many steps may run at once for the memory that there is: as many as were asked for, fewer while memory is
//! short. Looked at before another step begins; those that run are let be.

use std::sync::atomic::{AtomicBool, Ordering};

use kiln_progress::{Sink, Warning};
use kiln_runtime::Memory;
use kiln_solver::Room;

/// What a step is expected to take at first, in bytes.
const STEP: u64 = 64 << 20;
/// What is left for everything else, in bytes.
const RESERVE: u64 = 128 << 20;
/// The share of time waiting for memory, in percent, from which on nothing more is begun.
const PRESSURE: f64 = 20.0;

/// Watches the memory of this machine, and of the control groups that kiln is in.
pub(crate) struct MemoryRoom {
    progress: Sink,
    /// The most that a step may take, if that is limited.
    step_limit: Option<u64>,
    told: AtomicBool,
}

impl MemoryRoom {
    /// Says on `progress`, once, when something has to wait.
    pub(crate) fn new(progress: Sink, step_limit: Option<u64>) -> Self {
        MemoryRoom { progress, step_limit, told: AtomicBool::new(false) }
    }
}

impl Room for MemoryRoom {
    fn most(&self, running: usize) -> usize {
        most(running, &Memory::now(), self.step_limit)
    }

    fn held_back(&self, running: usize) {
        if self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        let Memory { available, pressure, .. } = Memory::now();
        let left = available.map(|bytes| format!("{} MiB are available", bytes >> 20));
        let waits = pressure.filter(|share| *share >= PRESSURE);
        let waits = waits.map(|share| format!("processes wait for it {share:.0}% of the time"));
        let why: Vec<String> = left.into_iter().chain(waits).collect();
        let short = format!(
            "memory is short ({}): no more than {running} steps run at once for now; --jobs sets another limit",
            why.join(", ")
        );
        self.progress.warn(Warning { short, detail: Vec::new() });
    }
}

/// How many may run at once, where `running` do already and memory is as `memory` says. What is not known is taken for
/// enough.
fn most(running: usize, memory: &Memory, step_limit: Option<u64>) -> usize {
    if memory.pressure.is_some_and(|share| share >= PRESSURE) {
        return running;
    }
    let Some(available) = memory.available else { return usize::MAX };
    let step = step_limit.map_or(STEP, |limit| limit.clamp(1, STEP));
    let further = available.saturating_sub(RESERVE) / step;
    running.saturating_add(usize::try_from(further).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_memory_the_fewer_begin() {
        let memory = |megabytes: u64| Memory { available: Some(megabytes << 20), ..Memory::default() };
        assert_eq!(most(0, &memory(128 + 64 * 64), None), 64);
        assert_eq!(most(5, &memory(128 + 2 * 64), None), 7);
        assert_eq!(most(5, &memory(128 + 63), None), 5);
        assert_eq!(most(5, &memory(0), None), 5);
        // Steps that may not take more need less room.
        assert_eq!(most(0, &memory(128 + 64), Some(16 << 20)), 4);
        assert_eq!(most(0, &memory(128 + 64), Some(0)), 64 << 20);
        assert_eq!(most(3, &Memory::default(), None), usize::MAX);
    }

    #[test]
    fn nothing_begins_while_processes_wait_for_memory() {
        let strained = Memory { available: Some(8 << 30), pressure: Some(35.0), kills: None };
        assert_eq!(most(9, &strained, None), 9);
    }
}
