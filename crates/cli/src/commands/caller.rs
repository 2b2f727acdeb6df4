//! Who called: under which name, and with which store.

use std::path::PathBuf;

use crate::config::Config;
use crate::failure::Failure;
use crate::host::{Host, Place};

/// What every command gets from the command line.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The name that this program was called by.
    pub(crate) program: String,
    /// `--root`.
    pub(crate) root: Option<PathBuf>,
}

impl Caller {
    /// Opens the store; nothing may have started a thread before.
    pub(crate) fn host(&self) -> Result<Host, Failure> {
        self.config()?.limits.settle()?;
        Host::open(self.root.as_deref())
    }

    /// Where the store is, without opening it; nothing may have started a thread before.
    pub(crate) fn place(&self) -> Result<Place, Failure> {
        self.config()?.limits.settle()?;
        Place::find(self.root.as_deref())
    }

    /// What the configuration files say.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        Config::load()
    }
}
