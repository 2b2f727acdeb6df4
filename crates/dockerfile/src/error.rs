//! What can be wrong with a Dockerfile, where, and what was perhaps meant.

use std::fmt;

use crate::shell::ShellError;
use crate::span::Span;

/// A problem with its place and a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub problem: Problem,
    /// Where, when it has a place.
    pub span: Option<Span>,
    /// What was perhaps meant: an instruction, flag, option, or stage that exists.
    pub suggestion: Option<String>,
}

/// What is wrong, by the phase in which it shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Lines, heredocs or an instruction's own arguments cannot be read.
    #[error(transparent)]
    Parse(#[from] ParseProblem),
    /// An instruction is not what its kind allows.
    #[error(transparent)]
    Instruction(#[from] InstructionProblem),
    /// The Dockerfile is well formed and yet cannot be built as asked.
    #[error(transparent)]
    Lower(#[from] LowerProblem),
}

impl From<ShellError> for Problem {
    fn from(error: ShellError) -> Problem {
        Problem::Lower(LowerProblem::Expansion(error))
    }
}

/// Problems of reading lines. Their wording stands alone, without "on line N".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseProblem {
    /// Nothing but comments.
    #[error("file with no instructions")]
    Empty,
    /// `# escape=` with something else than a backslash or a backtick.
    #[error("invalid escape token '{0}' does not match ` or \\")]
    BadEscape(String),
    /// A directive given twice.
    #[error("only one {0} parser directive can be used")]
    RepeatedDirective(&'static str),
    /// A `# check=` directive or build argument that cannot be read.
    #[error("failed to parse check options: {0}")]
    Checks(#[from] crate::lint::ChecksError),
    /// A heredoc without its closing line.
    #[error("unterminated heredoc")]
    UnterminatedHeredoc {
        /// The line that is missing.
        delimiter: String,
    },
    /// Bytes that are no UTF-8, elsewhere than in a comment or in a heredoc that becomes a file.
    #[error(
        "invalid UTF-8: only comments, what is told about the image, and heredocs that become files may hold any bytes"
    )]
    NotUtf8,
    /// `# syntax=` asks for something else than a Dockerfile frontend.
    #[error("unsupported frontend {0}: only docker/dockerfile is built in")]
    ForeignFrontend(String),
    /// A JSON form with something else than strings.
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    NotStrings,
    /// `ENV name` or `LABEL name` without a value.
    #[error("{0} must have two arguments")]
    TwoArguments(&'static str),
    /// A word without `=` among `name=value` words.
    #[error("Syntax error - can't find = in {0:?}. Must be of the form: name=value")]
    NoEquals(String),
}

/// Problems of a single instruction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstructionProblem {
    /// No such instruction.
    #[error("unknown instruction: {0}")]
    UnknownInstruction(String),
    /// An instruction before the first FROM.
    #[error("no build stage in current context")]
    NoStage,
    /// FROM with two or more than three words.
    #[error("FROM requires either one or three arguments")]
    FromArguments,
    /// A stage name with characters it may not have.
    #[error("invalid name for build stage: {0:?}, name can't start with a number or contain symbols")]
    StageName(String),
    /// Too few arguments.
    #[error("{0} requires at least one argument")]
    AtLeastOne(&'static str),
    /// Too few or too many arguments.
    #[error("{0} requires exactly one argument")]
    ExactlyOne(&'static str),
    /// COPY or ADD without a destination.
    #[error("{0} requires at least two arguments, but only one was provided. Destination could not be determined")]
    NoDestination(&'static str),
    /// COPY or ADD with a heredoc as the destination.
    #[error("{0} cannot accept a heredoc as a destination")]
    HeredocDestination(&'static str),
    /// `ENV =x` and the like.
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
    /// No such flag.
    #[error("unknown flag: {0}")]
    UnknownFlag(String),
    /// A flag given twice that may be given once.
    #[error("duplicate flag specified: {0}")]
    DuplicateFlag(String),
    /// A flag that needs a value.
    #[error("missing a value on flag: --{0}")]
    MissingFlagValue(String),
    /// A flag that is yes or no.
    #[error("expecting boolean value for flag --{flag}, not: {value}")]
    NotBoolean {
        /// The flag without dashes.
        flag: String,
        /// What was given.
        value: String,
    },
    /// The options of a `--mount` are no comma-separated list.
    #[error("failed to parse csv mounts: {0}")]
    MountList(&'static str),
    /// `--mount=…,from=$x`.
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    MountFromVariable,
    /// The options of a `--device` are no comma-separated list.
    #[error("failed to parse csv devices: {0}")]
    DeviceList(&'static str),
    /// A `--device` with two names.
    #[error("device name already set to {0}")]
    DeviceNamed(String),
    /// A field of `--device` without `=` that needs one.
    #[error("invalid field '{0}' must be a key=value pair")]
    DeviceField(String),
    /// An option that no device has.
    #[error("unexpected key '{key}' in '{field}'")]
    DeviceKey {
        /// The option in lower case.
        key: String,
        /// The whole field.
        field: String,
    },
    /// A value of a device's option that cannot be read.
    #[error("invalid value for {key}: {value}")]
    DeviceValue {
        /// The option.
        key: String,
        /// What was given.
        value: String,
    },
    /// `--network` with an unknown mode.
    #[error("invalid network mode {0:?}")]
    NetworkMode(String),
    /// `--security` with an unknown mode.
    #[error("security {0:?} is not valid")]
    SecurityMode(String),
    /// HEALTHCHECK with something else than CMD or NONE.
    #[error("Unknown type {0:?} in HEALTHCHECK (try CMD)")]
    HealthType(String),
    /// HEALTHCHECK NONE with arguments.
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthNoneArguments,
    /// HEALTHCHECK CMD without a command.
    #[error("Missing command after HEALTHCHECK CMD")]
    HealthNoCommand,
    /// A duration that is none.
    #[error("time: {0}")]
    Duration(String),
    /// A duration below what a health check can have.
    #[error("Interval {0:?} cannot be less than 1ms")]
    ShortInterval(String),
    /// `--retries` with something else than a number.
    #[error("invalid value {0:?} for --retries: not a number")]
    Retries(String),
    /// `--retries=-1`.
    #[error("--retries cannot be negative ({0})")]
    NegativeRetries(i64),
    /// SHELL in the shell form.
    #[error("SHELL requires the arguments to be in JSON form")]
    ShellForm,
    /// VOLUME with a blank path.
    #[error("VOLUME specified can not be an empty string")]
    BlankVolume,
    /// ONBUILD ONBUILD.
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    NestedOnbuild,
    /// ONBUILD FROM and ONBUILD MAINTAINER.
    #[error("{0} isn't allowed as an ONBUILD trigger")]
    OnbuildTrigger(String),
    /// Something in a trigger of a base image.
    #[error("{0}")]
    Trigger(String),
}

/// Problems of a `--mount`, found when its variables are known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountProblem {
    /// `type=` unknown.
    #[error("unsupported mount type {0:?}")]
    Type(String),
    /// An option that no mount has.
    #[error("unexpected key '{key}' in '{field}'")]
    Key {
        /// The option in lower case.
        key: String,
        /// The whole field.
        field: String,
    },
    /// An option that this type has not.
    #[error("unexpected key '{key}' for mount type '{kind}'")]
    KeyForType {
        /// The option.
        key: String,
        /// The mount type.
        kind: String,
    },
    /// A field without `=` that needs one.
    #[error("invalid field '{0}' must be a key=value pair")]
    NoValue(String),
    /// A value that cannot be read.
    #[error("invalid value {value} for {key}")]
    Value {
        /// The option.
        key: String,
        /// What was given.
        value: String,
    },
    /// A value that is neither true nor false.
    #[error("invalid value for {key}: {value}")]
    Boolean {
        /// The option.
        key: String,
        /// What was given.
        value: String,
    },
    /// `sharing=` unknown.
    #[error("unsupported sharing value {0:?}")]
    Sharing(String),
    /// `sharing=` for something else than a cache.
    #[error("invalid cache sharing set for {0} mount")]
    SharingForType(String),
    /// `uid`, `gid`, `mode` for a type that has no such thing.
    #[error("{key} not allowed for {kind:?} type mounts")]
    NotAllowed {
        /// The option.
        key: &'static str,
        /// The mount type.
        kind: String,
    },
    /// A secret with `sharing=`.
    #[error("secret mount should not define sharing")]
    SecretSharing,
    /// A secret with `from=`.
    #[error("secret mount should not have a from")]
    SecretFrom,
    /// A secret without any name.
    #[error("invalid secret mount. one of source, target required")]
    SecretName,
    /// A secret with two names.
    #[error("both source and id can't be set")]
    SecretTwoNames,
}

/// Problems of building what is well formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LowerProblem {
    /// Only ARG instructions.
    #[error("dockerfile contains no stages to build")]
    NoStages,
    /// `--target` names no stage.
    #[error("target stage {0:?} could not be found")]
    UnknownTarget(String),
    /// FROM with a name that expands to nothing.
    #[error("base name ({0}) should not be blank")]
    BlankBase(String),
    /// FROM with something that is no image reference.
    #[error("failed to parse stage name {name:?}: {reason}")]
    BaseName {
        /// The name after expansion.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `--platform` expands to nothing.
    #[error("empty platform value from expression {0}")]
    EmptyPlatform(String),
    /// `--platform` is none.
    #[error("failed to parse platform {written}: {reason}")]
    Platform {
        /// The flag's value as written.
        written: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A word cannot be expanded.
    #[error(transparent)]
    Expansion(#[from] ShellError),
    /// A `--mount` is wrong.
    #[error(transparent)]
    Mount(#[from] MountProblem),
    /// `COPY --from` or `RUN --mount=from` of a later stage.
    #[error("cannot copy from stage {0:?}, it needs to be defined before current stage {1:?}")]
    LaterStage(String, String),
    /// `COPY --from=7` without a stage of that number.
    #[error("invalid stage index {0}")]
    StageIndex(i64),
    /// `COPY --from=$x`.
    #[error(
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as \
         a workaround"
    )]
    CopyFromVariable(String),
    /// Stages that need each other.
    #[error("circular dependency detected on stage: {0}")]
    Circular(String),
    /// The config of a base image was not given.
    #[error("the config of {0} is needed and was not given")]
    MissingBase(String),
    /// A base image that cannot be had.
    #[error("{name}: {reason}")]
    Unavailable {
        /// The name as written, variables expanded.
        name: String,
        /// What whoever looked for it says.
        reason: String,
    },
    /// Rules found something and `error=true` was asked for.
    #[error("lint violation found for rules: {0}")]
    Findings(String),
    /// STOPSIGNAL with something that is no signal.
    #[error("invalid signal: {0}")]
    Signal(String),
    /// EXPOSE with something that is no port.
    #[error("invalid containerPort: {0}")]
    Port(String),
    /// `--chmod` with something that is no mode.
    #[error("invalid chmod parameter: {0:?}. it should be an octal or symbolic mode between 0 and 07777")]
    Chmod(String),
    /// `--checksum` that is no digest.
    #[error("invalid checksum {0:?}: {1}")]
    Checksum(String, String),
    /// A flag that makes no sense for these sources.
    #[error("{0}")]
    Flag(&'static str),
    /// Variables that are long and used often.
    #[error("the values of its variables add up to more than 512 MiB")]
    TooMuchText,
    /// RUN with nothing to run.
    #[error("RUN has no arguments to run")]
    NoArguments,
    /// An unusable mount target.
    #[error("invalid mount target {0:?}")]
    MountTarget(String),
    /// `SOURCE_DATE_EPOCH` is no number.
    #[error("invalid SOURCE_DATE_EPOCH: {0}")]
    Epoch(String),
    /// The graph refused an operation, which is a mistake of this crate.
    #[error("cannot build the graph: {0}")]
    Graph(String),
}

impl Error {
    /// A problem at a place.
    pub fn new(problem: impl Into<Problem>, span: Option<Span>) -> Error {
        Error { problem: problem.into(), span, suggestion: None }
    }

    /// The same with what was perhaps meant.
    pub fn suggest(mut self, suggestion: Option<String>) -> Error {
        self.suggestion = suggestion;
        self
    }

    /// The same in these lines.
    pub(crate) fn at(self, span: &Span) -> Error {
        Error { span: Some(span.clone()), ..self }
    }

    /// The first line that it is about, counted from 1.
    pub fn line(&self) -> Option<u32> {
        self.span.as_ref().map(|span| span.first_line)
    }
}

impl fmt::Display for Error {
    /// One line, in the words that users know from other builders.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.problem, &self.span) {
            (Problem::Instruction(InstructionProblem::NoStage), _) => {}
            (Problem::Instruction(_), Some(span)) => {
                write!(f, "dockerfile parse error on line {}: ", span.first_line)?;
            }
            _ => {}
        }
        write!(f, "{}", self.problem)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, " (did you mean {suggestion}?)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The candidate that is closest to `word`, if any is close enough to have been meant: at most two letters are
/// other, missing or too many. Of two that are as close, the one with letters swapped was meant. Nothing else was meant
/// if `word` itself, in any case, is among them.
pub fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    const FURTHEST: usize = 2;
    let word = word.to_lowercase();
    let distance = |candidate: &'a str| {
        let lower = candidate.to_lowercase();
        ((strsim::levenshtein(&word, &lower), strsim::damerau_levenshtein(&word, &lower)), candidate)
    };
    let closest = candidates.into_iter().map(distance).min_by_key(|(distance, _)| *distance);
    let closest = closest.filter(|((distance, _), _)| (1..=FURTHEST).contains(distance));
    closest.map(|(_, candidate)| candidate.to_owned())
}
