//! `version`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::caller::Caller;
use super::engine;
use crate::failure::Failure;
use crate::template::{self, Template};

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
    match template {
        Some(template) => print_with(&template, &both)?,
        None => print_plain(&both),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_with(template: &Template, value: &Value) -> Result<(), Failure> {
    println!("{}", template.execute(value).map_err(|failed| Failure::new(failed.error.to_string()))?);
    Ok(())
}

fn print_plain(both: &Value) {
    let text = |path: &str| both.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    println!("Client: {}", text("/Client/Platform/Name"));
    println!(" Version:           {}", text("/Client/Version"));
    println!(" API version:       {}", text("/Client/ApiVersion"));
    println!(" OS/Arch:           {}/{}", text("/Client/Os"), text("/Client/Arch"));
    println!(" Context:           default");
    println!();
    println!("Server: {}", text("/Server/Platform/Name"));
    println!(" Engine:");
    println!("  Version:          {}", text("/Server/Version"));
    let minimum = text("/Server/MinAPIVersion");
    println!("  API version:      {} (minimum version {minimum})", text("/Server/ApiVersion"));
    println!("  OS/Arch:          {}/{}", text("/Server/Os"), text("/Server/Arch"));
    println!("  Kernel:           {}", text("/Server/KernelVersion"));
}
