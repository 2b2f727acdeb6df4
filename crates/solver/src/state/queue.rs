//! Who gets the next slot: executions that wait for one, by job and by lane of the job.
//!
//! A job with a thousand executions ready must not keep others waiting, nor a wide stage the rest of its job. So the
//! next slot is for the job with the fewest executions under way, and of that for the lane with the fewest; among
//! equals for whom was served longest ago, where one that comes anew counts as served just now. Within a lane the
//! order is that of coming. Knows neither vertices nor keys.

use std::collections::{BTreeMap, VecDeque};

use crate::graph::Lane;
use crate::protocol::JobId;

/// Whose execution it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) job: JobId,
    pub(super) lane: Lane,
}

/// Executions under way, and those that wait.
#[derive(Debug)]
pub(super) struct Queue<K> {
    /// The most at once that was asked for.
    slots: usize,
    /// The most at once that there is room for now.
    room: usize,
    running: usize,
    jobs: BTreeMap<JobId, JobShare<K>>,
    turn: u64,
}

#[derive(Debug)]
struct JobShare<K> {
    running: usize,
    waiting: usize,
    served: u64,
    lanes: BTreeMap<Lane, LaneShare<K>>,
}

#[derive(Debug)]
struct LaneShare<K> {
    running: usize,
    served: u64,
    waiting: VecDeque<K>,
}

impl<K: PartialEq> Queue<K> {
    /// Nothing runs, nothing waits.
    pub(super) fn new(slots: usize) -> Self {
        Queue { slots, room: slots, running: 0, jobs: BTreeMap::new(), turn: 0 }
    }

    /// How many executions are under way.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Whether something waits although a slot is free: for room.
    pub(super) fn is_held_back(&self) -> bool {
        self.running < self.slots && self.jobs.values().any(|job| job.waiting > 0)
    }

    /// From now on so many may run at once, and always one.
    pub(super) fn set_room(&mut self, room: usize) {
        self.room = room.max(1);
    }

    /// Takes an execution in.
    pub(super) fn push(&mut self, place: Place, key: K) {
        self.turn += 1;
        let served = self.turn;
        let new = || JobShare { running: 0, waiting: 0, served, lanes: BTreeMap::new() };
        let job = self.jobs.entry(place.job).or_insert_with(new);
        job.waiting += 1;
        let new = || LaneShare { running: 0, served, waiting: VecDeque::new() };
        job.lanes.entry(place.lane).or_insert_with(new).waiting.push_back(key);
    }

    /// Takes an execution that still waits out again.
    pub(super) fn remove(&mut self, place: Place, key: &K) {
        let Some(job) = self.jobs.get_mut(&place.job) else { return };
        let Some(lane) = job.lanes.get_mut(&place.lane) else { return };
        let before = lane.waiting.len();
        lane.waiting.retain(|waiting| waiting != key);
        job.waiting -= before - lane.waiting.len();
        self.forget_idle(place);
    }

    /// The execution that is to begin now, if there is a slot and room; it counts as under way until
    /// [`end`](Self::end).
    pub(super) fn begin(&mut self) -> Option<(Place, K)> {
        if self.running >= self.slots.min(self.room) {
            return None;
        }
        let waiting = self.jobs.iter_mut().filter(|(_, job)| job.waiting > 0);
        let (job_id, job) = waiting.min_by_key(|(_, job)| (job.running, job.served))?;
        let waiting = job.lanes.iter_mut().filter(|(_, lane)| !lane.waiting.is_empty());
        let (lane_id, lane) = waiting.min_by_key(|(_, lane)| (lane.running, lane.served))?;
        let key = lane.waiting.pop_front()?;
        self.turn += 1;
        (job.served, lane.served) = (self.turn, self.turn);
        job.waiting -= 1;
        job.running += 1;
        lane.running += 1;
        self.running += 1;
        Some((Place { job: *job_id, lane: *lane_id }, key))
    }

    /// An execution is over.
    pub(super) fn end(&mut self, place: Place) {
        let Some(job) = self.jobs.get_mut(&place.job) else { return };
        let Some(lane) = job.lanes.get_mut(&place.lane) else { return };
        lane.running -= 1;
        job.running -= 1;
        self.running -= 1;
        self.forget_idle(place);
    }

