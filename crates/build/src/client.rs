//! What a build asks of whoever wants it: contexts, and later secrets and agents.
//!
//! No path of the user's machine goes below this trait: a build sees names, entries and bytes. [`LocalClient`]
//! answers from this machine; another implementation can answer over a wire.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::context::{Context, ContextError, LocalContext};

/// The caller of a build.
pub trait Client: Send + Sync {
    /// The context of that name: `context` is the main one, others come from `--build-context`.
    ///
    /// # Errors
    /// A context that was promised and cannot be read. `Ok(None)`: there is none of that name.
    fn context(&self, name: &str) -> Result<Option<Arc<dyn Context>>, ContextError>;
}

/// A local directory offered as a context.
#[derive(Clone, Debug)]
pub struct LocalDirectory {
    /// The directory.
    pub path: PathBuf,
    /// The text of its ignore file.
    pub ignore: Option<String>,
}

/// A client on the same machine: contexts are directories, read in place.
#[derive(Default)]
pub struct LocalClient {
    directories: BTreeMap<String, LocalDirectory>,
    opened: Mutex<BTreeMap<String, Arc<LocalContext>>>,
}

impl LocalClient {
    /// A client with these directories, by context name.
    pub fn new(directories: BTreeMap<String, LocalDirectory>) -> Self {
        LocalClient { directories, opened: Mutex::default() }
    }
}

impl Client for LocalClient {
    fn context(&self, name: &str) -> Result<Option<Arc<dyn Context>>, ContextError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(context) = opened.get(name) {
            return Ok(Some(Arc::clone(context) as Arc<dyn Context>));
        }
        let Some(directory) = self.directories.get(name) else { return Ok(None) };
        let context = Arc::new(LocalContext::open(&directory.path, directory.ignore.as_deref())?);
        opened.insert(name.to_owned(), Arc::clone(&context));
        Ok(Some(context))
    }
}
