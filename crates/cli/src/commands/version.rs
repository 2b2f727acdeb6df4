//! `version`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::caller::Caller;
use super::engine;
use crate::failure::Failure;
use crate::{output, template};

/// The flags of `version`.
#[derive(clap::Args, Debug)]
pub(crate) struct VersionArguments {
    /// Format the output: json, or a Go template
    #[arg(short, long)]
    format: Option<String>,
}

/// Prints client and engine, which are one program.
pub(crate) fn run(caller: &Caller, arguments: &VersionArguments) -> Result<ExitCode, Failure> {
    let template = arguments.format.as_deref().map(template::of_flag).transpose()?;
    let host = caller.host()?;
    let server = engine(&host).version();
    let member = |name: &str| server.get(name).cloned().unwrap_or_default();
    let client = json!({
        "Platform": member("Platform"),
        "Version": member("Version"),
        "ApiVersion": member("ApiVersion"),
        "DefaultAPIVersion": member("ApiVersion"),
        "Os": member("Os"),
        "Arch": member("Arch"),
        "Context": "default",
    });
    let both = json!({ "Client": client, "Server": server });
    let text = match template {
        Some(template) => template.execute(&both).map_err(|failed| Failure::new(failed.error.to_string()))?,
        None => plain(&both),
    };
    output::line(text)?;
    Ok(ExitCode::SUCCESS)
}

fn plain(both: &Value) -> String {
    let text = |path: &str| both.pointer(path).and_then(Value::as_str).unwrap_or_default();
    format!(
        "Client: {}
 Version:           {}
 API version:       {}
 OS/Arch:           {}/{}
 Context:           default

Server: {}
 Engine:
  Version:          {}
  API version:      {} (minimum version {})
  OS/Arch:          {}/{}
  Kernel:           {}",
        text("/Client/Platform/Name"),
        text("/Client/Version"),
        text("/Client/ApiVersion"),
        text("/Client/Os"),
        text("/Client/Arch"),
        text("/Server/Platform/Name"),
        text("/Server/Version"),
        text("/Server/ApiVersion"),
        text("/Server/MinAPIVersion"),
        text("/Server/Os"),
        text("/Server/Arch"),
        text("/Server/KernelVersion"),
    )
}
