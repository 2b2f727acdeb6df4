//! What runs, when, and once: a pure scheduler and the loop that drives it.

mod graph;
mod protocol;
mod solver;
mod state;
mod world;

#[cfg(test)]
mod driven;
#[cfg(test)]
mod simulator;

pub use graph::{Cache, Graph, GraphError, NodeId, Vertex};
pub use protocol::{
    Action, Done, Event, Found, How, Identity, JobId, Lookup, Policy, Product, RequestId, Settled, Ticket,
};
pub use solver::{DEFAULT_SLOTS, Failure, IntoVertices, Job, SolveError, Solver};
pub use state::State;
pub use tokio_util::sync::CancellationToken;
pub use world::{Ending, Execution, Match, World};
