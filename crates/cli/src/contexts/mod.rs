//! What a command line names as contexts and as Dockerfile: directories, repositories, addresses, the standard input.
//!
//! First it is found out what is meant ([`Asked::parse`], which touches nothing but the local paths that are named),
//! then it is read or fetched ([`Asked::read`]).

mod argument;
mod directory;
mod fetch;
mod ignore;
mod named;
mod stdin;
mod stored;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kiln_build::{
    Context, DockerfileText, EmptyContext, FetchedContext, IgnoreFile, LocalClient, LocalDirectory, NamedContext,
    RemoteContext,
};

use crate::failure::Failure;
use argument::{ContextArgument, FileArgument};
pub(crate) use fetch::Fetch;
use named::Named;
use stdin::Stdin;

/// The name of the main context.
const MAIN: &str = "context";
/// The Dockerfile where none is named.
const DOCKERFILE: &str = "Dockerfile";

/// What a command line asks for.
pub(crate) struct Asked {
    context: ContextArgument,
    file: FileArgument,
    named: Vec<(String, Named)>,
    keep_git_directory: bool,
}

/// Everything that a build is given to read.
pub(crate) struct Given {
    /// The Dockerfile.
    pub(crate) dockerfile: DockerfileText,
    /// What `--build-context` names stand for.
    pub(crate) named: BTreeMap<String, NamedContext>,
    /// What the main context leaves out.
    pub(crate) ignore: Option<IgnoreFile>,
    /// The files.
    pub(crate) offered: Offered,
}

/// Contexts that are files, by name.
#[derive(Default)]
pub(crate) struct Offered {
    directories: BTreeMap<String, LocalDirectory>,
    others: BTreeMap<String, Arc<dyn Context>>,
}

impl Offered {
    /// A client that presents them.
    pub(crate) fn offered_by(self, client: LocalClient) -> LocalClient {
        client.with_directories(self.directories).with_contexts(self.others)
    }
}

impl Asked {
    /// What CONTEXT, `-f` and `--build-context` mean. `keep_git_directory`: of a repository that does not say.
    pub(crate) fn parse(
        context: &str,
        file: Option<&Path>,
        named: &[String],
        keep_git_directory: bool,
    ) -> Result<Self, Failure> {
        let (context, file) = (ContextArgument::parse(context)?, FileArgument::parse(file));
        if matches!((&context, &file), (ContextArgument::Stdin, FileArgument::Stdin)) {
            let reason = "invalid argument: can't use stdin for both build context and dockerfile";
            return Err(Failure::new(format!("ERROR: {reason}")));
        }
        let named = named.iter().map(|text| named::parse(text)).collect::<Result<_, _>>()?;
        Ok(Asked { context, file, named, keep_git_directory })
    }

    /// Whether anything has to be fetched or unpacked, so that a store is needed.
    pub(crate) fn is_fetched(&self) -> bool {
        let named = self.named.iter().any(|(_, named)| matches!(named, Named::Repository(_) | Named::Web(_)));
        named || !matches!(self.context, ContextArgument::Directory(_)) || matches!(self.file, FileArgument::Web(_))
    }

    /// Reads directories, and fetches the rest by `fetch`.
    pub(crate) fn read(self, fetch: Option<&Fetch<'_>>) -> Result<Given, Failure> {
        let mut given = self.main(fetch)?;
        for (name, named) in self.named {
            let keep = self.keep_git_directory;
            let remote = match named {
                Named::Image(image) => {
                    given.named.insert(name, image);
                    continue;
                }
                Named::Directory(path) => {
                    let ignore = ignore::of_directory(&path)?;
                    given.offered.directories.insert(name.clone(), LocalDirectory { path, ignore });
                    given.named.insert(name, NamedContext::Files);
                    continue;
                }
                Named::Repository(url) => RemoteContext::Repository { url, keep_git_directory: keep },
                Named::Web(url) => RemoteContext::Web(url),
            };
            given.offered.others.insert(name.clone(), stored::named(&name, fetched(fetch, remote)?)?);
            given.named.insert(name, NamedContext::Files);
        }
        Ok(given)
    }

