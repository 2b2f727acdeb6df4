//! What `kiln build --explain` and `kiln explain` say, word for word: each kind of reason, and the cases in which a
//! comparison with the wrong build or the wrong step would tell a wrong one.
//! `UPDATE_EXPECT=1 cargo test -p kiln-tests --test explain` writes the texts anew.

mod afterwards;
mod files;
mod project;
mod reasons;
mod stories;
