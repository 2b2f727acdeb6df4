//! Contexts that are no directories of the caller's: repositories, archives, single files from web servers. Each is
//! fetched before the build, into a layer of the store.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::sync::Arc;

use kiln_dockerfile::{GitUrl, without_credentials};
use kiln_graph::{GitSource, HttpSource};
use kiln_images::unpack::{self, ExtractOptions};
use kiln_progress::{Outcome, Sink, Task};
use kiln_sandbox::Cancellation;
use kiln_store::{Layer, Metadata, Store, Timestamp, Union};
use tokio_util::sync::CancellationToken;

use super::{SourceError, SourceKey, Sources, Watch, key_of};
use crate::client::Client;
use crate::context::StoredFiles;

/// The name of a download while it is looked at; also what a file is called that is no archive.
const NAME: &str = "context";
/// How large a file may be that is no archive, in bytes.
const LARGEST_TEXT: u64 = 16 << 20;

/// A context that has to be fetched.
pub enum RemoteContext {
    /// A tree of a repository.
    Repository {
        /// Which, and what of it.
        url: GitUrl,
        /// Whether `.git` stays, where the address does not say.
        keep_git_directory: bool,
    },
    /// What a web server has: an archive, or a single file.
    Web(String),
    /// A stream that is a tar archive, in any known compression.
    Archive(Box<dyn Read + Send>),
}

/// What was fetched.
pub enum FetchedContext {
    /// A tree of files.
    Files(StoredFiles),
    /// A single file's content.
    Text(Vec<u8>),
}

/// Fetches contexts.
pub struct ContextFetcher {
    sources: Arc<Sources>,
    progress: Sink,
    cancellation: CancellationToken,
}

impl ContextFetcher {
    /// One that keeps what it fetches in `store`. Secrets for authentication are `client`'s.
    pub fn new(
        store: Store,
        web: kiln_registry::Client,
        client: Arc<dyn Client>,
        progress: Sink,
        cancellation: CancellationToken,
    ) -> Self {
        ContextFetcher { sources: Arc::new(Sources::new(store, web, client)), progress, cancellation }
    }

    /// Fetches a context; what is known and has not changed is not fetched again.
    ///
    /// # Errors
    /// No answer, a failure of the server or of git, an archive that is damaged or leads out of itself.
    pub async fn fetch(&self, context: RemoteContext) -> Result<FetchedContext, SourceError> {
        let task = self.progress.task(title(&context));
        task.start();
        let (sources, working, cancellation) = (Arc::clone(&self.sources), task.clone(), Cancellation::new());
        let inside = cancellation.clone();
        let mut running = tokio::task::spawn_blocking(move || {
            let watch = Watch { task: &working, cancelled: &|| inside.is_cancelled() };
            sources.context(context, &watch)
        });
        let joined = tokio::select! {
            joined = &mut running => joined,
            () = self.cancellation.cancelled() => {
                cancellation.cancel();
                running.await
            }
        };
        let internal = |error: tokio::task::JoinError| {
            SourceError::local("fetching a context")(std::io::Error::other(error.to_string()))
        };
        let fetched = joined.map_err(internal).and_then(|fetched| fetched);
        finish(&task, &fetched);
        fetched
    }
}

fn title(context: &RemoteContext) -> String {
    match context {
        RemoteContext::Repository { url, .. } => {
            format!("[internal] load git source {}", without_credentials(&url.url))
        }
        RemoteContext::Web(url) => format!("[internal] load remote build context {}", without_credentials(url)),
        RemoteContext::Archive(_) => "[internal] load build context from the standard input".into(),
    }
}

fn finish(task: &Task, fetched: &Result<FetchedContext, SourceError>) {
    task.finish(match fetched {
        Ok(_) => Outcome::Done,
        Err(SourceError::Cancelled) => Outcome::Cancelled,
        Err(error) => Outcome::Failed(error.to_string()),
    });
}

