//! `-v` values: `PATH`, `VOLUME:PATH[:MODE]`, `/HOST/PATH:PATH[:MODE]`.

use std::path::PathBuf;

use crate::{Error, names};

/// Words that say how a mount is shared or labelled, all of which mean nothing here.
const IGNORED_MODES: [&str; 11] =
    ["z", "Z", "cached", "delegated", "consistent", "private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// What a `-v` value asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Specification {
    pub(crate) origin: Origin,
    /// Absolute, without a trailing slash.
    pub(crate) destination: String,
    /// As given.
    pub(crate) mode: String,
    pub(crate) writable: bool,
    /// A new volume is filled from the image.
    pub(crate) copies: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Host(PathBuf),
    Volume(String),
    Anonymous,
}

impl Specification {
    /// A value with a colon in it.
    pub(crate) fn parse(value: &str) -> Result<Self, Error> {
        let invalid = |reason| Error::InvalidVolume { value: value.into(), reason };
        let mut fields = value.split(':');
        let (source, destination) = match (fields.next(), fields.next()) {
            (Some(source), Some(destination)) if !source.is_empty() => (source, destination),
            _ => return Err(invalid("there is nothing before the colon")),
        };
        let mode = fields.next().unwrap_or_default();
        if fields.next().is_some() {
            return Err(invalid("it has more than three fields"));
        }
        let origin = if source.starts_with('/') {
            Origin::Host(source.into())
        } else if names::is_name(source) {
            Origin::Volume(source.into())
        } else {
            return Err(Error::InvalidVolumeName(source.into()));
        };
        let mut specification = Specification {
            origin,
            destination: destination_path(destination).ok_or_else(|| invalid("the mount path must be absolute"))?,
            mode: mode.into(),
            writable: true,
            copies: true,
        };
        specification.apply_mode()?;
        Ok(specification)
    }

    /// A volume that nobody named.
    pub(crate) fn anonymous(path: &str) -> Result<Self, Error> {
        let reason = "the mount path must be absolute";
        let destination = destination_path(path).ok_or_else(|| Error::InvalidVolume { value: path.into(), reason })?;
        Ok(Specification { origin: Origin::Anonymous, destination, mode: String::new(), writable: true, copies: true })
    }

    fn apply_mode(&mut self) -> Result<(), Error> {
        for word in self.mode.split(',').filter(|word| !word.is_empty()) {
            match word {
                "ro" => self.writable = false,
                "rw" => self.writable = true,
                "nocopy" => self.copies = false,
                word if IGNORED_MODES.contains(&word) => {}
                _ => return Err(Error::InvalidMode(self.mode.clone())),
            }
        }
        Ok(())
    }
}

fn destination_path(path: &str) -> Option<String> {
    let trimmed = path.trim_end_matches('/');
    (path.starts_with('/') && !trimmed.is_empty()).then(|| trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_understood_as_docker_does() {
        let parsed = Specification::parse("/src:/dst/:ro,z").unwrap();
        assert_eq!(
            (parsed.origin, parsed.destination.as_str(), parsed.writable),
            (Origin::Host("/src".into()), "/dst", false)
        );
        let parsed = Specification::parse("vol:/v:nocopy").unwrap();
        assert_eq!((parsed.origin, parsed.copies), (Origin::Volume("vol".into()), false));
    }

    #[test]
    fn what_cannot_be_is_refused_in_dockers_words() {
        let check = |value: &str, want: &str| {
            let error = Specification::parse(value).unwrap_err().to_string();
            assert!(error.contains(want), "{value}: {error}");
        };
        check("/no/such:/x:banana", "invalid mode: banana");
        check("bad/name:/x", "includes invalid characters for a local volume name");
        check("../up:/x", "includes invalid characters for a local volume name");
        check("vol:rel", "must be absolute");
        check("vol:/", "must be absolute");
        check(":/x", "nothing before the colon");
    }
}
