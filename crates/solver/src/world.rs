//! What the solver asks of whoever uses it: the doing, as one trait.

use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::graph::NodeId;
use crate::protocol::{Found, Identity, Product, Settled};
use crate::solver::Failure;

/// One vertex to run.
#[derive(Debug)]
pub struct Execution<K, O, L, C> {
    /// The vertex.
    pub node: NodeId,
    /// What is known about it.
    pub identity: Identity<K>,
    /// The results of its inputs, in their order.
    pub inputs: Vec<O>,
    /// The lock of its key, held; let go after the result was taken over.
    pub lock: Arc<L>,
    /// What [`World::claim`] took, held as long.
    pub claim: Arc<C>,
}

/// What a look-up by content answers.
pub type Match<W> = Result<Option<Found<<W as World>::Key, <W as World>::Output>>, <W as World>::Error>;

/// How a vertex of a world's graph ended.
pub type Ending<W> = Settled<<W as World>::Key, <W as World>::Output, Failure<<W as World>::Error>>;

/// How many executions there is room for, apart from the slots: asked while something is to begin.
pub trait Room: Send + Sync + 'static {
    /// The most that may run at once from now on, where `running` do. One may always run.
    fn most(&self, running: usize) -> usize;

    /// Something waits for room although a slot is free, while `running` run. Told each time that it is found so;
    /// must not block.
    fn held_back(&self, running: usize);
}

/// Does what the scheduler decides, for one job. All jobs of a solver use the same type; a vertex
/// that two jobs share is done by the world of one of them.
///
/// Every method may run at the same time as every other. An error fails the vertex; a panic does
/// too. When `cancel` fires, return soon, with anything: nobody waits for the result any more.
pub trait World: Sized + Send + Sync + 'static {
    /// Recipe and lock keys.
    type Key: Clone + Ord + std::fmt::Debug + Send + Sync + 'static;
    /// The result of a vertex. Equal results are interchangeable as inputs.
    type Output: Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static;
    /// Why a vertex failed.
    type Error: std::error::Error + Send + Sync + 'static;
    /// A lock held across processes; dropping it lets it go.
    type Lock: Send + Sync + 'static;
    /// What a vertex has for itself while it runs; dropping it gives it back.
    type Claim: Send + Sync + 'static;

    /// Tells what `node` is, from the recipe keys of its inputs in their order.
    fn identify(
        &self,
        node: NodeId,
        inputs: Vec<Self::Key>,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<Identity<Self::Key>, Self::Error>> + Send;

    /// Looks for the record under a recipe key. A record that is damaged is `None`.
    fn probe(
        &self,
        node: NodeId,
        recipe: Self::Key,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<Option<Self::Output>, Self::Error>> + Send;

    /// Looks for a record of the same op on inputs of the same content. Asked only where an
    /// ancestor was executed anew or `identity` is provisional.
    fn match_content(
        &self,
        node: NodeId,
        identity: Identity<Self::Key>,
        inputs: Vec<Self::Output>,
        cancel: CancellationToken,
    ) -> impl Future<Output = Match<Self>> + Send;

    /// Waits for the lock of `key` against other processes.
    fn lock(
        &self,
        node: NodeId,
        key: Self::Key,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<Self::Lock, Self::Error>> + Send;

    /// Waits for what the vertex must have for itself while it runs, beside its lock. The lock of its key is held, no
    /// slot is; so whatever is waited for here must never wait for this lock.
    fn claim(
        &self,
        node: NodeId,
        inputs: Vec<Self::Output>,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<Self::Claim, Self::Error>> + Send;

    /// Runs a vertex and records the result, under the lock and the claim that it is given.
    fn execute(
        &self,
        execution: Execution<Self::Key, Self::Output, Self::Lock, Self::Claim>,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<Product<Self::Key, Self::Output>, Self::Error>> + Send;

    /// Learns how a vertex ended, for progress; called once per vertex, must not block.
    fn settled(&self, node: NodeId, settled: &Ending<Self>) {
        let _ = (node, settled);
    }
}
