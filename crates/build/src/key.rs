//! Cache keys: hashes of what a step is and what it works on.
//!
//! A *recipe key* covers the operation and the recipe keys of its inputs; a context counts as the content that
//! the step selects, an image as its diff ids. A *content key* covers the operation and what its inputs hold.
//! A *provisional key* stands in for a recipe key until a context's bytes were read; it names a lock and is
//! never recorded.

use kiln_graph::OpDigest;
use kiln_oci::Digest;
use kiln_store::Key;

/// The fidelity of a sandbox that lacks nothing.
pub(crate) const FULL: &str = "full";

/// Builds a key of one kind; the kinds never collide.
pub(crate) struct KeyBuilder(blake3::Hasher);

/// What a key is for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Recipe,
    Content,
    LesserOperation,
    Provisional,
}

impl KeyBuilder {
    /// A key for an operation.
    pub(crate) fn new(purpose: Purpose, op: OpDigest) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(match purpose {
            Purpose::Recipe => "kiln recipe key 1",
            Purpose::Content => "kiln content key 1",
            Purpose::LesserOperation => "kiln lesser operation 1",
            Purpose::Provisional => "kiln provisional key 1",
        });
        hasher.update(&op.0);
        KeyBuilder(hasher)
    }

    /// An input that is known by its own key.
    pub(crate) fn key(mut self, key: &Key) -> Self {
        self.0.update(b"k").update(&key.0);
        self
    }

    /// An input that is known by what is selected from it.
    pub(crate) fn selection(mut self, digest: &[u8; 32]) -> Self {
        self.0.update(b"s").update(digest);
        self
    }

    /// A word that counts, such as the fidelity of the sandbox.
    pub(crate) fn word(mut self, word: &str) -> Self {
        self.0.update(b"w").update(&(word.len() as u64).to_le_bytes()).update(word.as_bytes());
        self
    }

    pub(crate) fn finish(self) -> Key {
        Key(*self.0.finalize().as_bytes())
    }
}

/// The recipe key of an image: its layers, whatever its name.
pub(crate) fn image_key(diff_ids: &[Digest]) -> Key {
    let mut hasher = blake3::Hasher::new_derive_key("kiln image key 1");
    for diff_id in diff_ids {
        hasher.update(diff_id.to_string().as_bytes()).update(b"\n");
    }
    Key(*hasher.finalize().as_bytes())
}

/// The key under which records with an operation are found, whatever their inputs; what a lesser sandbox than the
/// usual one ran is kept apart. `fidelity` is empty for what runs no process.
pub(crate) fn op_key(op: OpDigest, fidelity: &str) -> Key {
    match fidelity {
        "" | FULL => Key(op.0),
        lesser => KeyBuilder::new(Purpose::LesserOperation, op).word(lesser).finish(),
    }
}
