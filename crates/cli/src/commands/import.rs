//! `import`: an image of a flat tar.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;

use kiln_engine::{Error, ImportOptions};
use kiln_oci::{ContainerConfig, Platform};
use kiln_registry::WebAnswer;

use super::caller::Caller;
use super::{changes, engine};
use crate::failure::{Failure, chain};
use crate::host::Host;
use crate::{collector, os_error, output};

/// The flags of `import`.
#[derive(clap::Args, Debug)]
pub(crate) struct ImportArguments {
    /// The archive: a file, an address, or - for the standard input
    #[arg(value_name = "file|URL|-")]
    source: String,
    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
    /// What follows counts for nothing
    #[arg(hide = true)]
    rest: Vec<String>,
    /// Apply a Dockerfile instruction to the image
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// A remark for the image's history
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// What the image is for; this machine without
    #[arg(long)]
    platform: Option<Platform>,
}

/// Imports.
pub(crate) fn run(caller: &Caller, arguments: &ImportArguments) -> Result<ExitCode, Failure> {
    let source = Source::open(&arguments.source)?;
    let name = changes::image_name(arguments.name.as_deref())?;
    let platform = arguments.platform.clone().unwrap_or_else(Platform::host);
    let config = changes::applied(&ContainerConfig::default(), &arguments.changes, &platform)?;
    let settings = caller.config()?;
    let host = caller.host()?;
    let message = match (arguments.message.as_str(), &source) {
        ("", Source::Web(address)) => format!("Imported from {address}"),
        ("", Source::Bytes(_)) => "Imported from -".to_owned(),
        (message, _) => message.to_owned(),
    };
    let options = ImportOptions { name, message, platform, config };
    let id = match source {
        Source::Bytes(archive) => engine(&host).import(archive, options),
        Source::Web(address) => engine(&host).import(Download::start(&host, &address)?, options),
    };
    output::line(id.map_err(of_import)?)?;
    collector::collect(&host.store, &settings.gc);
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with an archive, without the words that a person has no use for.
fn of_import(error: Error) -> Failure {
    match error {
        Error::Load(error) => Failure::new(format!("Error response from daemon: {}", chain(error.as_ref()))),
        other => other.into(),
    }
}

/// Where an archive comes from.
enum Source {
    /// A file, or the standard input.
    Bytes(Box<dyn Read + Send>),
    /// An address.
    Web(String),
}

impl Source {
    fn open(source: &str) -> Result<Source, Failure> {
        if source == "-" {
            return Ok(Source::Bytes(Box::new(io::stdin())));
        }
        if source.starts_with("http://") || source.starts_with("https://") {
            return Ok(Source::Web(source.to_owned()));
        }
        let path = Path::new(source);
        let file = File::open(path).map_err(|error| os_error::failure("open", path, &error))?;
        Ok(Source::Bytes(Box::new(file)))
    }
}

/// A download as a stream for a thread that may wait.
struct Download<'a> {
    runtime: &'a tokio::runtime::Runtime,
    answer: WebAnswer,
    piece: bytes::Bytes,
}

impl<'a> Download<'a> {
    fn start(host: &'a Host, address: &str) -> Result<Self, Failure> {
        let failed = |reason: String| Failure::new(format!("Error response from daemon: {reason}"));
        output::line(format_args!("Downloading from {address}"))?;
        let answer = host.runtime.block_on(host.registry.web_get(address, &[]));
        let answer = answer.map_err(|error| failed(chain(&error)))?;
        if answer.status() >= 400 {
            return Err(failed(format!("{address}: the server answers {}", answer.status())));
        }
        Ok(Download { runtime: &host.runtime, answer, piece: bytes::Bytes::new() })
    }
}

impl Read for Download<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.answer.chunk()).map_err(io::Error::other)? {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buffer.len());
        let piece = self.piece.split_to(count);
        if let Some(start) = buffer.get_mut(..count) {
            start.copy_from_slice(&piece);
        }
        Ok(count)
    }
}
