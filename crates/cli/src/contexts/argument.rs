//! What CONTEXT and `-f` mean, as docker reads them: a directory that is there wins over everything that looks like
//! an address.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use kiln_dockerfile::GitUrl;

use crate::failure::Failure;

/// What CONTEXT means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ContextArgument {
    /// `-`
    Stdin,
    /// A directory.
    Directory(PathBuf),
    /// A git repository.
    Repository(GitUrl),
    /// An archive or a Dockerfile on a web server.
    Web(String),
}

/// What `-f` means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileArgument {
    /// It was not given.
    Default,
    /// `-`
    Stdin,
    /// A file on a web server.
    Web(String),
    /// A path: in the context if that is fetched, of this machine otherwise.
    Path(PathBuf),
}

impl ContextArgument {
    /// Reads it.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if text == "-" {
            return Ok(ContextArgument::Stdin);
        }
        let path = PathBuf::from(text);
        let error = match path.metadata() {
            Ok(metadata) if metadata.is_dir() => return Ok(ContextArgument::Directory(path)),
            Ok(_) => return Err(unusable(format!("{text:?} is not a directory"))),
            Err(error) => error,
        };
        if let Some(url) = GitUrl::of_context(text) {
            return Ok(ContextArgument::Repository(url));
        }
        if is_web(text) {
            return Ok(ContextArgument::Web(text.to_owned()));
        }
        Err(unusable(match error.kind() {
            ErrorKind::NotFound => format!("path {text:?} not found"),
            _ => format!("path {text:?}: {error}"),
        }))
    }
}

impl FileArgument {
    /// Reads it.
    pub(super) fn parse(file: Option<&Path>) -> Self {
        match file {
            None => FileArgument::Default,
            Some(path) if path == Path::new("-") => FileArgument::Stdin,
            Some(path) => match path.to_str().filter(|text| is_web(text)) {
                Some(url) => FileArgument::Web(url.to_owned()),
                None => FileArgument::Path(path.to_owned()),
            },
        }
    }
}

/// Whether a text is an address of a web server.
pub(super) fn is_web(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn unusable(reason: String) -> Failure {
    Failure::new(format!("ERROR: failed to build: unable to prepare context: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_told_apart() {
        let parse = |text: &str| ContextArgument::parse(text).map_err(|failure| failure.message);
        assert_eq!(parse("-").unwrap(), ContextArgument::Stdin);
        assert_eq!(parse("/").unwrap(), ContextArgument::Directory("/".into()));
        assert_eq!(parse("https://h/c.tgz").unwrap(), ContextArgument::Web("https://h/c.tgz".into()));
        for text in ["https://h/r.git#v1", "git@h:r", "github.com/o/r", "ssh://git@h/r", "git://h/r", "file:///srv/r"] {
            assert!(matches!(parse(text).unwrap(), ContextArgument::Repository(_)), "{text}");
        }
        assert_eq!(
            parse("no/such").unwrap_err(),
            "ERROR: failed to build: unable to prepare context: path \"no/such\" not found"
        );
        assert!(parse("/etc/passwd").unwrap_err().contains("is not a directory"));
        assert!(parse("ext::sh -c id").unwrap_err().contains("not found"));
    }

    #[test]
    fn files_are_told_apart() {
        let parse = |text: &str| FileArgument::parse(Some(Path::new(text)));
        assert_eq!(FileArgument::parse(None), FileArgument::Default);
        assert_eq!(parse("-"), FileArgument::Stdin);
        assert_eq!(parse("https://h/Dockerfile"), FileArgument::Web("https://h/Dockerfile".into()));
        assert_eq!(parse("./-"), FileArgument::Path("./-".into()));
    }
}
