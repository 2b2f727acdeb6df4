//! What is told of a build's steps: the shape in which it is kept and printed as JSON.
//!
//! The shape is stable: `VERSION` is raised when a member changes its meaning or goes; members and kinds of reasons
//! may be added. Absent members are left out or `null`. Secrets never get here: see `step::inputs`.

use kiln_store::EvictionCause;
use serde::{Deserialize, Serialize};

/// The version of the shape.
pub(super) const VERSION: u32 = 1;

/// A build, and why each of its steps ran or did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedBuild {
    /// The version of the shape, 1.
    pub version: u32,
    /// Names the build in this store.
    pub id: String,
    /// When it began, as RFC 3339 has it, in UTC.
    pub started: String,
    /// How it ended.
    pub outcome: BuildOutcome,
    /// The name of the Dockerfile.
    pub dockerfile: String,
    /// Which context the steps looked at: the path of a directory, or the address of what was fetched.
    pub context: String,
    /// The names of the image.
    pub images: Vec<String>,
    /// The stage that was asked for.
    pub target: Option<String>,
    /// For which platforms.
    pub platforms: Vec<String>,
    /// The stages of the Dockerfile as displays call them, those that were not built too.
    pub stages: Vec<String>,
    /// The steps, each after those that it works on.
    pub steps: Vec<ExplainedStep>,
}

/// How a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildOutcome {
    /// All steps have results.
    Done,
    /// A step failed.
    Failed,
    /// It was stopped.
    Cancelled,
}

/// Where an instruction stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// As displays show it, such as `[build 2/5] RUN make`.
    pub name: String,
    /// The stage's name, `stage-1` for one without; empty where it is the only one.
    pub stage: String,
    /// The place in the stage, such as `2/5`.
    pub number: Option<String>,
    /// Its first line in the Dockerfile, from 1.
    pub line: Option<u32>,
    /// Its last line.
    pub last_line: Option<u32>,
}

/// What became of a step, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedStep {
    /// Its place in the list of steps, from 0, by which others name it.
    pub index: usize,
    /// Where it stands.
    #[serde(flatten)]
    pub position: Position,
    /// Where else the same is said of the same inputs: such instructions are one step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Position>,
    /// The instruction as written, in one line.
    pub instruction: String,
    /// The platform that it runs on or chooses images for.
    pub platform: String,
    /// The platform of the result that it is for.
    pub target_platform: String,
    /// What became of it.
    pub result: StepResult,
    /// How a hit was found.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hit: Option<HitKind>,
    /// The earlier run that it is compared with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub compared_with: Option<ComparedWith>,
    /// Why it is a miss. Never empty for one. For a hit by content: which steps ran again.
    pub reasons: Vec<Reason>,
    /// Its cache key, in hexadecimal, as far as it became known.
    pub key: Option<String>,
    /// The digest of the operation without its inputs, in hexadecimal.
    pub operation: String,
    /// For each place in which it names an input, the steps that made it, by their places in the list: several where
    /// layers are stacked, none for a context. What it continues comes first.
    pub inputs: Vec<Vec<usize>>,
    /// Of a base image: what it was resolved to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image: Option<BaseImage>,
}

/// What a base image was resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseImage {
    /// Its name.
    pub name: String,
    /// The digest of its manifest; that of its list of layers where there is no manifest.
    pub digest: String,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepResult {
    /// Its result was there.
    Hit,
    /// It ran.
    Miss,
    /// It ran, and failed.
    Failed,
    /// It was stopped, or never begun.
    NotRun,
}

/// How a hit was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HitKind {
    /// Nothing that it is made of changed.
    Recipe,
    /// A step below ran again, and what this one takes from it came out as before.
    Content,
    /// Another build ran it while this one waited.
    AnotherBuild,
}

/// An earlier run of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedWith {
    /// The build.
    pub build: String,
    /// When it began.
    pub started: String,
    /// The names of its image.
    pub images: Vec<String>,
    /// The context that it was of.
    pub context: String,
    /// What the step was called there.
    pub step: String,
}

