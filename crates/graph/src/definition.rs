//! Vertices and how they hang together.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use kiln_oci::Platform;
use serde::Serialize;

use crate::{ExecOp, FileOp, SourceOp, Variables};

/// Names a vertex within one definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct VertexId(pub u32);

/// Names one of a vertex's inputs, by its place in [`Vertex::inputs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct InputIndex(pub u32);

/// An output of a vertex, as the input of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Edge {
    /// The vertex that makes it.
    pub vertex: VertexId,
    /// Which of its outputs; 0 is the root file system.
    pub output: u32,
}

impl Edge {
    /// The root file system that `vertex` makes.
    pub fn root(vertex: VertexId) -> Self {
        Edge { vertex, output: 0 }
    }
}

/// What a vertex does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Brings something in from outside.
    Source(SourceOp),
    /// Runs a process in a root file system.
    Exec(ExecOp),
    /// Makes one layer of files without a process.
    File(FileOp),
    /// Stacks its inputs, first one lowest.
    Merge,
    /// What the second input adds to the first.
    Diff,
}

/// A place in a source text, for messages.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SourceSpan {
    /// First line, from 1.
    pub first_line: u32,
    /// Last line, from 1, included.
    pub last_line: u32,
}

/// What people read about a vertex; no part of any digest.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Meta {
    /// What is shown, such as `[build 2/5] RUN make`.
    pub name: String,
    /// The instruction as in the image's history, such as `RUN make`.
    pub instruction: String,
    /// The stage that it belongs to: its name, or its number.
    pub stage: String,
    /// Where it stands in the Dockerfile.
    pub span: Option<SourceSpan>,
    /// Never take the result from the cache.
    pub ignore_cache: bool,
    /// ARG and ENV values in force, for explanations.
    pub variables: Variables,
}

/// An operation and what it works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vertex {
    /// What to do.
    pub op: Op,
    /// What it is done to; operations name these by [`InputIndex`].
    pub inputs: Vec<Edge>,
    /// The platform that processes run as and images are chosen for.
    pub platform: Platform,
    /// What people read.
    pub meta: Meta,
}

/// The digest of an operation and its platform without its inputs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpDigest(pub [u8; 32]);

/// The digest of a vertex with all that is below it. It names a vertex in a graph; it is no cache key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VertexDigest(pub [u8; 32]);

// Hashers that have taken in what they are for, which would cost as much as a small operation each time.
static OPERATION: LazyLock<blake3::Hasher> = LazyLock::new(|| blake3::Hasher::new_derive_key("kiln op 1"));
static VERTEX: LazyLock<blake3::Hasher> = LazyLock::new(|| blake3::Hasher::new_derive_key("kiln vertex 1"));

impl Vertex {
    /// The digest of the operation and the platform, whatever the inputs are.
    ///
    /// # Errors
    /// [`DefinitionError::Encoding`], which no valid operation causes.
    pub fn op_digest(&self) -> Result<OpDigest, DefinitionError> {
        // In one piece: the many small writes of the encoder would cost more than the hash.
        let text = serde_json::to_vec(&(&self.op, &self.platform)).map_err(DefinitionError::Encoding)?;
        Ok(OpDigest(*OPERATION.clone().update(&text).finalize().as_bytes()))
    }
}

/// Why a definition is none.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// A vertex names an input that does not come before it.
    #[error("vertex {vertex} uses vertex {input}, which does not come before it")]
    Order {
        /// The vertex.
        vertex: u32,
        /// What it names.
        input: u32,
    },
    /// An operation names an input that its vertex does not have.
    #[error("vertex {vertex} has {count} inputs, its operation uses input {index}")]
    Input {
        /// The vertex.
        vertex: u32,
        /// How many inputs it has.
        count: usize,
        /// The input that is used.
        index: u32,
    },
    /// An operation cannot be written down.
    #[error("cannot encode an operation")]
    Encoding(#[source] serde_json::Error),
}

/// Vertices, each after its inputs.
#[derive(Clone, Debug, Default)]
pub struct Definition {
    vertices: Vec<Vertex>,
    op_digests: Vec<OpDigest>,
    digests: Vec<VertexDigest>,
    places: HashMap<VertexDigest, VertexId>,
    also: HashMap<VertexId, Vec<Meta>>,
}

impl Definition {
    /// A definition without vertices.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vertex, or finds the equal one that is there already (same operation and inputs).
    ///
    /// # Errors
    /// Inputs that are not in the definition.
    pub fn add(&mut self, vertex: Vertex) -> Result<VertexId, DefinitionError> {
        self.check_inputs(&vertex)?;
        let op_digest = vertex.op_digest()?;
        let digest = self.digest_of(op_digest, &vertex.inputs);
        if let Some(known) = self.places.get(&digest).copied() {
            self.note(known, vertex.meta);
            return Ok(known);
        }
        let id = VertexId(self.vertices.len() as u32);
        self.vertices.push(vertex);
        self.op_digests.push(op_digest);
        self.digests.push(digest);
        self.places.insert(digest, id);
        Ok(id)
    }

