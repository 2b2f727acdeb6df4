//! The build's caller on this machine: which context a command line means, and its ignore file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_build::{DockerfileText, IgnoreFile, LocalDirectory};

use crate::failure::Failure;

/// The name of the main context.
pub(crate) const MAIN: &str = "context";

/// A Dockerfile and the directory that it is built with.
pub(crate) struct MainContext {
    pub(crate) dockerfile: DockerfileText,
    pub(crate) directory: LocalDirectory,
}

/// Reads the Dockerfile of a context directory, and the ignore file that goes with it.
pub(crate) fn main_context(context: &str, file: Option<&Path>) -> Result<MainContext, Failure> {
    let path = directory(context)?;
    let dockerfile = match file {
        Some(file) if file == Path::new("-") => read_stdin()?,
        Some(file) => read(file, &shown(file))?,
        None => read(&path.join("Dockerfile"), "Dockerfile")?,
    };
    let beside = match file {
        Some(file) if file == Path::new("-") => path.join("Dockerfile"),
        Some(file) => file.to_owned(),
        None => path.join("Dockerfile"),
    };
    let ignore = ignore_file(&beside, &path)?;
    Ok(MainContext { dockerfile, directory: LocalDirectory { path, ignore } })
}

/// Further local contexts, each with its own ignore file.
pub(crate) fn named_directories(named: &[(String, PathBuf)]) -> Result<BTreeMap<String, LocalDirectory>, Failure> {
    let mut directories = BTreeMap::new();
    for (name, path) in named {
        let ignore = read_ignore(&path.join(".dockerignore"))?;
        directories.insert(name.clone(), LocalDirectory { path: path.clone(), ignore });
    }
    Ok(directories)
}

fn directory(context: &str) -> Result<PathBuf, Failure> {
    let unsupported =
        |what: &str| Err(Failure::new(format!("ERROR: a context from {what} is not supported yet: {context}")));
    if context == "-" {
        return unsupported("standard input");
    }
    let path = PathBuf::from(context);
    if !path.exists() && (context.contains("://") || context.starts_with("git@") || context.starts_with("github.com/"))
    {
        return unsupported("a URL or a repository");
    }
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(path),
        Ok(_) => Err(Failure::new(format!("ERROR: unable to prepare context: {context:?} is not a directory"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::new(format!("ERROR: unable to prepare context: path {context:?} not found")))
        }
        Err(error) => Err(Failure::new(format!("ERROR: unable to prepare context: path {context:?}: {error}"))),
    }
}

fn shown(file: &Path) -> String {
    file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
}

fn read(path: &Path, name: &str) -> Result<DockerfileText, Failure> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new(format!(
            "ERROR: failed to build: failed to read dockerfile: open {}: no such file or directory{}",
            path.display(),
            similar(path)
        )),
        _ => Failure::new(format!("ERROR: failed to build: failed to read dockerfile {}: {error}", path.display())),
    })?;
    Ok(DockerfileText { name: name.into(), text: kiln_dockerfile::text_of(&bytes) })
}

/// A file in the same directory whose name may have been meant.
fn similar(path: &Path) -> String {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return String::new() };
    let Ok(entries) = std::fs::read_dir(if directory.as_os_str().is_empty() { Path::new(".") } else { directory })
    else {
        return String::new();
    };
    let same = entries.flatten().map(|entry| entry.file_name()).find(|other| {
        let other = other.to_string_lossy().to_ascii_lowercase();
        other == name.to_string_lossy().to_ascii_lowercase() || other == "containerfile"
    });
    same.map_or_else(String::new, |other| format!("\nhint: there is {:?}; name it with -f", other.to_string_lossy()))
}

fn read_stdin() -> Result<DockerfileText, Failure> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)?;
    Ok(DockerfileText { name: "Dockerfile".into(), text: kiln_dockerfile::text_of(&bytes) })
}

/// `NAME.dockerignore` beside the Dockerfile, or `.dockerignore` of the context.
fn ignore_file(dockerfile: &Path, context: &Path) -> Result<Option<IgnoreFile>, Failure> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    match read_ignore(Path::new(&own))? {
        Some(own) => Ok(Some(own)),
        None => read_ignore(&context.join(".dockerignore")),
    }
}

fn read_ignore(path: &Path) -> Result<Option<IgnoreFile>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(IgnoreFile { name: shown(path), text: String::from_utf8_lossy(&bytes).into_owned() })),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(Failure::new(format!("ERROR: cannot read {}: {error}", path.display()))),
    }
}
