//! A context without files, for a Dockerfile that came without any.

use std::fs::File;
use std::sync::Arc;

use super::{Context, ContextEntry, ContextError, IgnoreRule, Snapshot};

/// A context without files.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyContext;

impl Context for EmptyContext {
    fn identity(&self) -> &str {
        ""
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, ContextError> {
        Ok(Arc::default())
    }

    fn open(&self, path: &[u8]) -> Result<(File, ContextEntry), ContextError> {
        Err(ContextError::entry(path, std::io::Error::from(std::io::ErrorKind::NotFound)))
    }

    fn ignored_by(&self, _path: &[u8]) -> Option<IgnoreRule> {
        None
    }
}
