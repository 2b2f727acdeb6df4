//! What the engine refuses, in docker's words: scripts read them.

use std::io;
use std::path::PathBuf;

use kiln_oci::ReferenceError;

/// Why the engine did not do what it was asked for. The text is docker's, without the leading
/// `Error response from daemon: ` (see [`Error::origin`]).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No container has this name or id.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// No image has this name or id; as docker writes it, with its tag.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// The image is there, but not for the platform that was asked for.
    #[error("image with reference {name} was found but does not provide the specified platform ({platform})")]
    NoSuchPlatform {
        /// The image as asked for.
        name: String,
        /// The platform.
        platform: String,
    },
    /// The name is taken.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{by}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameInUse {
        /// The name without the slash.
        name: String,
        /// The id of the container that has it.
        by: String,
    },
    /// The name has characters that names must not have, or is too short.
    #[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    InvalidName(String),
    /// Neither the image nor the caller says what to run.
    #[error("no command specified")]
    NoCommand,
    /// The working directory is relative.
    #[error("the working directory '{0}' is invalid, it needs to be an absolute path")]
    RelativeWorkingDirectory(String),
    /// A mount's options hold a word that is none.
    #[error("invalid mode: {0}")]
    InvalidMode(String),
    /// A `-v` value cannot be understood.
    #[error("invalid volume specification: '{value}': {reason}")]
    InvalidVolume {
        /// As given.
        value: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A volume's name has characters that names must not have.
    #[error(
        "create {0}: \"{0}\" includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )]
    InvalidVolumeName(String),
    /// The container runs already, under another process.
    #[error("container {0} is running already; attaching to it from a second place is not supported yet")]
    AlreadyRunning(String),
    /// Something runs in the container that is to be removed.
    #[error(
        "cannot remove container \"{0}\": container is running: stop the container before removing or force remove"
    )]
    Running(String),
    /// A container needs the image that is to be deleted.
    #[error(
        "conflict: unable to delete {name} (must be forced) - container {container} is using its referenced image {image}"
    )]
    ImageInUse {
        /// The image as asked for, with its tag.
        name: String,
        /// Twelve digits of the container's id.
        container: String,
        /// Twelve digits of the image's id.
        image: String,
    },
    /// An id was given for an image that a running container needs.
    #[error(
        "conflict: unable to delete {image} (cannot be forced) - image is being used by running container {container}"
    )]
    ImageRuns {
        /// Twelve digits of the image's id.
        image: String,
        /// Twelve digits of the container's id.
        container: String,
    },
    /// An id was given for an image that a container needs which does not run.
    #[error(
        "conflict: unable to delete {image} (must be forced) - image is being used by stopped container {container}"
    )]
    ImageStopped {
        /// Twelve digits of the image's id.
        image: String,
        /// Twelve digits of the container's id.
        container: String,
    },
    /// An id was given for an image that several repositories name.
    #[error("conflict: unable to delete {0} (must be forced) - image is referenced in multiple repositories")]
    SeveralRepositories(String),
    /// The reference cannot be one.
    #[error("Error parsing reference: \"{text}\" is not a valid repository/tag: {source}")]
    TargetReference {
        /// As given.
        text: String,
        /// Why not.
        source: ReferenceError,
    },
    /// The reference cannot be one.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The name of an image that is looked for cannot be one.
    #[error("{0}")]
    ImageName(ReferenceError),
    /// An `--add-host` value is not `NAME:ADDRESS`.
    #[error("bad format for add-host: \"{0}\"")]
    ExtraHost(String),
    /// A `--tmpfs` has an option that is none, or that cannot be had yet.
    #[error("invalid tmpfs option {option:?} for {path}: only size=, mode=, ro and rw are supported")]
    TmpfsOption {
        /// Where it shall be mounted.
        path: String,
        /// The option.
        option: String,
    },
    /// Neither a container nor an image has this name or id.
    #[error("No such object: {0}")]
    NoSuchObject(String),
    /// The container's process could not be started.
    #[error("failed to create task for container: unable to start container process: error during container init: {0}")]
    Start(Box<kiln_sandbox::StartError>),
    /// The container could not be prepared, or its end not be told.
    #[error(transparent)]
    Sandbox(Box<kiln_sandbox::Error>),
    /// The store refused something.
    #[error(transparent)]
    Store(Box<kiln_store::Error>),
    /// An archive could not be loaded.
    #[error(transparent)]
    Load(Box<kiln_images::load::LoadError>),
    /// A layer could not be unpacked.
    #[error(transparent)]
    Unpack(Box<kiln_images::unpack::UnpackError>),
    /// An image could not be written.
    #[error(transparent)]
    Export(Box<kiln_images::export::ExportError>),
    /// A file or directory of the engine's own, or of the caller's.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Of an image only manifest and config were pulled: its layers' files are not here yet.
    #[error("the files of image {image} are not here: layer {diff_id} is missing; pull or load the image again")]
    NotUnpacked {
        /// The image's id.
        image: String,
        /// The layer.
        diff_id: String,
    },
    /// What the store holds about a container or image cannot be read.
    #[error("the record of {what} is damaged: {source}")]
    Damaged {
        /// Which container or image.
        what: String,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// The system gives no random bytes.
    #[error("cannot get random bytes from the system: {0}")]
    Random(getrandom::Error),
}

/// Who refuses, for the words before the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// What docker's daemon says: `Error response from daemon: …`.
    Engine,
    /// What docker's client says by itself.
    Client,
}

impl Error {
    /// Who refuses.
    pub fn origin(&self) -> Origin {
        match self {
            Error::TargetReference { .. } | Error::Reference(_) | Error::ExtraHost(_) | Error::NoSuchObject(_) => {
                Origin::Client
            }
            _ => Origin::Engine,
        }
    }

    /// The exit code of `run`: 127 for a missing program, 126 for one that cannot be executed, 125
    /// otherwise. Other commands exit with 1.
    pub fn run_exit_code(&self) -> u8 {
        match self {
            Error::Start(error) => match **error {
                // The runtime's own view is 127, the shell's.
                kiln_sandbox::StartError::WorkingDirectory { .. } => 125,
                ref error => error.exit_code(),
            },
            _ => 125,
        }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Error::Io { action, path: path.into(), source: source.into() }
    }
}

impl From<kiln_store::Error> for Error {
    fn from(error: kiln_store::Error) -> Self {
        match error {
            kiln_store::Error::MissingContainer(name) => Error::NoSuchContainer(name),
            kiln_store::Error::NameTaken { name, by } => Error::NameInUse { name, by },
            error => Error::Store(Box::new(error)),
        }
    }
}

impl From<kiln_sandbox::Error> for Error {
    fn from(error: kiln_sandbox::Error) -> Self {
        match error {
            kiln_sandbox::Error::Start(error) => Error::Start(Box::new(error)),
            error => Error::Sandbox(Box::new(error)),
        }
    }
}

impl From<kiln_images::load::LoadError> for Error {
    fn from(error: kiln_images::load::LoadError) -> Self {
        Error::Load(Box::new(error))
    }
}

impl From<kiln_images::unpack::UnpackError> for Error {
    fn from(error: kiln_images::unpack::UnpackError) -> Self {
        Error::Unpack(Box::new(error))
    }
}

impl From<kiln_images::export::ExportError> for Error {
    fn from(error: kiln_images::export::ExportError) -> Self {
        Error::Export(Box::new(error))
    }
}
