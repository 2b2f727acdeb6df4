//! What a person reads when a build fails, word for word: for each kind of failure one example, with its exit code.
//! `UPDATE_EXPECT=1 cargo test -p kiln-tests --test diagnostics` writes the texts anew.

mod bases;
mod dockerfiles;
mod files;
mod machine;
mod project;
mod runs;
