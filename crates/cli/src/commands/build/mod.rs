//! `kiln build`.

mod calls;
mod checks;
mod flags;
mod metadata;
mod report;
mod secrets;
mod ssh;

pub(crate) use flags::BuildArguments;
pub(super) use flags::pairs::fields;

use std::process::ExitCode;
use std::sync::Arc;

use kiln_build::{BuildError, Builder, LocalClient, Outcome, Request};
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use crate::collector::Collector;
use crate::contexts::{Asked, Fetch, Given, Offered};
use crate::display::{Display, Progress};
use crate::failure::{self, Failure, chain};
use crate::host::Host;
use checks::Checked;
use flags::{Call, Resolved};

/// Builds, or tells of the Dockerfile what was asked for.
pub(crate) fn run(caller: &Caller, arguments: &BuildArguments) -> Result<ExitCode, Failure> {
    let secrets = flags::by_id(&arguments.secrets, "--secret", secrets::source)?;
    let ssh_agents = flags::by_id(&arguments.ssh, "--ssh", ssh::agent)?;
    let config = caller.config()?;
    let Resolved { mut request, contexts, call, progress } = flags::resolve(arguments, &config.build)?;
    let is_told = matches!(call, Call::Outline(_) | Call::Targets(_));
    // What is told of a Dockerfile in a directory needs no store.
    if is_told && !contexts.is_fetched() {
        take(&mut request, contexts.read(None)?);
        return tell(call, &request);
    }
    let client = || LocalClient::default().with_secrets(secrets.clone()).with_ssh_agents(ssh_agents.clone());
    report::forget_id(arguments)?;
    let host = caller.host()?;
    let given = fetched(&host, contexts, client(), progress)?;
    let ignored = checks::ignored(given.ignore.as_ref())?;
    let client = take(&mut request, given).offered_by(client());
    if is_told {
        return tell(call, &request);
    }
    let builder = Builder::new(host.store.clone(), host.tier.clone(), host.registry.clone());
    let checked = Checked { host: &host, builder: &builder, request: &request, ignored };
    if let Call::Check(options) = call {
        return checked.call(options);
    }
    checked.enforce()?;
    let (settling, collector) = (host.store.settle(), Collector::beside(&host.store, &config.gc));
    let built = build(&host, &builder, &request, client, progress);
    drop(settling);
    report::explain(arguments, builder.explained().as_ref())?;
    if !matches!(progress, Progress::Quiet | Progress::None | Progress::Rawjson) {
        checked.tell(&built);
    }
    let written = built
        .map_err(|error| failure::of_build(&error, &request.dockerfile, host.store.root()))
        .and_then(|outcome| write(&host, arguments, progress, &request, &outcome));
    if let Some(warning) = collector.finish().filter(|_| !matches!(progress, Progress::Quiet | Progress::None)) {
        eprintln!("{warning}");
    }
    written.map(|()| ExitCode::SUCCESS)
}

/// What a build that succeeded leaves: on the disk, if that is to be waited for, and what is written of it.
fn write(
    host: &Host,
    arguments: &BuildArguments,
    progress: Progress,
    request: &Request,
    outcome: &Outcome,
) -> Result<(), Failure> {
    if arguments.durable == flags::Durable::Build {
        host.store.settle_now().map_err(|error| Failure::new(format!("ERROR: {}", chain(&error))))?;
    }
    report::write(arguments, progress, request, outcome)
}

/// Tells something of a Dockerfile.
fn tell(call: Call, request: &Request) -> Result<ExitCode, Failure> {
    match call {
        Call::Outline(options) => calls::outline(request, options),
        Call::Targets(options) => calls::targets(request, options),
        Call::Build | Call::Check(_) => Ok(ExitCode::SUCCESS),
    }
}

/// Gives a request its Dockerfile; the contexts are left for the client.
fn take(request: &mut Request, given: Given) -> Offered {
    request.dockerfile = given.dockerfile;
    request.named_contexts = given.named;
    given.offered
}

/// Reads what the command line names, and fetches what is not here.
fn fetched(host: &Host, contexts: Asked, client: LocalClient, progress: Progress) -> Result<Given, Failure> {
    let display = Display::new(progress);
    let given = contexts.read(Some(&Fetch::new(host, Arc::new(client), &display, cancel_on_signals)));
    display.finish();
    given
}

fn build(
    host: &Host,
    builder: &Builder,
    request: &Request,
    client: LocalClient,
    progress: Progress,
) -> Result<Outcome, BuildError> {
    let display = Display::new(progress);
    let cancellation = CancellationToken::new();
    let sink = display.sink.clone();
    let built = host.runtime.block_on(async {
        let interrupted = cancel_on_signals(cancellation.clone());
        let built = builder.build(request, Arc::new(client), sink, cancellation).await;
        interrupted.abort();
        built
    });
    display.finish();
    built
}

/// The first SIGINT, SIGTERM or SIGHUP cancels the build; it then ends in order. The second ends it at once: what runs
/// for it notices that it is gone, and the next kiln cleans up.
pub(super) fn cancel_on_signals(cancellation: CancellationToken) -> tokio::task::JoinHandle<()> {
    use tokio::signal::unix::{SignalKind, signal};
    tokio::spawn(async move {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else { return };
        let mut signalled = async || {
            tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
                _ = hangup.recv() => 1,
            }
        };
        signalled().await;
        cancellation.cancel();
        let signal = signalled().await;
        std::process::exit(128 + signal);
    })
}
