//! What a step itself is made of, by names that a person knows: the material of explanations.
//!
//! Everything that is part of the operation has its input here, so that two keys that differ have inputs that differ;
//! what lies below (base, COPY --from) is told of the steps that made it. A value begins with `=` where it may be
//! shown, and with `#` where only a digest is kept: values of variables whose names look secret, texts that hold
//! such a value, and long ones.

use std::collections::{BTreeSet, HashMap};

use kiln_dockerfile::without_credentials;
use kiln_graph::{ExecOp, FileAction, FileOp, Op, SourceOp, VertexId};
use kiln_store::{FileFacts, Input, Key, Kind, ListedFile};
use serde_json::Value;

use super::{Steps, looks_secret};
use crate::error::StepProblem;
use crate::explain::{ENVIRONMENT, FIDELITY, FILES, INSTRUCTION, ORDER, SETTING, USED_VARIABLE};
use crate::file::{LandedFiles, Selection};
use crate::key::{KeyBuilder, Purpose};
use crate::tree::Node;

/// Longer values are kept as digests.
const LONGEST_VALUE: usize = 400;

/// What a step took from a context: which one, what, and what the files held when they were copied.
pub(super) struct Taken<'a> {
    pub(super) input: u32,
    pub(super) selection: &'a Selection,
    pub(super) landed: Option<&'a LandedFiles>,
}

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

    /// The inputs of a step by name, but for files.
    pub(crate) fn named_inputs(&self, id: VertexId) -> Vec<Input> {
        let vertex = self.vertex(id);
        let mut inputs = vec![
            Input { name: INSTRUCTION.into(), value: self.texts.instruction(&vertex.meta) },
            Input { name: FIDELITY.into(), value: self.fidelity(id).into() },
        ];
        match &vertex.op {
            Op::Exec(exec) => {
                inputs.extend(self.environment(exec));
                inputs.extend(self.settings_of_process(exec));
            }
            Op::File(file) => {
                inputs.extend(self.used_variables(id));
                inputs.extend(self.settings_of_files(file));
            }
            Op::Source(_) | Op::Merge | Op::Diff => {}
        }
        inputs.extend(self.named_contexts(id));
        inputs
    }

    /// The lists of files that a step took from contexts, kept in the store.
    pub(super) fn file_inputs(&self, id: VertexId, taken: &[Taken<'_>]) -> Result<Vec<Input>, StepProblem> {
        let list = |(place, taken): (usize, &Taken<'_>)| {
            let source = self.vertex(id).inputs.get(taken.input as usize).map(|edge| &self.vertex(edge.vertex).op);
            let Some(Op::Source(SourceOp::Context(context))) = source else { return Ok(None) };
            let list = self.store.file_lists().keep(listed(taken))?;
            Ok(Some(Input { name: format!("{FILES}{place} {}", context.name), value: list.to_string() }))
        };
        taken.iter().enumerate().filter_map(|each| list(each).transpose()).collect()
    }

    /// What a process gets as its environment: all of it is part of the key, in its order.
    fn environment(&self, exec: &ExecOp) -> Vec<Input> {
        let pairs = || exec.env.iter().map(|entry| entry.split_once('=').unwrap_or((entry, "")));
        let value = |name: &str, value: &str| if looks_secret(name) { hidden(value) } else { self.shown(value) };
        let mut inputs: Vec<Input> = pairs()
            .map(|(name, text)| Input { name: format!("{ENVIRONMENT}{name}"), value: value(name, text) })
            .collect();
        let names: Vec<&str> = pairs().map(|(name, _)| name).collect();
        inputs.push(Input { name: ORDER.into(), value: hidden(&names.join("\n")) });
        inputs
    }

    /// The variables that the instruction's text names, where they were expanded before the step came to be.
    fn used_variables(&self, id: VertexId) -> Vec<Input> {
        let meta = &self.vertex(id).meta;
        let named = names_in(&self.texts.instruction(meta));
        let used = meta.variables.into_iter().filter(|(name, _)| named.contains(name));
        let input = |(name, value): &(String, String)| {
            let value = if looks_secret(name) { hidden(value) } else { self.shown(value) };
            Input { name: format!("{USED_VARIABLE}{name}"), value }
        };
        used.map(input).collect()
    }

    fn settings_of_process(&self, exec: &ExecOp) -> Vec<Input> {
        let mut inputs = Vec::new();
        let Ok(Value::Object(members)) = serde_json::to_value(exec) else { return inputs };
        for (member, value) in members {
            if !["env", "root", "mounts"].contains(&member.as_str()) && !is_nothing(&value) {
                inputs.push(self.setting(process_setting(&member), &value));
            }
        }
        for (place, mount) in exec.mounts.iter().enumerate() {
            if let Ok(value) = serde_json::to_value(&mount.kind) {
                inputs.push(self.setting(&format!("mount {} {}", place + 1, mount.target), &without_indices(value)));
            }
        }
        inputs
    }

    fn settings_of_files(&self, file: &FileOp) -> Vec<Input> {
        let mut inputs = Vec::new();
        for (place, action) in file.actions.iter().enumerate() {
            let (kind, value) = match action {
                FileAction::Copy(copy) => ("copy", serde_json::to_value(copy)),
                FileAction::MakeDirectory(make) => ("directory", serde_json::to_value(make)),
                FileAction::WriteFile(write) => ("file", serde_json::to_value(write)),
            };
            let Ok(Value::Object(members)) = value.map(without_indices) else { continue };
            let number = if file.actions.len() > 1 { format!("{} ", place + 1) } else { String::new() };
            for (member, value) in members.iter().filter(|(_, value)| !is_nothing(value)) {
                inputs.push(self.setting(&format!("{number}{kind} {}", file_setting(member)), value));
            }
        }
        inputs
    }

    /// Which contexts are used at which place.
    fn named_contexts(&self, id: VertexId) -> Vec<Input> {
        let used = self.used_inputs(id).into_iter().map(|input| self.vertex(id).inputs[input].vertex).enumerate();
        used.filter_map(|(place, input)| match &self.vertex(input).op {
            Op::Source(SourceOp::Context(context)) => {
                Some(Input { name: format!("{SETTING}context {place}"), value: format!("={}", context.name) })
            }
            _ => None,
        })
        .collect()
    }

    fn setting(&self, name: &str, value: &Value) -> Input {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Array(items) if items.iter().all(Value::is_string) => {
                let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                // Words that would read alike must not become one value.
                if words.iter().any(|word| word.is_empty() || word.contains(' ')) {
                    value.to_string()
                } else {
                    words.join(" ")
                }
            }
            other => other.to_string(),
        };
        Input { name: format!("{SETTING}{name}"), value: self.shown(&text) }
    }

    /// A value as it is kept: as it may be shown, or its digest.
    fn shown(&self, value: &str) -> String {
        let shown = without_credentials(value);
        if shown.len() > LONGEST_VALUE || shown != value || self.texts.holds_secret(value) {
            return hidden(value);
        }
        format!("={value}")
    }
}

