//! Sources beyond images and directories: downloads and git repositories, each as one layer of the store.
//!
//! A source is asked twice: for the key of what it holds now, which may need the network, and for the layer, which
//! is recorded under that key. Everything here is blocking code for threads of tokio's blocking pool; it does not
//! know what steps do with the layers.

mod attempts;
mod contexts;
mod download;
mod error;
mod git;
mod net;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kiln_graph::{GitSource, HttpSource, Op, SourceOp};
use kiln_progress::Task;
use kiln_store::{Key, Layer, LayerId, NewRecord, Record, Store};

use crate::client::Client;

pub(crate) use attempts::shown;
pub use contexts::{ContextFetcher, FetchedContext, RemoteContext};
pub use error::SourceError;

/// Downloads and repositories for one build.
pub(crate) struct Sources {
    store: Store,
    web: kiln_registry::Client,
    client: Arc<dyn Client>,
    /// Commits that refs were resolved to, by address and ref: the same for a whole build.
    commits: Mutex<HashMap<(String, String), git::Resolved>>,
}

/// What is fetched.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// A file from a web server.
    Download(&'a HttpSource),
    /// A tree of a git repository.
    Repository(&'a GitSource),
}

impl<'a> Source<'a> {
    /// The source that an operation is, if it is one of these.
    pub(crate) fn of(op: &'a Op) -> Option<Self> {
        match op {
            Op::Source(SourceOp::Http(source)) => Some(Source::Download(source)),
            Op::Source(SourceOp::Git(source)) => Some(Source::Repository(source)),
            _ => None,
        }
    }
}

/// The key of what a source holds.
pub(crate) struct SourceKey {
    pub(crate) key: Key,
    /// Whether it had to be fetched to be known.
    pub(crate) fetched: bool,
}

/// Who waits for a source.
pub(crate) struct Watch<'a> {
    /// Where progress goes.
    pub(crate) task: &'a Task,
    /// Whether nobody waits any more.
    pub(crate) cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl Watch<'_> {
    fn check(&self) -> Result<(), SourceError> {
        if (self.cancelled)() { Err(SourceError::Cancelled) } else { Ok(()) }
    }
}

impl Sources {
    /// Sources that are kept in `store`, fetched as `client` may.
    pub(crate) fn new(store: Store, web: kiln_registry::Client, client: Arc<dyn Client>) -> Self {
        Sources { store, web, client, commits: Mutex::default() }
    }

    /// The key of what a source holds now.
    pub(crate) fn key(&self, source: Source<'_>, watch: &Watch<'_>) -> Result<SourceKey, SourceError> {
        match source {
            Source::Download(source) => self.download_key(source, watch),
            Source::Repository(source) => self.repository_key(source, watch),
        }
    }

    /// The layer with what a source holds now; fetched if the store does not have it.
    pub(crate) fn layer(&self, source: Source<'_>, watch: &Watch<'_>) -> Result<Layer, SourceError> {
        match source {
            Source::Download(source) => self.download(source, watch),
            Source::Repository(source) => self.repository(source, watch),
        }
    }

    /// The layer that is recorded under a key, if it is there, with its record.
    fn recorded(&self, key: &Key) -> Result<Option<(Layer, Record)>, SourceError> {
        let Some(record) = self.store.records().find(key)? else { return Ok(None) };
        let Some(id) = record.layers.first() else { return Ok(None) };
        Ok(self.store.layers().get(*id)?.map(|layer| (layer, record)))
    }

    /// Records what a source holds under all of `keys`.
    fn record(&self, kind: &str, layer: LayerId, effects: String, keys: &[Key]) -> Result<(), SourceError> {
        let op = Key(*blake3::hash(kind.as_bytes()).as_bytes());
        let lineage = format!("source\n{kind}");
        self.store
            .records()
            .insert(&NewRecord { op, lineage, layers: vec![layer], inputs: Vec::new(), effects }, keys)?;
        Ok(())
    }
}

/// A key of words, which are of one kind of source.
fn key_of(kind: &str, words: &[&str]) -> Key {
    let mut hasher = blake3::Hasher::new_derive_key(kind);
    for word in words {
        hasher.update(&(word.len() as u64).to_le_bytes()).update(word.as_bytes());
    }
    Key(*hasher.finalize().as_bytes())
}