impl Sources {
    fn context(&self, context: RemoteContext, watch: &Watch<'_>) -> Result<FetchedContext, SourceError> {
        match context {
            RemoteContext::Repository { url, keep_git_directory } => {
                let identity = without_credentials(&url.url).into_owned();
                let source = GitSource {
                    keep_git_directory: url.keep_git_directory.unwrap_or(keep_git_directory),
                    url: url.url,
                    reference: url.reference,
                    subdirectory: url.subdirectory,
                    checksum: url.checksum,
                };
                Ok(FetchedContext::Files(self.files(self.repository(&source, watch)?, identity)?))
            }
            RemoteContext::Web(url) => self.web_context(url, watch),
            RemoteContext::Archive(stream) => {
                let layer = self.unpacked(stream, watch)?;
                Ok(FetchedContext::Files(self.files(layer, "the standard input".into())?))
            }
        }
    }

    /// An archive is unpacked once; anything else is a text.
    fn web_context(&self, url: String, watch: &Watch<'_>) -> Result<FetchedContext, SourceError> {
        let identity = without_credentials(&url).into_owned();
        let source = HttpSource { url, checksum: None, file_name: NAME.into() };
        let (SourceKey { key, .. }, layer) = self.current(&source, watch)?;
        let file = layer.open(NAME.as_bytes())?;
        if !starts_as_archive(&file)? {
            return Ok(FetchedContext::Text(text(&layer)?));
        }
        let key = key_of("kiln unpacked context 1", &[&key.to_string()]);
        let unpacked = match self.recorded(&key)? {
            Some((unpacked, _)) => unpacked,
            None => {
                let unpacked = self.unpacked(layer.reader(NAME.as_bytes())?, watch)?;
                self.record("unpacked context", unpacked.id(), String::new(), &[key])?;
                unpacked
            }
        };
        Ok(FetchedContext::Files(self.files(unpacked, identity)?))
    }

    fn files(&self, layer: Layer, identity: String) -> Result<StoredFiles, SourceError> {
        Ok(StoredFiles::new(&self.store, layer, identity)?)
    }

    /// A layer with what an archive holds. Nothing leads out of it.
    fn unpacked(&self, archive: impl Read, watch: &Watch<'_>) -> Result<Layer, SourceError> {
        let writer = self.store.layers().stage(&Metadata::root_owned(0o755, Timestamp::now()))?.writer()?;
        let options = ExtractOptions { owner: None };
        let mut archive = Watched { inner: archive, watch };
        let unpacked = unpack::extract(&mut archive, &writer, &Union::new(Vec::new())?, b"", &options);
        watch.check()?;
        unpacked.map_err(SourceError::archive)?;
        // Whoever writes the archive may still be writing the zeros at its end.
        std::io::copy(&mut archive, &mut std::io::sink())
            .map_err(SourceError::local("reading an archive to its end"))?;
        Ok(writer.commit()?)
    }
}

fn starts_as_archive(mut file: &File) -> Result<bool, SourceError> {
    let mut start = Vec::new();
    file.take(unpack::START as u64).read_to_end(&mut start).map_err(SourceError::local("reading a download"))?;
    std::io::Seek::rewind(&mut file).map_err(SourceError::local("reading a download"))?;
    Ok(unpack::starts_as_archive(&start))
}

fn text(layer: &Layer) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    let reader = layer.reader(NAME.as_bytes())?;
    reader.take(LARGEST_TEXT + 1).read_to_end(&mut bytes).map_err(SourceError::local("reading a download"))?;
    if bytes.len() as u64 > LARGEST_TEXT {
        return Err(SourceError::TooLarge(LARGEST_TEXT));
    }
    Ok(bytes)
}

/// A stream that ends with an error when nobody waits any more. That is looked at before each read, and whenever the
/// stream says that nothing comes for now ([`ErrorKind::WouldBlock`]).
struct Watched<'a, R> {
    inner: R,
    watch: &'a Watch<'a>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if (self.watch.cancelled)() {
                return Err(std::io::Error::other("cancelled"));
            }
            match self.inner.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }
}
