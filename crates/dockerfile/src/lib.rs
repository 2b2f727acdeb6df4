//! Dockerfile text to a typed tree with spans, and from there to the build graph.
//!
//! Pure functions: no files, no network, no waiting. [`Dockerfile::parse`] reads text; [`Plan`] takes
//! options, says which base images it needs, and lowers to a [`kiln_graph::Definition`] with the final
//! image config. [`shell`] is useful by itself.

mod directive;
mod dockerfile;
mod duration;
mod error;
mod flags;
mod glob;
mod heredoc;
mod instruction;
mod interpret;
mod mount;
mod plan;
mod reader;
pub mod shell;
mod span;
mod words;

pub use directive::Directives;
pub use dockerfile::{Dockerfile, GlobalArguments, Stage, parse_trigger};
pub use error::{Error, InstructionProblem, LowerProblem, MountProblem, ParseProblem, Problem, suggestion};
pub use heredoc::Heredoc;
pub use instruction::{Argument, CommandLine, Copy, Instruction, Located, Pair, Run};
pub use interpret::INSTRUCTIONS;
pub use mount::{Mount, MountFields, MountSharing, MountType};
pub use plan::{Base, BaseName, Bases, Lowered, NamedContext, NoCache, Plan, PlanOptions, ResolvedBase};
pub use reader::Warning;
pub use span::{Focus, Span};
