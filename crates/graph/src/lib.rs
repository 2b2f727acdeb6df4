//! The build graph: operations, vertices, edges, definitions and their digests.
//!
//! A definition says what is to be made, never how: this crate knows neither Dockerfiles nor layers, files
//! or containers. Its meaning is that of BuildKit's LLB; its types are closed enums.

mod chain;
mod content;
mod definition;
mod exec;
mod file;
mod source;
mod variables;

pub use chain::Chain;
pub use content::Content;
pub use definition::{
    Definition, DefinitionError, Edge, InputIndex, Meta, Op, OpDigest, SourceSpan, Vertex, VertexDigest, VertexId,
};
pub use exec::{
    BindMount, CacheMount, CacheSharing, Device, ExecOp, ExtraHost, Mount, MountKind, NetworkMode, SecretMount,
    SecurityMode, SshMount, TmpfsMount, Ulimit,
};
pub use file::{Chmod, Copy, FileAction, FileOp, MakeDirectory, Unpack, WriteFile};
pub use source::{ContextSource, GitSource, HttpSource, ImageSource, SourceOp};
pub use variables::Variables;