    fn main(&self, fetch: Option<&Fetch<'_>>) -> Result<Given, Failure> {
        let given = match &self.file {
            FileArgument::Stdin => Some(text(DOCKERFILE, &stdin::read()?)),
            FileArgument::Web(url) => match fetched(fetch, RemoteContext::Web(url.clone()))? {
                FetchedContext::Text(bytes) => Some(text(DOCKERFILE, &bytes)),
                FetchedContext::Files(_) => return Err(unreadable("it is an archive, no Dockerfile")),
            },
            FileArgument::Default | FileArgument::Path(_) => None,
        };
        match &self.context {
            ContextArgument::Directory(path) => Given::of_directory(path, &self.file, given),
            ContextArgument::Repository(url) => {
                let keep_git_directory = self.keep_git_directory;
                let remote = RemoteContext::Repository { url: url.clone(), keep_git_directory };
                self.of_fetched(fetched(fetch, remote)?, given)
            }
            ContextArgument::Web(url) => self.of_fetched(fetched(fetch, RemoteContext::Web(url.clone()))?, given),
            ContextArgument::Stdin => match stdin::context()? {
                Stdin::Archive(stream) => self.of_fetched(fetched(fetch, RemoteContext::Archive(stream))?, given),
                Stdin::Text(bytes) => self.of_fetched(FetchedContext::Text(bytes), given),
            },
        }
    }

    /// A single file is the Dockerfile, and comes without a context.
    fn of_fetched(&self, fetched: FetchedContext, given: Option<DockerfileText>) -> Result<Given, Failure> {
        let files = match (fetched, &self.file) {
            (FetchedContext::Files(files), _) => files,
            (FetchedContext::Text(bytes), FileArgument::Default) => {
                return Ok(Given::new(text(DOCKERFILE, &bytes)).with(Arc::new(EmptyContext)));
            }
            (FetchedContext::Text(_), _) => {
                let reason = "ambiguous Dockerfile source: both the context and -f are Dockerfiles";
                return Err(Failure::new(format!("ERROR: {reason}")));
            }
        };
        let named = match &self.file {
            FileArgument::Path(path) => Some(path.as_path()),
            _ => None,
        };
        let dockerfile = match given {
            Some(given) => given,
            None => stored::main(&files, named)?,
        };
        Ok(Given::new(dockerfile).with(Arc::new(files.context())))
    }
}

impl Given {
    fn new(dockerfile: DockerfileText) -> Self {
        Given { dockerfile, named: BTreeMap::new(), ignore: None, offered: Offered::default() }
    }

    fn with(mut self, main: Arc<dyn Context>) -> Self {
        self.offered.others.insert(MAIN.to_owned(), main);
        self
    }

    fn of_directory(path: &Path, file: &FileArgument, given: Option<DockerfileText>) -> Result<Self, Failure> {
        let named = match file {
            FileArgument::Path(file) => Some(file.as_path()),
            _ => None,
        };
        let (dockerfile, ignore) = directory::main(path, named, given)?;
        let mut given = Given { ignore: ignore.clone(), ..Given::new(dockerfile) };
        given.offered.directories.insert(MAIN.to_owned(), LocalDirectory { path: path.to_owned(), ignore });
        Ok(given)
    }
}

/// The Dockerfile of a local directory and its ignore file; nothing else is read.
pub(crate) fn of_directory(
    context: &str,
    file: Option<&Path>,
) -> Result<(DockerfileText, Option<IgnoreFile>), Failure> {
    let given = Asked::parse(context, file, &[], false)?.read(None)?;
    Ok((given.dockerfile, given.ignore))
}

fn fetched(fetch: Option<&Fetch<'_>>, context: RemoteContext) -> Result<FetchedContext, Failure> {
    let fetch = fetch.ok_or_else(|| unreadable("a store is needed to fetch it"))?;
    fetch.run(context)
}

/// A Dockerfile of these bytes.
fn text(name: &str, bytes: &[u8]) -> DockerfileText {
    DockerfileText { name: name.into(), text: kiln_dockerfile::text_of(bytes) }
}

/// A Dockerfile that cannot be had.
fn unreadable(reason: impl std::fmt::Display) -> Failure {
    Failure::new(format!("ERROR: failed to build: failed to read dockerfile: {reason}"))
}
