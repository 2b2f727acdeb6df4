//! Dockerfile text to a typed tree with spans, and from there to the build graph.
//!
//! Pure functions: no files, no network, no waiting. [`Dockerfile::parse`] reads text; [`Plan`] takes
//! options, says which base images it needs, and lowers to a [`kiln_graph::Definition`] with the final
//! image config. [`shell`] and [`ignore`] are useful by themselves.
//!
//! ```
//! use kiln_dockerfile::{Bases, Dockerfile, Plan, PlanOptions};
//! use kiln_oci::Platform;
//!
//! let dockerfile = Dockerfile::parse("FROM scratch\nCOPY app /app\nENTRYPOINT [\"/app\"]\n")?;
//! let plan = Plan::new(dockerfile, PlanOptions::new(Platform::new("linux", "amd64")))?;
//! let bases = Bases::new();
//! // A caller resolves what is missing and asks again, until nothing is.
//! assert!(plan.missing_bases(&bases)?.is_empty());
//! let lowered = plan.lower(&bases)?;
//! assert_eq!(lowered.definition.len(), 2);
//! # Ok::<(), kiln_dockerfile::Error>(())
//! ```

mod changes;
mod circles;
mod device;
mod directive;
mod dockerfile;
mod duration;
mod environment;
mod error;
mod flags;
mod focus;
mod format;
mod frontend;
mod glob;
mod heredoc;
pub mod ignore;
mod instruction;
mod interpret;
pub mod lint;
mod lower;
mod mount;
mod names;
mod options;
pub mod outline;
mod path;
mod plan;
mod print;
mod quote;
mod reader;
mod render;
pub mod shell;
mod source_kind;
mod span;
mod stages;
mod text;
mod words;

pub use changes::{ChangeError, apply_changes};
pub use directive::Directives;
pub use dockerfile::{Dockerfile, GlobalArguments, Stage, parse_trigger};
pub use error::{Error, InstructionProblem, LowerProblem, MountProblem, ParseProblem, Problem, suggestion};
pub use format::{FormatError, format};
pub use frontend::{Syntax, check_frontend, detect_syntax};
pub use heredoc::Heredoc;
pub use instruction::{Argument, CommandLine, Copy, Instruction, Located, Pair, Run};
pub use interpret::INSTRUCTIONS;
pub use lower::MAIN_CONTEXT;
pub use mount::{Mount, MountFields, MountSharing, MountType};
pub use options::{Base, BaseName, Bases, NamedContext, NoCache, PlanOptions, ResolvedBase};
pub use plan::{Lowered, Plan};
pub use reader::Warning;
pub use render::{Emphasis, render_error, render_span};
pub use source_kind::{GitUrl, without_credentials};
pub use span::{Focus, Span};
pub use text::{bytes_of, lossy, text_of};

/// The examples of the README, to be tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
