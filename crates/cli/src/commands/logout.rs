//! `logout`: forgets what a login left.

use std::process::ExitCode;

use super::login::{Server, host_of, warn_of_variable};
use crate::failure::{Failure, chain};
use crate::{host, output};

/// The words of `logout`.
#[derive(clap::Args, Debug)]
pub(crate) struct LogoutArguments {
    /// The registry; Docker Hub if none is named
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

/// Logs out. As with docker what cannot be forgotten is a warning.
pub(crate) fn run(arguments: &LogoutArguments) -> Result<ExitCode, Failure> {
    let (shown, keys) = keys(arguments.server.as_deref());
    warn_of_variable();
    let config = host::kept_credentials()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    output::line(format_args!("Removing login credentials for {shown}"))?;
    let forget = |key: String| {
        let error = runtime.block_on(config.forget(&key)).err()?;
        Some(format!("{key}: {}", chain(&error)))
    };
    let all = keys.len();
    let failed: Vec<String> = keys.into_iter().filter_map(forget).collect();
    if failed.len() == all {
        eprintln!("WARNING: could not erase credentials:\n{}", failed.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

/// How the registry is shown, and the keys under which any docker may have kept its credentials.
fn keys(server: Option<&str>) -> (String, Vec<String>) {
    let Some(server) = server.filter(|server| !server.is_empty()) else {
        let public = Server::named(None).key().to_owned();
        return (public.clone(), vec![public]);
    };
    let host = host_of(server).to_owned();
    let schemes = [format!("http://{host}"), format!("https://{host}")];
    let mut keys = vec![server.to_owned(), host.clone()];
    keys.extend(schemes);
    keys.dedup();
    (host, keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_registry_is_forgotten() {
        let (shown, all) = keys(Some("https://a.example/v2/"));
        assert_eq!(shown, "a.example");
        assert_eq!(all, ["https://a.example/v2/", "a.example", "http://a.example", "https://a.example"]);
        assert_eq!(keys(Some("a.example")).1, ["a.example", "http://a.example", "https://a.example"]);
        assert_eq!(keys(None).1, ["https://index.docker.io/v1/"]);
    }
}
