//! Keeping the store within limits, without being asked: beside a build and after it.
//!
//! One process collects at a time. Whether there is anything to do is decided from sums of rows and one look at the
//! disk; sizes are measured only where they count.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::holdings::Holdings;
use super::plan::{self, Goal};
use super::{Freed, collecting_key, execute};
use crate::database::now;
use crate::error::{Error, Result};
use crate::evictions::EvictionCause;
use crate::locks::{LockGuard, Sharing};
use crate::measure;
use crate::partial;
use crate::store::Inner;

/// How long a collector waits for another one that is at work.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the store may take. Without any of these nothing is ever collected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that the store may take on disk, without containers and volumes.
    pub quota: Option<u64>,
    /// Bytes of the disk that shall stay free.
    pub keep_free: Option<u64>,
    /// What was used within this time stays if it is only about `keep_free`, and goes last if it is about the quota.
    pub keep_newer_than: Option<Duration>,
    /// Bytes that all cache mounts together may take.
    pub cache_mounts: Option<u64>,
}

/// What a collector did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// What went.
    pub freed: Freed,
    /// Bytes that the store takes beyond its quota, for what may not go needs them.
    pub over_quota: Option<u64>,
}

/// Brings the store within its limits, as far as what nobody needs allows. `grown_only`: has a look at the quota only
/// if this session put anything into the store since it last collected.
pub(crate) fn collect(store: &Arc<Inner>, limits: &Limits, grown_only: bool) -> Result<Collected> {
    // Asked only here, for whoever looks at no quota must not answer for whoever does.
    let looks = !grown_only || store.recency.take_grown();
    let within = Limits { quota: limits.quota.filter(|_| looks), ..*limits };
    let within = Limits { cache_mounts: within.cache_mounts.filter(|_| looks), ..within };
    if !may_be_beyond(store, &within)? {
        return Ok(Collected::default());
    }
    let Some(_alone) = alone(store)? else { return Ok(Collected::default()) };
    let mut collector = Collector { store, limits: &within, busy: HashSet::new(), collected: Collected::default() };
    collector.cache_mounts()?;
    collector.quota()?;
    collector.free_space()?;
    Ok(collector.collected)
}

/// Waits for another collector, for what this session made may not be part of its plan.
fn alone(store: &Inner) -> Result<Option<LockGuard>> {
    let began = Instant::now();
    match store.locks.acquire(collecting_key(), Sharing::Exclusive, &|| began.elapsed() > PATIENCE) {
        Err(Error::Cancelled) => Ok(None),
        answer => answer.map(Some),
    }
}

/// A quick look: false if all limits are certainly kept.
fn may_be_beyond(store: &Inner, limits: &Limits) -> Result<bool> {
    let keep_free = limits.keep_free.unwrap_or_default();
    if keep_free > 0 && measure::disk(store)?.0 < keep_free {
        return Ok(true);
    }
    if limits.cache_mounts.is_some() && !crate::cache_mounts::names(store)?.is_empty() {
        return Ok(true);
    }
    let Some(quota) = limits.quota else { return Ok(false) };
    // Logs and the like are not in the rows: they have the last quarter.
    Ok(measure::at_most(store)?.is_none_or(|most| most > quota / 4 * 3))
}

struct Collector<'a> {
    store: &'a Arc<Inner>,
    limits: &'a Limits,
    /// Cache mounts that turned out to be in use.
    busy: HashSet<String>,
    collected: Collected,
}

impl Collector<'_> {
    fn cache_mounts(&mut self) -> Result<()> {
        let Some(limit) = self.limits.cache_mounts else { return Ok(()) };
        let sizes = measure::sizes(self.store)?;
        let mut total: u64 = sizes.mounts.values().sum();
        if total <= limit {
            return Ok(());
        }
        for name in plan::mounts_by_use(&Holdings::load(self.store)?, &sizes) {
            if total <= limit {
                break;
            }
            let plan = plan::Plan { mounts: vec![name.clone()], ..plan::Plan::default() };
            if self.execute(&plan, EvictionCause::Quota)? {
                total -= sizes.mounts.get(&name).copied().unwrap_or_default().min(total);
            }
        }
        Ok(())
    }

    fn quota(&mut self) -> Result<()> {
        let Some(quota) = self.limits.quota else { return Ok(()) };
        loop {
            // What was deleted is written down in the log, which is to count as little as possible.
            self.store.database.empty_log()?;
            let sizes = measure::sizes(self.store)?;
            let Some(beyond) = sizes.total().checked_sub(quota).filter(|beyond| *beyond > 0) else { return Ok(()) };
            if partial::discard_idle(self.store)? {
                continue;
            }
            let goal = Goal { bytes: beyond, young: self.young(), spares_young: false, ..Goal::of(&self.busy) };
            let plan = plan::least_recently_used(&Holdings::load(self.store)?, &sizes, goal);
            if !self.execute(&plan, EvictionCause::Quota)? {
                self.collected.over_quota = Some(beyond);
                return Ok(());
            }
        }
    }

    fn free_space(&mut self) -> Result<()> {
        let Some(keep_free) = self.limits.keep_free else { return Ok(()) };
        loop {
            let (free, _) = measure::disk(self.store)?;
            let Some(missing) = keep_free.checked_sub(free).filter(|missing| *missing > 0) else { return Ok(()) };
            if partial::discard_idle(self.store)? {
                continue;
            }
            let goal = Goal { bytes: missing, young: self.young(), spares_young: true, ..Goal::of(&self.busy) };
            let sizes = measure::sizes(self.store)?;
            let plan = plan::least_recently_used(&Holdings::load(self.store)?, &sizes, goal);
            if !self.execute(&plan, EvictionCause::FreeSpace)? {
                return Ok(());
            }
        }
    }

    /// What was used later than this is young; nothing is if that does not matter.
    fn young(&self) -> i64 {
        let keep = self.limits.keep_newer_than.filter(|time| !time.is_zero());
        keep.map_or(i64::MAX, |time| now() - i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
    }

    /// Deletes a plan; false if nothing of it went.
    fn execute(&mut self, plan: &plan::Plan, why: EvictionCause) -> Result<bool> {
        if plan.is_empty() {
            return Ok(false);
        }
        let freed = execute(self.store, plan, why)?;
        let names = crate::cache_mounts::names(self.store)?;
        self.busy.extend(plan.mounts.iter().filter(|name| names.contains(name)).cloned());
        let went = freed.records > 0
            || freed.cache_mounts > 0
            || !(freed.images.is_empty() && freed.layers.is_empty() && freed.blobs.is_empty());
        self.collected.freed.add(freed);
        Ok(went)
    }
}

impl Freed {
    fn add(&mut self, other: Self) {
        self.images.extend(other.images);
        self.records += other.records;
        self.layers.extend(other.layers);
        self.blobs.extend(other.blobs);
        self.cache_mounts += other.cache_mounts;
        self.entries.extend(other.entries);
        self.bytes += other.bytes;
    }
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
