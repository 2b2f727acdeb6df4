//! `info`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::caller::Caller;
use super::engine;
use crate::failure::Failure;
use crate::{output, size, template};

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
    let config = caller.config()?.shown();
    let host = caller.host()?;
    let mut info = engine(&host).info()?;
    if let Some(members) = info.as_object_mut() {
        let client =
            json!({ "Version": env!("CARGO_PKG_VERSION"), "Context": "default", "Debug": false, "Plugins": [] });
        members.insert("ClientInfo".into(), client);
        members.insert("Config".into(), config);
    }
    let text = match template {
        Some(template) => template.execute(&info).map_err(|failed| Failure::new(failed.error.to_string()))?,
        None => plain(&info),
    };
    output::line(text)?;
    Ok(ExitCode::SUCCESS)
}

fn plain(info: &Value) -> String {
    let text = |name: &str| match info.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let list = |name: &str| info.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let part = |pair: &Value, at: usize| pair.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let driver: String = list("DriverStatus").iter().map(|p| format!("  {}: {}\n", part(p, 0), part(p, 1))).collect();
    let option = |option: &Value| option.as_str().unwrap_or_default().replace("name=", "  ").replace(',', "\n   ");
    let options: String = list("SecurityOptions").iter().map(|one| option(one) + "\n").collect();
    let client = format!("Client: kiln\n Version:    {}\n Context:    default\n\n", env!("CARGO_PKG_VERSION"));
    let containers = format!(
        "Server:\n Containers: {}\n  Running: {}\n  Paused: {}\n  Stopped: {}\n",
        text("Containers"),
        text("ContainersRunning"),
        text("ContainersPaused"),
        text("ContainersStopped"),
    );
    let images = format!(
        " Images: {}\n Server Version: {}\n Storage Driver: {}\n{driver} Security Options:\n{options}",
        text("Images"),
        text("ServerVersion"),
        text("Driver"),
    );
    let memory = size::words(info.get("MemTotal").and_then(Value::as_u64).unwrap_or_default());
    let machine = format!(
        " Kernel Version: {}\n Operating System: {}\n OSType: {}\n Architecture: {}\n CPUs: {}\n Total Memory: {memory}\n",
        text("KernelVersion"),
        text("OperatingSystem"),
        text("OSType"),
        text("Architecture"),
        text("NCPU"),
    );
    let place = format!(" Name: {}\n Docker Root Dir: {}", text("Name"), text("DockerRootDir"));
    client + &containers + &images + &machine + &place + &configuration(info)
}

/// The configuration files, and a line for each key that they have.
fn configuration(info: &Value) -> String {
    let config = &info["Config"];
    let files = config["Files"].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
    let files = if files.is_empty() { "none".to_owned() } else { files.join(", ") };
    let table = |name: &str, shown: &str| {
        let keys = config[name].as_object().into_iter().flatten();
        let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        keys.map(|(key, value)| format!("\n  {shown}.{key}: {}", word(value))).collect::<String>()
    };
    format!("\n Configuration: {files}{}{}", table("Build", "build"), table("Gc", "gc"))
}
