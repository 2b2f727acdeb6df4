//! `info`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::caller::Caller;
use super::engine;
use crate::failure::Failure;
use crate::{size, template};

/// The flags of `info`.
#[derive(clap::Args, Debug)]
pub(crate) struct InfoArguments {
    /// Format the output: json, or a Go template
    #[arg(short, long)]
    format: Option<String>,
}

/// Prints what there is to know of engine and machine.
pub(crate) fn run(caller: &Caller, arguments: &InfoArguments) -> Result<ExitCode, Failure> {
    let template = arguments.format.as_deref().map(template::of_flag).transpose()?;
    let host = caller.host()?;
    let mut info = engine(&host).info()?;
    if let Some(members) = info.as_object_mut() {
        let client =
            json!({ "Version": env!("CARGO_PKG_VERSION"), "Context": "default", "Debug": false, "Plugins": [] });
        members.insert("ClientInfo".into(), client);
    }
    match template {
        Some(template) => {
            println!("{}", template.execute(&info).map_err(|failed| Failure::new(failed.error.to_string()))?);
        }
        None => print_plain(&info),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_plain(info: &Value) {
    let text = |name: &str| match info.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    println!("Client: kiln\n Version:    {}\n Context:    default\n", env!("CARGO_PKG_VERSION"));
    println!("Server:");
    println!(" Containers: {}", text("Containers"));
    println!(
        "  Running: {}\n  Paused: {}\n  Stopped: {}",
        text("ContainersRunning"),
        text("ContainersPaused"),
        text("ContainersStopped")
    );
    println!(" Images: {}", text("Images"));
    println!(" Server Version: {}", text("ServerVersion"));
    println!(" Storage Driver: {}", text("Driver"));
    for pair in info.get("DriverStatus").and_then(Value::as_array).into_iter().flatten() {
        let part = |at: usize| pair.get(at).and_then(Value::as_str).unwrap_or_default();
        println!("  {}: {}", part(0), part(1));
    }
    println!(" Security Options:");
    for option in info.get("SecurityOptions").and_then(Value::as_array).into_iter().flatten() {
        println!("  {}", option.as_str().unwrap_or_default().replace("name=", "").replace(',', "\n   "));
    }
    println!(" Kernel Version: {}", text("KernelVersion"));
    println!(" Operating System: {}", text("OperatingSystem"));
    println!(" OSType: {}", text("OSType"));
    println!(" Architecture: {}", text("Architecture"));
    println!(" CPUs: {}", text("NCPU"));
    println!(" Total Memory: {}", size::words(info.get("MemTotal").and_then(Value::as_u64).unwrap_or_default()));
    println!(" Name: {}", text("Name"));
    println!(" Docker Root Dir: {}", text("DockerRootDir"));
}