    fn check_inputs(&self, vertex: &Vertex) -> Result<(), DefinitionError> {
        let place = self.vertices.len() as u32;
        if let Some(edge) = vertex.inputs.iter().find(|edge| edge.vertex.0 >= place) {
            return Err(DefinitionError::Order { vertex: place, input: edge.vertex.0 });
        }
        let used = match &vertex.op {
            Op::Exec(exec) => exec.used_inputs(),
            Op::File(file) => file.used_inputs(),
            Op::Source(_) | Op::Merge | Op::Diff => Vec::new(),
        };
        match used.into_iter().find(|index| index.0 as usize >= vertex.inputs.len()) {
            Some(index) => Err(DefinitionError::Input { vertex: place, count: vertex.inputs.len(), index: index.0 }),
            None => Ok(()),
        }
    }

    fn digest_of(&self, op: OpDigest, inputs: &[Edge]) -> VertexDigest {
        let mut hasher = VERTEX.clone();
        hasher.update(&op.0);
        for edge in inputs {
            hasher.update(&self.digests[edge.vertex.0 as usize].0);
            hasher.update(&edge.output.to_le_bytes());
        }
        VertexDigest(*hasher.finalize().as_bytes())
    }

    /// Notes that something equal to a vertex stands elsewhere too.
    pub fn note(&mut self, id: VertexId, meta: Meta) {
        let also = self.also.entry(id).or_default();
        if self.vertices[id.0 as usize].meta.name != meta.name && also.iter().all(|known| known.name != meta.name) {
            also.push(meta);
        }
    }

    /// Where else something equal to a vertex stands: the vertex itself has what people read of the first.
    pub fn also(&self, id: VertexId) -> &[Meta] {
        self.also.get(&id).map_or(&[], Vec::as_slice)
    }

    /// How many vertices there are.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// A vertex by its id, which must be of this definition.
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.vertices[id.0 as usize]
    }

    /// The digest of a vertex's operation.
    pub fn op_digest(&self, id: VertexId) -> OpDigest {
        self.op_digests[id.0 as usize]
    }

    /// The digest of a vertex with all below it.
    pub fn digest(&self, id: VertexId) -> VertexDigest {
        self.digests[id.0 as usize]
    }

    /// All vertices, each after its inputs.
    pub fn iter(&self) -> impl Iterator<Item = (VertexId, &Vertex)> {
        self.vertices.iter().enumerate().map(|(place, vertex)| (VertexId(place as u32), vertex))
    }

    /// The vertices that `targets` need, themselves included, each after its inputs.
    pub fn reachable(&self, targets: &[VertexId]) -> Vec<VertexId> {
        let mut needed = vec![false; self.vertices.len()];
        for target in targets {
            needed[target.0 as usize] = true;
        }
        for place in (0..self.vertices.len()).rev() {
            if needed[place] {
                for edge in &self.vertices[place].inputs {
                    needed[edge.vertex.0 as usize] = true;
                }
            }
        }
        (0..self.vertices.len()).filter(|place| needed[*place]).map(|place| VertexId(place as u32)).collect()
    }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for VertexDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for VertexDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0[..6], f)
    }
}

impl fmt::Display for OpDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for OpDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0[..6], f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContextSource, FileAction, MakeDirectory};

    fn context(name: &str) -> Vertex {
        Vertex {
            op: Op::Source(SourceOp::Context(ContextSource { name: name.into() })),
            inputs: Vec::new(),
            platform: Platform::new("linux", "amd64"),
            meta: Meta::default(),
        }
    }

    #[test]
    fn equal_vertices_are_one_and_names_do_not_count() {
        let mut definition = Definition::new();
        let first = definition.add(context("context")).unwrap();
        let mut renamed = context("context");
        renamed.meta.name = "another name".into();
        assert_eq!(definition.add(renamed).unwrap(), first);
        assert_eq!(definition.also(first).iter().map(|meta| meta.name.as_str()).collect::<Vec<_>>(), ["another name"]);
        assert_ne!(definition.add(context("other")).unwrap(), first);
        assert_eq!(definition.len(), 2);
    }

    #[test]
    fn an_input_must_come_before_its_user() {
        let mut vertex = context("context");
        vertex.inputs.push(Edge::root(VertexId(0)));
        assert!(matches!(Definition::new().add(vertex), Err(DefinitionError::Order { .. })));
    }

    #[test]
    fn an_operation_uses_only_inputs_that_are_there() {
        let mut vertex = context("context");
        let directory = MakeDirectory { path: "/w".into(), mode: 0o755, owner: None };
        vertex.op = Op::File(FileOp { base: Some(InputIndex(0)), actions: vec![FileAction::MakeDirectory(directory)] });
        assert!(matches!(Definition::new().add(vertex), Err(DefinitionError::Input { count: 0, .. })));
    }

    #[test]
    fn only_what_a_target_needs_is_reachable() {
        let mut definition = Definition::new();
        let below = definition.add(context("a")).unwrap();
        definition.add(context("b")).unwrap();
        let mut top = context("c");
        top.op = Op::Merge;
        top.inputs = vec![Edge::root(below)];
        let top = definition.add(top).unwrap();
        assert_eq!(definition.reachable(&[top]), vec![below, top]);
    }
}