/// A value that is only compared.
fn hidden(value: &str) -> String {
    format!("#{}", &blake3::hash(value.as_bytes()).to_hex()[..16])
}

/// The names of variables in a text: `$NAME` and `${NAME…}`.
fn names_in(text: &str) -> BTreeSet<String> {
    let name = |after: &str| -> String {
        let after = after.strip_prefix('{').unwrap_or(after);
        after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    text.split('$').skip(1).map(name).filter(|name| !name.is_empty()).collect()
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Which input an operation means is told by the steps that it works on.
fn without_indices(mut value: Value) -> Value {
    if let Value::Object(members) = &mut value {
        members.retain(|name, value| !["from", "seed"].contains(&name.as_str()) || value.is_object());
        for value in members.values_mut() {
            *value = without_indices(value.take());
        }
    }
    value
}

fn process_setting(member: &str) -> &str {
    match member {
        "args" => "command",
        "cwd" => "working directory",
        "extra_hosts" => "extra hosts",
        "shm_size" => "shm size",
        "cgroup_parent" => "cgroup parent",
        other => other,
    }
}

fn file_setting(member: &str) -> &str {
    match member {
        "owner" => "chown",
        "into_directory" => "destination is a directory",
        other => other,
    }
}

/// Everything that was selected, sorted by path, each path once.
fn listed<'a>(taken: &Taken<'a>) -> Vec<ListedFile<'a>> {
    let mut files = Vec::new();
    for source in &taken.selection.sources {
        files.extend(source.parents.iter().map(|(_, node)| fact(node, taken.landed)));
        // What a copied directory itself is does not count: the copy makes one of its own.
        let mut root = fact(&source.root, taken.landed);
        if source.root.kind == Kind::Directory && !taken.selection.counts_roots() {
            root.facts.mode = 0;
        }
        files.push(root);
        files.extend(contained(&source.below, taken.landed));
    }
    files.sort_by_key(|file| file.path);
    files.dedup_by_key(|file| file.path);
    files
}

/// What is in a directory; names of one file are told from files of their own.
fn contained<'a>(nodes: &'a [Node], landed: Option<&LandedFiles>) -> impl Iterator<Item = ListedFile<'a>> {
    let mut first_names = HashMap::new();
    nodes.iter().map(move |node| {
        let mut file = fact(node, landed);
        let first = node.link().map(|link| *first_names.entry(link).or_insert(&*node.path));
        if let Some(first) = first.filter(|first| *first != &*node.path) {
            let whose = [file.facts.owner.as_slice(), first].concat();
            file.facts.owner = beginning(*blake3::hash(&whose).as_bytes());
        }
        file
    })
}

fn fact<'a>(node: &'a Node, landed: Option<&LandedFiles>) -> ListedFile<'a> {
    let landed = (node.kind == Kind::File).then(|| landed?.get(&*node.path)).flatten();
    let content = match node.kind {
        Kind::File => landed.map_or([0; 32], |landed| landed.digest.0),
        Kind::Symlink => *blake3::hash(node.target()).as_bytes(),
        Kind::CharacterDevice | Kind::BlockDevice => {
            *blake3::hash(format!("{:?}", node.device()).as_bytes()).as_bytes()
        }
        Kind::Directory | Kind::Fifo | Kind::Whiteout => [0; 32],
    };
    let owned = (node.uid, node.gid) != (0, 0) || node.capability().is_some();
    let owner = owned
        .then(|| *blake3::hash(format!("{}:{} {:?}", node.uid, node.gid, node.capability()).as_bytes()).as_bytes());
    let facts = FileFacts {
        kind: node.kind,
        mode: landed.map_or(node.mode, |landed| landed.mode),
        content: beginning(content),
        owner: owner.map_or([0; 8], beginning),
    };
    ListedFile { path: &node.path, facts }
}

fn beginning(digest: [u8; 32]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = digest;
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_a_text_names_are_found() {
        let names = names_in("COPY --chown=$USER ${DIR:-x}/a$$ /b-$V_1.txt $");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["DIR", "USER", "V_1"]);
    }

    #[test]
    fn indices_are_no_setting() {
        let value = serde_json::json!({"bind": {"from": 3, "source": "/a"}, "from": "x"});
        assert_eq!(without_indices(value), serde_json::json!({"bind": {"source": "/a"}}));
    }
}
