//! Fetching contexts before a build: on the host's runtime, ended by the signals that end a build.

use std::sync::Arc;

use kiln_build::{Client, ContextFetcher, FetchedContext, RemoteContext, SourceError};
use kiln_dockerfile::without_credentials;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::display::Display;
use crate::failure::{Failure, chain};
use crate::host::Host;

/// Fetches contexts.
pub(crate) struct Fetch<'a> {
    host: &'a Host,
    fetcher: ContextFetcher,
    cancellation: CancellationToken,
    on_signals: OnSignals,
}

/// Cancels when a signal comes, until the task is aborted. The signals keep this meaning, so nothing may listen to
/// them before the standard input was read.
type OnSignals = fn(CancellationToken) -> JoinHandle<()>;

impl<'a> Fetch<'a> {
    /// Into the host's store, with a client's secrets.
    pub(crate) fn new(host: &'a Host, client: Arc<dyn Client>, display: &Display, on_signals: OnSignals) -> Self {
        let cancellation = CancellationToken::new();
        let (store, registry) = (host.store.clone(), host.registry.clone());
        let fetcher = ContextFetcher::new(store, registry, client, display.sink.clone(), cancellation.clone());
        Fetch { host, fetcher, cancellation, on_signals }
    }

    /// Fetches one.
    pub(super) fn run(&self, context: RemoteContext) -> Result<FetchedContext, Failure> {
        let name = match &context {
            RemoteContext::Repository { url, .. } => without_credentials(&url.url).into_owned(),
            RemoteContext::Web(url) => without_credentials(url).into_owned(),
            RemoteContext::Archive(_) => "the context on the standard input".to_owned(),
        };
        let fetched = self.host.runtime.block_on(async {
            let interrupted = (self.on_signals)(self.cancellation.clone());
            let fetched = self.fetcher.fetch(context).await;
            interrupted.abort();
            fetched
        });
        fetched.map_err(|error| match error {
            SourceError::Cancelled => Failure::new("ERROR: the build was cancelled").with_code(130),
            error => Failure::new(format!("ERROR: failed to build: {name}: {}", chain(&error))),
        })
    }
}
