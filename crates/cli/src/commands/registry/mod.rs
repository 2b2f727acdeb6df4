//! `registry`: one's own registry over the images' store.

mod before;
mod gc;
mod ls;
mod serve;

use std::process::ExitCode;

use super::caller::Caller;
use crate::failure::Failure;

/// `registry …`
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Registry {
    /// Remove what no tag and no manifest leads to
    Gc(gc::GcArguments),
    /// List repositories, or the tags of one
    #[command(alias = "list")]
    Ls(ls::LsArguments),
    /// Serve a registry that others can push to and pull from
    Serve(Box<serve::ServeArguments>),
}

impl Registry {
    /// Runs it.
    pub(super) fn run(&self, caller: &Caller) -> Result<ExitCode, Failure> {
        match self {
            Registry::Gc(arguments) => gc::run(caller, arguments),
            Registry::Ls(arguments) => ls::run(caller, arguments),
            Registry::Serve(arguments) => serve::run(caller, arguments),
        }
    }
}

/// Which store a registry lies in.
#[derive(clap::Args, Debug)]
struct Whose {
    /// Where the registry is kept: a store of kiln's (KILN_ROOT; /var/lib/kiln, or ~/.local/share/kiln)
    #[arg(long, value_name = "DIRECTORY")]
    root: Option<std::path::PathBuf>,
}

impl Whose {
    /// Opens the store. Nothing may have started a thread before.
    fn open(&self, caller: &Caller) -> Result<kiln_store::Store, Failure> {
        let root = self.root.clone().or_else(|| caller.root.clone());
        let place = Caller { program: caller.program.clone(), root }.place()?;
        place.open().map_err(|error| crate::failure::of_store(&error, &place.root))
    }
}
