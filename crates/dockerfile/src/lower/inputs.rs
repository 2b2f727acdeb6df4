//! The inputs of a vertex, each once.

use kiln_graph::{InputIndex, VertexId};

/// Inputs in the order in which they are first used.
#[derive(Debug, Default)]
pub(super) struct Inputs(Vec<VertexId>);

impl Inputs {
    pub(super) fn add(&mut self, vertex: VertexId) -> InputIndex {
        let index = self.0.iter().position(|known| *known == vertex).unwrap_or_else(|| {
            self.0.push(vertex);
            self.0.len() - 1
        });
        InputIndex(index as u32)
    }

    pub(super) fn into_vertices(self) -> Vec<VertexId> {
        self.0
    }
}
