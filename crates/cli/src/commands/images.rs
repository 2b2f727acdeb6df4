//! `images`.

use std::process::ExitCode;

use super::caller::Caller;
use super::engine;
use crate::failure::Failure;
use crate::{size, table};

/// The flags of `images`.
#[derive(clap::Args, Debug)]
pub(crate) struct ImagesArguments {}

/// Lists.
pub(crate) fn run(caller: &Caller, _: &ImagesArguments) -> Result<ExitCode, Failure> {
    let host = caller.host()?;
    let mut lines = vec!["REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE".to_owned()];
    for image in engine(&host).images()? {
        for tag in &image.tags {
            let (name, tag) = tag.rsplit_once(':').unwrap_or((tag, "<none>"));
            lines.push(format!("{name}\t{tag}\t{}\t\t{}", image.id.short(), size::words(image.size)));
        }
    }
    print!("{}", table::aligned(&lines));
    Ok(ExitCode::SUCCESS)
}
