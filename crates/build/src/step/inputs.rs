//! What a step was made of, by names that a person knows: the material of explanations.

use kiln_graph::{Op, SourceOp, VertexId};
use kiln_store::{FileDigest, Input, Key};

use super::{Steps, looks_secret};
use crate::error::StepProblem;
use crate::key::{KeyBuilder, Purpose};

/// The name of the input that is the instruction's text.
pub(crate) const INSTRUCTION: &str = "instruction";
/// A file that was copied from a context: its path, what it held, its mode.
pub(super) type CopiedFile<'a> = (&'a [u8], FileDigest, u32);

/// How many files of a context are listed by name; the rest counts together.
const FILES_LISTED: usize = 20_000;

impl Steps {
    /// The recipe key of a step now that it ran: contexts count as what landed.
    pub(super) fn recipe_of_landed(&self, id: VertexId, contexts: &[[u8; 32]]) -> Result<Key, StepProblem> {
        let inputs = self.input_recipes(id);
        let mut builder = KeyBuilder::new(Purpose::Recipe, self.definition.op_digest(id)).word(self.fidelity(id));
        let mut contexts = contexts.iter();
        for input in self.used_inputs(id) {
            let edge = self.vertex(id).inputs[input];
            builder = match self.input_context(edge.vertex)? {
                Some(_) => builder.selection(contexts.next().unwrap_or(&[0; 32])),
                None => builder.key(&inputs[input]),
            };
        }
        Ok(builder.finish())
    }

    /// The inputs of a step by name.
    pub(super) fn named_inputs(&self, id: VertexId, files: &[CopiedFile<'_>]) -> Vec<Input> {
        let vertex = self.vertex(id);
        let mut inputs = vec![
            Input { name: INSTRUCTION.into(), value: vertex.meta.instruction.clone() },
            Input { name: "operation".into(), value: short(&self.definition.op_digest(id).0) },
            Input { name: "platform".into(), value: vertex.platform.to_string() },
        ];
        for (name, value) in &vertex.meta.variables {
            let value =
                if looks_secret(name) { short(blake3::hash(value.as_bytes()).as_bytes()) } else { value.clone() };
            inputs.push(Input { name: format!("variable {name}"), value });
        }
        for (edge, recipe) in vertex.inputs.iter().zip(self.input_recipes(id)) {
            inputs.extend(self.named_input(edge.vertex, &recipe));
        }
        inputs.extend(files.iter().take(FILES_LISTED).map(file_input));
        if files.len() > FILES_LISTED {
            let mut hasher = blake3::Hasher::new();
            for (path, digest, _) in &files[FILES_LISTED..] {
                hasher.update(path).update(&digest.0);
            }
            let rest = files.len() - FILES_LISTED;
            inputs.push(Input { name: format!("{rest} more files"), value: short(hasher.finalize().as_bytes()) });
        }
        inputs
    }

    fn named_input(&self, input: VertexId, recipe: &Key) -> Option<Input> {
        let vertex = self.vertex(input);
        match &vertex.op {
            Op::Source(SourceOp::Context(_)) => None,
            Op::Source(SourceOp::Image(image)) => {
                let name = format!("base image {}", image.reference.familiar());
                Some(Input { name, value: short(&recipe.0) })
            }
            _ => Some(Input { name: format!("step {}", vertex.meta.name), value: short(&recipe.0) }),
        }
    }
}

fn file_input((path, digest, mode): &CopiedFile<'_>) -> Input {
    Input { name: format!("file {}", String::from_utf8_lossy(path)), value: format!("{mode:04o} {}", short(&digest.0)) }
}

/// The first digits of a digest: enough to tell two values apart.
fn short(digest: &[u8; 32]) -> String {
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
