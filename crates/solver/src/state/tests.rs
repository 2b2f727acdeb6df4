//! Single stories of the scheduler, step by step, where the simulator comes by too rarely.

use std::num::NonZeroUsize;

use super::*;
use crate::graph::Cache;
use crate::protocol::{Found, How, Identity, Lookup, Product};

type Doing = Action<&'static str, u32, &'static str>;
type Scheduler = State<&'static str, u32, &'static str>;

/// A job of one vertex, wanted and identified as `key`: what is to be done then.
fn begin(state: &mut Scheduler, job: u64, cache: Cache, key: &'static str) -> Vec<Doing> {
    let job = JobId(job);
    state.on(Event::Join { job, policy: Policy::KeepGoing });
    let vertex = Vertex { cache, ..Vertex::default() };
    state.on(Event::Extend { job, vertices: vec![(NodeId(0), vertex)] });
    let request = RequestId(0);
    let actions = state.on(Event::Want { job, request, targets: vec![NodeId(0)] });
    let result = Ok(Identity::Known(key));
    state.on(Event::Identified { ticket: ticket(&actions), result })
}

/// The ticket of the last action that has one.
fn ticket(actions: &[Doing]) -> Ticket {
    let mut tickets = actions.iter().filter_map(|action| match action {
        Action::Identify { ticket, .. }
        | Action::LookUp { ticket, .. }
        | Action::Lock { ticket, .. }
        | Action::Claim { ticket, .. }
        | Action::Execute { ticket, .. } => Some(*ticket),
        _ => None,
    });
    tickets.next_back().expect("an action with a ticket")
}

/// The lock is taken, and what is claimed under it: what is to be done then.
fn locked_and_claimed(state: &mut Scheduler, lock: Ticket) -> Vec<Doing> {
    let actions = state.on(Event::Locked { ticket: lock, result: Ok(()) });
    claimed(state, &actions)
}

/// The last of `actions` is a claim, and it comes true: what is to be done then.
fn claimed(state: &mut Scheduler, actions: &[Doing]) -> Vec<Doing> {
    assert!(matches!(actions, [.., Action::Claim { .. }]), "{actions:?}");
    state.on(Event::Claimed { ticket: ticket(actions), result: Ok(()) })
}

fn is_execution(action: &Doing) -> bool {
    matches!(action, Action::Execute { .. })
}

#[test]
fn an_heir_of_a_vertex_without_cache_asks_the_records_after_all() {
    let mut state = Scheduler::new(NonZeroUsize::MIN);
    let lock = ticket(&begin(&mut state, 0, Cache::Ignore, "key"));
    let probe = ticket(&begin(&mut state, 1, Cache::Use, "key"));
    assert!(state.on(Event::LookedUp { ticket: probe, result: Ok(None) }).is_empty());
    state.on(Event::Leave { job: JobId(0) });
    let actions = state.on(Event::Locked { ticket: lock, result: Ok(()) });
    assert!(
        matches!(actions[..], [Action::LookUp { lookup: Lookup::Recipe("key"), job: JobId(1), .. }]),
        "{actions:?}"
    );
    let found = Found { recipe: "key", output: 7 };
    let actions = state.on(Event::LookedUp { ticket: ticket(&actions), result: Ok(Some(found)) });
    assert!(actions.iter().any(|action| matches!(
        action,
        Action::Report { settled: Settled::Done(done), .. } if done.how == How::HitByRecipe
    )));
}

#[test]
fn waiting_for_a_lock_holds_no_slot() {
    let mut state = Scheduler::new(NonZeroUsize::MIN);
    begin(&mut state, 0, Cache::Ignore, "held elsewhere");
    let lock = ticket(&begin(&mut state, 1, Cache::Ignore, "free"));
    let actions = locked_and_claimed(&mut state, lock);
    assert!(is_execution(&actions[0]), "{actions:?}");
}

