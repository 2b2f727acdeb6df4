//! What runs, when, and once: a pure scheduler and the loop that drives it.
//!
//! A caller describes a graph of opaque nodes and implements [`World`], which tells what a node is,
//! looks for recorded results, locks, and executes. The solver decides which of that happens, in
//! which order, and for whom. It knows neither what a node does nor where records are kept, and
//! touches no file.
//!
//! - [`State`] is the scheduler: [`State::on`] takes an [`Event`] and returns [`Action`]s. No clock,
//!   no thread, no randomness: every race is an order of events, which the simulator in the tests
//!   draws by seed.
//! - [`Solver`] performs the actions on tokio. [`Solver::solve`] does one graph from beginning to
//!   end; [`Solver::join`] gives a [`Job`] whose graph may grow while it runs.
//!
//! # The way of a vertex
//!
//! ```text
//!                  keys of the inputs are there
//!  unidentified ───────────────────────────────▶ identifying ───▶ identified
//!       ▲                                                             │ its result is demanded
//!       │ the inputs' keys                        trusted recipe key  │
//!       │ came out different                  ┌───────────────────────┤
//!       │                                     ▼                       │ provisional, stale,
//!       │                              look-up by recipe ──hit──▶ ●   │ or without cache
//!       │                                     │ miss                  │
//!       │                                     ▼                       │
//!       └───────────────────────────────  gathering  ◀────────────────┘
//!                                   (demands its inputs)
//!                                             │ all have results
//!                       stale or provisional  │
//!                      ┌──────────────────────┤
//!                      ▼                      │
//!            look-up by content ──hit──▶ ●    │
//!                      │ miss                 │
//!                      └──────────┬───────────┘
//!                                 ▼
//!  flight, one per key:  locking ─▶ look-up again ─▶ claim ─▶ slot ─▶ executing ─▶ unlock ─▶ ●
//!                                        └──hit────────────────────────────────────▶┘
//!
//!  ● settled: done, failed, blocked (an input failed) or cancelled; exactly once
//! ```
//!
//! **Identity** goes upwards, from inputs to targets. A [`Identity::Known`] recipe key costs
//! nothing but hashing. A vertex that cannot tell its recipe before it ran is
//! [`Identity::Provisional`]; what depends on it has no identity until its key is there, and is
//! then asked only for what it needs: a recorded target above spares everything else.
//!
//! **Demand** goes downwards, from targets to inputs, and only past a miss.
//!
//! **Stale** is a vertex with an ancestor that was executed anew in this job, or will be because it
//! ignores the cache. Its recipe key tells nothing about its inputs any more, so it waits for them
//! and is looked up by their content. A hit leaves what follows cached.
//!
//! # One execution for many
//!
//! Vertices with equal keys and equal inputs, of one job or of several, board one flight. Whoever
//! comes with an equal key but other inputs, or without cache while a flight may be answered from
//! records, queues behind it. The flight goes on while anybody is aboard; when its owner leaves,
//! another becomes the owner, and a failure that the leaving may have caused is tried anew instead
//! of being handed on. The last one to leave cancels it, and its lock is let go after the
//! cancelled action has ended. Within a job a result stays known for equal vertices that come
//! later, so that even vertices without cache run once.
//!
//! # Turns
//!
//! Only executions hold a slot. Whoever waits for another process's lock, or for what it claims
//! (directories that it must have for itself), holds none. Whoever waits for a slot holds its lock
//! and its claim, and who has a slot waits for nobody, so there is no circle to wait in, as long as
//! worlds take what they claim in one order. Free slots go to the job that has the fewest, and of
//! its vertices to the [`Lane`] that has the fewest: no job and no wide stage starves another. A
//! [`Room`] may leave slots empty, for want of memory; one vertex always runs.
//!
//! # Failures
//!
//! A failure settles those aboard and is not remembered. What depends on them is blocked once its
//! other inputs have ended. Under [`Policy::KeepGoing`] everything else finishes; under
//! [`Policy::FailFast`] the job's remaining vertices are cancelled. A panic of the world is a
//! failure of its vertex. Every [`Job::want`] is answered exactly once, also when the job leaves.

mod graph;
mod protocol;
mod solver;
mod state;
mod world;

#[cfg(test)]
mod driven;
#[cfg(test)]
mod simulator;

pub use graph::{Cache, Graph, GraphError, Lane, NodeId, Vertex};
pub use protocol::{
    Action, Done, Event, Found, How, Identity, JobId, Lookup, Policy, Product, RequestId, Settled, Ticket,
};
pub use solver::{DEFAULT_SLOTS, Failure, IntoVertices, Job, SolveError, Solver};
pub use state::State;
pub use tokio_util::sync::CancellationToken;
pub use world::{Ending, Execution, Match, Room, World};
