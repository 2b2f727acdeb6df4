//! The graph of one job: opaque nodes and the edges between them.
//!
//! Knows neither what a node does nor how its key is made; the caller keeps that under the node's
//! id.

use std::collections::BTreeMap;
use std::fmt;

/// A node of one job's graph; the number is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// Whether a vertex may be answered from recorded results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// Records are asked before anything runs.
    #[default]
    Use,
    /// No record is asked, for this vertex; it is still locked and recorded, and equal vertices of
    /// the same job, or running at the same time, still share one execution.
    Ignore,
}

/// A part of a job that is to move on beside its other parts, such as a stage; the number is the caller's.
///
/// Where there are fewer slots than vertices could run, a job's lanes take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub u32);

/// What the scheduler needs to know about one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vertex {
    /// The nodes whose results it takes, in the order in which they are handed to the world.
    pub inputs: Vec<NodeId>,
    /// Whether recorded results are asked.
    pub cache: Cache,
    /// With which others it shares its turns.
    pub lane: Lane,
}

/// Why a vertex cannot be added to a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// An input must be inserted before what takes it, which also rules out cycles.
    #[error("{node} takes {input}, which is not in the graph (yet)")]
    UnknownInput {
        /// The vertex being added.
        node: NodeId,
        /// The input that is missing.
        input: NodeId,
    },
    /// Ids name one vertex each.
    #[error("{0} is in the graph already")]
    Duplicate(NodeId),
    /// A target must be in the graph.
    #[error("{0} is wanted but is not in the graph")]
    UnknownTarget(NodeId),
}

/// An acyclic graph by construction: inputs come before what takes them.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    vertices: BTreeMap<NodeId, Vertex>,
    order: Vec<NodeId>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Adds `vertex` under `node`; all its inputs must be there.
    pub fn insert(&mut self, node: NodeId, vertex: Vertex) -> Result<(), GraphError> {
        if self.vertices.contains_key(&node) {
            return Err(GraphError::Duplicate(node));
        }
        if let Some(input) = vertex.inputs.iter().find(|i| !self.contains(**i)) {
            return Err(GraphError::UnknownInput { node, input: *input });
        }
        self.vertices.insert(node, vertex);
        self.order.push(node);
        Ok(())
    }

    /// Whether `node` is in the graph.
    pub fn contains(&self, node: NodeId) -> bool {
        self.vertices.contains_key(&node)
    }

    /// The vertices in the order of insertion, from the `skip`-th on.
    pub(crate) fn since(&self, skip: usize) -> impl Iterator<Item = (NodeId, &Vertex)> {
        self.order.iter().skip(skip).filter_map(|node| Some((*node, self.vertices.get(node)?)))
    }

    /// The number of vertices.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no vertex.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Refuses targets that are not in the graph.
    pub(crate) fn check_targets(&self, targets: &[NodeId]) -> Result<(), GraphError> {
        match targets.iter().find(|t| !self.contains(**t)) {
            Some(unknown) => Err(GraphError::UnknownTarget(*unknown)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_come_first_and_ids_are_unique() {
        let mut graph = Graph::new();
        let on = |inputs: &[u64]| Vertex { inputs: inputs.iter().copied().map(NodeId).collect(), ..Vertex::default() };
        graph.insert(NodeId(1), on(&[])).unwrap();
        assert_eq!(
            graph.insert(NodeId(2), on(&[2])),
            Err(GraphError::UnknownInput { node: NodeId(2), input: NodeId(2) })
        );
        assert_eq!(graph.insert(NodeId(1), on(&[])), Err(GraphError::Duplicate(NodeId(1))));
        assert_eq!(graph.check_targets(&[NodeId(1), NodeId(9)]), Err(GraphError::UnknownTarget(NodeId(9))));
        assert_eq!(graph.since(0).count(), 1);
        assert_eq!(graph.since(1).count(), 0);
    }
}
