//! `registry serve`: a registry on a socket, until a signal ends it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use kiln_images::shelf::Shelf;
use kiln_registry::server::{Registry, Serving, StorageError, serve};
use kiln_store::Store;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Whose;
use super::before::Before;
use crate::commands::caller::Caller;
use crate::failure::{self, Failure, chain};
use crate::output;

/// The flags of `registry serve`.
#[derive(clap::Args, Debug)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    whose: Whose,
    /// Where to listen; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5000")]
    listen: String,
    #[command(flatten)]
    before: Before,
    /// How long requests may go on after a signal
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = crate::config::duration)]
    grace: Duration,
}

/// Threads for what blocks: the disk gains nothing from more.
const BLOCKING_THREADS: usize = 32;

/// Most connections at once.
const CONNECTIONS: usize = 1024;

/// How long what is just being written to the disk may take at the end.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// Descriptors that a connection may need, and those that are needed besides.
const DESCRIPTORS: (u64, u64) = (4, 128);

/// How often to look for uploads that nobody goes on with, and after what time they go.
const SWEEP: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(24 * 3600));

/// Serves.
pub(crate) fn run(caller: &Caller, arguments: &ServeArguments) -> Result<ExitCode, Failure> {
    let store = arguments.whose.open(caller)?;
    let root = store.root().to_owned();
    let shelf = Shelf::open(store.clone()).map_err(|error| failure::of_store(&error, &root))?;
    let serving = Serving { connections: connections(), grace: arguments.grace, ..Serving::default() };
    let serving = arguments.before.serving(serving)?;
    let registry = Arc::new(arguments.before.registry(Arc::new(shelf))?.with_report(Box::new(report)));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 8)))
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let served = runtime.block_on(served(registry, &store, &arguments.listen, serving));
    // Connections that outlived the time they had were ended; what they wrote is in their uploads.
    runtime.shutdown_timeout(LAST_WRITES);
    served
}

async fn served(registry: Arc<Registry>, store: &Store, listen: &str, serving: Serving) -> Result<ExitCode, Failure> {
    let cannot = |error: std::io::Error| Failure::new(format!("ERROR: cannot listen on {listen}: {error}"));
    // From here on signals have this meaning.
    let mut signals = Signals::new()?;
    let listener = TcpListener::bind(listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let scheme = if serving.tls.is_some() { "https" } else { "http" };
    output::text(format_args!("listening on {scheme}://{address}\n"))?;
    let sweeping = tokio::spawn(sweep(store.clone()));
    let (ended, end) = tokio::sync::oneshot::channel();
    let serving = serve(registry, listener, serving, async { drop(end.await) });
    let signalled = async {
        signals.next().await;
        // It is there as long as the server serves.
        let _ = ended.send(());
        signals.next().await;
    };
    let code = tokio::select! {
        () = serving => ExitCode::SUCCESS,
        // A second signal: at once.
        () = signalled => ExitCode::from(130),
    };
    sweeping.abort();
    Ok(code)
}

/// What ends the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Removes uploads that nobody goes on with, again and again.
async fn sweep(store: Store) {
    loop {
        let store = store.clone();
        let swept = tokio::task::spawn_blocking(move || store.registry().sweep_uploads(SWEEP.1, false)).await;
        if let Ok(Err(error)) = swept {
            eprintln!("ERROR: {}", chain(&error));
        }
        tokio::time::sleep(SWEEP.0).await;
    }
}

fn report(error: &StorageError) {
    eprintln!("ERROR: {error}");
}

/// As many connections as there are descriptors for; of these this process may have as many as it can get.
fn connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let descriptors = if raised.is_ok() { limit.maximum } else { limit.current };
    let possible = descriptors.map_or(u64::MAX, |count| count.saturating_sub(DESCRIPTORS.1) / DESCRIPTORS.0);
    usize::try_from(possible).unwrap_or(CONNECTIONS).clamp(1, CONNECTIONS)
}
