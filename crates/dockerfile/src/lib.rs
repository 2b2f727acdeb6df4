//! Dockerfile text to a typed tree with spans, and from there to the build graph.
//!
//! Pure functions: no files, no network, no waiting. [`Dockerfile::parse`] reads text; [`Plan`] takes
//! options, says which base images it needs, and lowers to a [`kiln_graph::Definition`] with the final
//! image config. [`shell`] is useful by themselves.

mod directive;
mod dockerfile;
mod error;
mod glob;
mod heredoc;
mod plan;
pub mod shell;
mod span;

pub use directive::Directives;
pub use dockerfile::Dockerfile;
pub use error::{Error, InstructionProblem, LowerProblem, MountProblem, ParseProblem, Problem, suggestion};
pub use heredoc::Heredoc;
pub use plan::{Base, BaseName, Bases, Lowered, NamedContext, NoCache, Plan, PlanOptions, ResolvedBase};
pub use span::Span;
