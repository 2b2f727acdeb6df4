//! File operations: one layer made of copies, directories and written files, without a process or a mount.
//!
//! A copy is planned in two steps: [`select`] says which entries of the source tree are read and where they
//! lie relative to the destination (that, and the bytes, is what a cache key covers); [`run`] then puts them
//! into a new layer over the base.

mod archive;
mod chmod;
mod copy;
mod destination;
mod digest;
mod error;
mod missing;
mod run;
mod select;
mod wildcard;

pub(crate) use copy::LandedFiles;
pub(crate) use digest::Counted;
pub(crate) use error::FileError;
pub use missing::Guess;
pub(crate) use run::{FileJob, Landed, run};
pub(crate) use select::{Selected, Selection, Wanted, select};