/// Why a step ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Reason {
    /// A file is there that was not.
    FileAdded {
        /// Its path, from the root of the context.
        path: String,
        /// The context's name; `context` is the main one.
        context: String,
    },
    /// A file is not there any more.
    FileRemoved {
        /// Its path.
        path: String,
        /// The context's name.
        context: String,
    },
    /// A file is another than it was.
    FileChanged {
        /// Its path.
        path: String,
        /// The context's name.
        context: String,
        /// In which respects.
        what: Vec<FileAspect>,
    },
    /// Further files that differ.
    MoreFiles {
        /// The context's name.
        context: String,
        /// How many more were added.
        added: u64,
        /// How many more were removed.
        removed: u64,
        /// How many more changed.
        changed: u64,
    },
    /// The files that are taken differ; which ones is not known any more.
    FilesChanged {
        /// The context's name.
        context: String,
    },
    /// A variable that the step sees is set that was not.
    VariableAdded {
        /// Its name.
        name: String,
        /// Its value; `None` where it may not be shown.
        after: Option<String>,
    },
    /// A variable is not set any more.
    VariableRemoved {
        /// Its name.
        name: String,
        /// Its value; `None` where it may not be shown.
        before: Option<String>,
    },
    /// A variable has another value.
    VariableChanged {
        /// Its name.
        name: String,
        /// The value before; `None` where it may not be shown.
        before: Option<String>,
        /// The value now; `None` where it may not be shown.
        after: Option<String>,
    },
    /// The base image is another.
    BaseChanged {
        /// Its name.
        image: String,
        /// Its name before.
        image_before: String,
        /// Its digest before.
        before: String,
        /// Its digest now.
        after: String,
        /// How that came about.
        cause: BaseCause,
    },
    /// What was fetched for ADD is another than before.
    SourceChanged {
        /// The address.
        source: String,
        /// What the address held before: the commit, or the digest of the bytes; `None` where that is not known.
        before: Option<String>,
        /// What it holds now.
        after: Option<String>,
    },
    /// The text of the instruction changed.
    InstructionChanged {
        /// The text before.
        before: String,
        /// The text now.
        after: String,
    },
    /// Something else that counts changed: an option of the build, or what an earlier instruction without a step of its
    /// own (USER, SHELL, WORKDIR) or the base image's config set.
    SettingChanged {
        /// What it is called, such as `network` or `user`.
        setting: String,
        /// The value before, if there was one and it may be shown.
        before: Option<String>,
        /// The value now, if there is one and it may be shown.
        after: Option<String>,
    },
    /// A step that this one works on has another result.
    StepChanged {
        /// The step, as displays show it.
        step: String,
        /// Its place in the list of steps.
        index: usize,
    },
    /// A step that this one works on is new.
    StepAdded {
        /// The step.
        step: String,
        /// Its place in the list of steps.
        index: usize,
    },
    /// A step that this one worked on is gone.
    StepRemoved {
        /// The step, as it was called before.
        step: String,
    },
    /// It works on another step than before.
    StepReplaced {
        /// The step before, as it was called then.
        before: Option<String>,
        /// The step now.
        after: Option<String>,
    },
    /// The earlier result is of a sandbox that kept less.
    FidelityDiffers {
        /// The fidelity before.
        before: String,
        /// The fidelity now.
        after: String,
    },
    /// Nothing changed; the result was deleted.
    Evicted {
        /// When, as RFC 3339 has it.
        at: String,
        /// Why.
        cause: EvictionCause,
    },
    /// Nothing changed; the result's layers are missing or damaged.
    ResultDamaged,
    /// Nothing changed; the earlier result is not in the store, and when it went is not known any more.
    ResultGone,
    /// Nothing changed; the earlier run failed, and only completed steps are kept.
    FailedBefore {
        /// The build in which it failed.
        build: String,
    },
    /// Another build recorded the same result while this step ran.
    RecordedMeanwhile,
    /// It was fetched: it was not in the store.
    Fetched,
    /// No earlier run is known.
    NeverSeen {
        /// What of it is new.
        what: Novelty,
    },
    /// The caller asked that it runs: `--no-cache`, `--no-cache-filter`.
    NoCache,
    /// Files changed between being looked at and being copied: the result is that of what was copied.
    ContextMoved,
    /// All inputs that are known are as before; the keys are made in another way by this version of kiln.
    KeyDiffers,
}

/// In which respect a file differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileAspect {
    /// The bytes, or where a symlink points.
    Content,
    /// The permissions.
    Mode,
    /// What kind of file it is.
    Type,
    /// Its owner or its capabilities, where these count, or which other names it has.
    Owner,
}

/// How a base image came to be another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BaseCause {
    /// The same name stands for something else.
    TagMoved,
    /// FROM names another image.
    FromChanged,
}

/// What is new of a step that has never run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Novelty {
    /// No build of a Dockerfile of this name is known.
    Dockerfile,
    /// It was not built for this platform.
    Platform,
    /// The stage is new, or was not built.
    Stage,
    /// The instruction is new.
    Instruction,
}