#[test]
fn waiting_for_a_claim_holds_no_slot() {
    let mut state = Scheduler::new(NonZeroUsize::MIN);
    let lock = ticket(&begin(&mut state, 0, Cache::Ignore, "claimed elsewhere"));
    let claiming = state.on(Event::Locked { ticket: lock, result: Ok(()) });
    let lock = ticket(&begin(&mut state, 1, Cache::Ignore, "free"));
    let actions = locked_and_claimed(&mut state, lock);
    assert!(is_execution(&actions[0]), "{actions:?}");
    // Nor does one that is cancelled while it waits let anything run, or keep its lock.
    let left = state.on(Event::Leave { job: JobId(0) });
    assert!(left.contains(&Action::Cancel { ticket: ticket(&claiming) }), "{left:?}");
    let ended = state.on(Event::Claimed { ticket: ticket(&claiming), result: Err("cancelled") });
    assert!(ended.contains(&Action::Unlock { key: "claimed elsewhere" }), "{ended:?}");
}

#[test]
fn waiting_for_a_slot_can_be_cancelled() {
    let mut state = Scheduler::new(NonZeroUsize::MIN);
    let first = ticket(&begin(&mut state, 0, Cache::Ignore, "first"));
    let running = ticket(&locked_and_claimed(&mut state, first));
    let second = ticket(&begin(&mut state, 1, Cache::Ignore, "second"));
    assert!(locked_and_claimed(&mut state, second).is_empty());
    let actions = state.on(Event::Leave { job: JobId(1) });
    assert!(actions.contains(&Action::Unlock { key: "second" }), "{actions:?}");
    let product = Product { recipe: "first", output: 1, anew: true };
    let actions = state.on(Event::Executed { ticket: running, result: Ok(product) });
    assert!(!actions.iter().any(is_execution), "{actions:?}");
    state.on(Event::Leave { job: JobId(0) });
    assert!(state.is_idle());
}

#[test]
fn a_failure_is_not_remembered() {
    let mut state = Scheduler::new(NonZeroUsize::MIN);
    let lock = ticket(&begin(&mut state, 0, Cache::Ignore, "key"));
    let running = ticket(&locked_and_claimed(&mut state, lock));
    let actions = state.on(Event::Executed { ticket: running, result: Err("full disk") });
    assert!(actions.contains(&Action::Unlock { key: "key" }));
    let again = begin(&mut state, 1, Cache::Ignore, "key");
    assert!(matches!(again[..], [Action::Lock { key: "key", .. }]), "{again:?}");
}

#[test]
fn a_deep_graph_does_not_exhaust_the_stack() {
    const DEPTH: u64 = 20_000;
    let mut state = State::<u64, (), ()>::new(NonZeroUsize::MIN);
    let job = JobId(0);
    state.on(Event::Join { job, policy: Policy::FailFast });
    let on = |below: Option<u64>| Vertex { inputs: below.map(NodeId).into_iter().collect(), ..Vertex::default() };
    let vertices = (0..DEPTH).map(|node| (NodeId(node), on(node.checked_sub(1)))).collect();
    state.on(Event::Extend { job, vertices });
    let targets = vec![NodeId(DEPTH - 1)];
    let mut actions = state.on(Event::Want { job, request: RequestId(0), targets });
    for node in 0..DEPTH {
        let ticket = match actions[..] {
            [Action::Identify { ticket, .. }] => ticket,
            ref other => panic!("{other:?}"),
        };
        actions = state.on(Event::Identified { ticket, result: Ok(Identity::Known(node)) });
    }
    assert!(matches!(actions[..], [Action::LookUp { node: NodeId(top), .. }] if top == DEPTH - 1));
    let left = state.on(Event::Leave { job });
    assert!(left.iter().any(|action| matches!(action, Action::Answer { .. })));
}