    fn forget_idle(&mut self, place: Place) {
        let Some(job) = self.jobs.get_mut(&place.job) else { return };
        if job.lanes.get(&place.lane).is_some_and(|lane| lane.running == 0 && lane.waiting.is_empty()) {
            job.lanes.remove(&place.lane);
        }
        if job.lanes.is_empty() {
            self.jobs.remove(&place.job);
        }
    }

    /// For each place that has any: how many are under way, and how many wait.
    #[cfg(test)]
    pub(crate) fn census(&self) -> BTreeMap<(JobId, Lane), (usize, usize)> {
        let lanes = self.jobs.iter().flat_map(|(job, share)| share.lanes.iter().map(|(lane, of)| (*job, *lane, of)));
        lanes.map(|(job, lane, of)| ((job, lane), (of.running, of.waiting.len()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(job: u64, lane: u32) -> Place {
        Place { job: JobId(job), lane: Lane(lane) }
    }

    /// Who is served when each execution ends before the next begins.
    fn one_by_one(queue: &mut Queue<u32>) -> Vec<(u64, u32)> {
        let mut served = Vec::new();
        while let Some((place, _)) = queue.begin() {
            served.push((place.job.0, place.lane.0));
            queue.end(place);
        }
        served
    }

    #[test]
    fn a_wide_stage_takes_turns_with_a_narrow_one() {
        let mut queue = Queue::new(1);
        (0..4).for_each(|key| queue.push(place(0, 7), key));
        (4..6).for_each(|key| queue.push(place(0, 8), key));
        assert_eq!(one_by_one(&mut queue), [(0, 7), (0, 8), (0, 7), (0, 8), (0, 7), (0, 7)]);
    }

    #[test]
    fn a_job_that_comes_late_gets_the_next_free_slot() {
        let mut queue = Queue::new(2);
        (0..10).for_each(|key| queue.push(place(0, 0), key));
        let (first, _) = queue.begin().unwrap();
        queue.begin().unwrap();
        assert!(queue.begin().is_none());
        queue.push(place(1, 0), 10);
        queue.end(first);
        assert_eq!(queue.begin().unwrap(), (place(1, 0), 10));
    }

    #[test]
    fn the_next_is_for_whom_runs_least_although_it_was_served_last() {
        let mut queue = Queue::new(2);
        (0..3).for_each(|key| queue.push(place(0, 1), key));
        queue.push(place(1, 5), 3);
        for lane in [place(0, 1), place(1, 5)] {
            assert_eq!(queue.begin().unwrap().0, lane);
        }
        queue.end(place(1, 5));
        queue.push(place(1, 5), 4);
        assert_eq!(queue.begin().unwrap().0, place(1, 5), "of jobs");
        let mut queue = Queue::new(3);
        (0..3).for_each(|key| queue.push(place(0, 1), key));
        queue.begin().unwrap();
        queue.begin().unwrap();
        queue.push(place(0, 2), 3);
        assert_eq!(queue.begin().unwrap().0, place(0, 2));
        queue.end(place(0, 2));
        queue.push(place(0, 2), 4);
        assert_eq!(queue.begin().unwrap().0, place(0, 2), "of lanes");
    }

    #[test]
    fn who_comes_again_and_again_does_not_overtake_who_waits() {
        let mut queue = Queue::new(1);
        queue.push(place(0, 1), 0);
        queue.push(place(0, 1), 1);
        queue.push(place(0, 2), 2);
        let mut served = Vec::new();
        for key in 3..6 {
            let (place_of, _) = queue.begin().unwrap();
            served.push(place_of.lane.0);
            queue.end(place_of);
            queue.push(place(0, 2), key);
        }
        assert_eq!(served, [1, 2, 1]);
    }

    #[test]
    fn without_room_one_runs_all_the_same() {
        let mut queue = Queue::new(3);
        (0..3).for_each(|key| queue.push(place(0, 0), key));
        queue.set_room(0);
        assert!(queue.begin().is_some());
        assert!(queue.begin().is_none() && queue.is_held_back());
        queue.set_room(2);
        assert!(queue.begin().is_some());
        assert!(queue.begin().is_none());
    }
}
