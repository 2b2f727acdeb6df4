//! `kiln build`.

mod calls;
mod flags;
mod metadata;
mod report;
mod secrets;
mod ssh;

pub(crate) use flags::BuildArguments;

use std::process::ExitCode;
use std::sync::Arc;

use kiln_build::{Builder, LocalClient};
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use crate::display::Display;
use crate::failure::{self, Failure};
use flags::{Call, Resolved};

/// Builds.
pub(crate) fn run(caller: &Caller, arguments: &BuildArguments) -> Result<ExitCode, Failure> {
    let Resolved { request, directories, call, progress } = flags::resolve(arguments)?;
    let secrets = flags::by_id(&arguments.secrets, "--secret", secrets::source)?;
    let ssh_agents = flags::by_id(&arguments.ssh, "--ssh", ssh::agent)?;
    report::forget_id(arguments)?;
    if call != Call::Build {
        return calls::run(call, &request);
    }
    let host = caller.host()?;
    let client = Arc::new(LocalClient::new(directories).with_secrets(secrets).with_ssh_agents(ssh_agents));
    let builder = Builder::new(host.store.clone(), host.tier.clone(), host.registry.clone());
    let display = Display::new(progress);
    let settling = host.store.settle();
    let cancellation = CancellationToken::new();
    let sink = display.sink.clone();
    let built = host.runtime.block_on(async {
        let interrupted = cancel_on_signals(cancellation.clone());
        let built = builder.build(&request, client, sink, cancellation).await;
        interrupted.abort();
        built
    });
    display.finish();
    drop(settling);
    let outcome =
        built.map_err(|error| failure::of_build(&error, &request.dockerfile, host.store.root()))?;
    report::write(arguments, progress, &request, &outcome)?;
    Ok(ExitCode::SUCCESS)
}

/// The first SIGINT, SIGTERM or SIGHUP cancels the build; it then ends in order.
fn cancel_on_signals(cancellation: CancellationToken) -> tokio::task::JoinHandle<()> {
    use tokio::signal::unix::{SignalKind, signal};
    tokio::spawn(async move {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else { return };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        cancellation.cancel();
    })
}