/// Joins a job of two vertices, node 1 on node 0, identified as `a` and `b`; wants node 1.
fn begin_two(state: &mut Scheduler, job: JobId, cache: Cache) -> Vec<Doing> {
    state.on(Event::Join { job, policy: Policy::KeepGoing });
    let below = Vertex { cache, ..Vertex::default() };
    let above = Vertex { inputs: vec![NodeId(0)], ..Vertex::default() };
    let vertices = vec![(NodeId(0), below), (NodeId(1), above)];
    state.on(Event::Extend { job, vertices });
    let request = RequestId(0);
    let actions = state.on(Event::Want { job, request, targets: vec![NodeId(1)] });
    let result = Ok(Identity::Known("a"));
    let actions = state.on(Event::Identified { ticket: ticket(&actions), result });
    let result = Ok(Identity::Known("b"));
    state.on(Event::Identified { ticket: ticket(&actions), result })
}

#[test]
fn inputs_that_were_only_looked_up_may_hold_what_an_earlier_run_worked_on() {
    let mut state = Scheduler::new(NonZeroUsize::MIN);
    let probe = ticket(&begin_two(&mut state, JobId(0), Cache::Use));
    let actions = state.on(Event::LookedUp { ticket: probe, result: Ok(None) });
    let found = Found { recipe: "a", output: 1 };
    let actions = state.on(Event::LookedUp { ticket: ticket(&actions), result: Ok(Some(found)) });
    let lookup = Lookup::Content { identity: Identity::Known("b"), inputs: vec![1] };
    assert!(actions.iter().any(|action| matches!(action, Action::LookUp { lookup: l, .. } if *l == lookup)));
    let found = Found { recipe: "b", output: 11 };
    let actions = state.on(Event::LookedUp { ticket: ticket(&actions), result: Ok(Some(found)) });
    assert!(!actions.iter().any(|action| matches!(action, Action::Lock { .. })), "{actions:?}");
}

#[test]
fn an_equal_key_on_other_inputs_is_not_shared() {
    let mut state = Scheduler::new(NonZeroUsize::MIN);
    // The first job makes `a` anew, and `b` is on its way to be made of that.
    let lock = ticket(&begin_two(&mut state, JobId(0), Cache::Ignore));
    let running = ticket(&locked_and_claimed(&mut state, lock));
    let product = Product { recipe: "a", output: 2, anew: true };
    let actions = state.on(Event::Executed { ticket: running, result: Ok(product) });
    let first = state.on(Event::LookedUp { ticket: ticket(&actions), result: Ok(None) });
    assert!(matches!(first[..], [Action::Lock { key: "b", .. }]), "{first:?}");
    // The second found an older `a`.
    let probe = ticket(&begin_two(&mut state, JobId(1), Cache::Use));
    let actions = state.on(Event::LookedUp { ticket: probe, result: Ok(None) });
    let found = Found { recipe: "a", output: 1 };
    let found = state.on(Event::LookedUp { ticket: ticket(&actions), result: Ok(Some(found)) });
    assert!(matches!(found[..], [Action::Report { node: NodeId(0), .. }, Action::LookUp { .. }]), "{found:?}");
    let queued = state.on(Event::LookedUp { ticket: ticket(&found), result: Ok(None) });
    assert!(queued.is_empty(), "{queued:?}");
    // So it makes its own `b` after the first has.
    let actions = state.on(Event::Locked { ticket: ticket(&first), result: Ok(()) });
    let actions = state.on(Event::LookedUp { ticket: ticket(&actions), result: Ok(None) });
    let actions = claimed(&mut state, &actions);
    let product = Product { recipe: "b", output: 22, anew: true };
    let actions = state.on(Event::Executed { ticket: ticket(&actions), result: Ok(product) });
    assert!(actions.contains(&Action::Unlock { key: "b" }), "{actions:?}");
    let locked = state.on(Event::LookedUp { ticket: ticket(&actions), result: Ok(None) });
    assert!(matches!(locked[..], [Action::Lock { key: "b", job: JobId(1), .. }]), "{locked:?}");
}
