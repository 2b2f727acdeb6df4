//! The file `version`: one line that says what a directory is before anything else in it is opened.
//!
//! `kiln store <format> <root|rootless> [kiln <version>]`. It does not know what the formats are.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::error::{At, Error, Result};
use crate::fault::{self, Operation};
use crate::migrations::FORMAT;
use crate::store::Mode;

/// The file in `tmp` that becomes the version file.
pub(crate) const NEW: &str = "version";

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) format: u32,
    pub(crate) mode: Mode,
    /// The version of the kiln that made or migrated the store.
    pub(crate) kiln: Option<String>,
}

/// Reads the file below `root`; `None` if there is none.
pub(crate) fn read(root: &Path) -> Result<Option<Version>> {
    let path = root.join("version");
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let not_a_store = || Error::NotAStore { path: path.clone(), found: text.chars().take(40).collect() };
    parse(&text).ok_or_else(not_a_store).map(Some)
}

/// Writes the file for this program's format. It is on disk before it takes the place of an older one.
pub(crate) fn write(root: &Path, mode: Mode) -> Result<()> {
    let (new, version) = (root.join("tmp").join(NEW), root.join("version"));
    let mut file = fault::run(Operation::Create, || File::create(&new)).at("create", &new)?;
    let line = format!("kiln store {FORMAT} {} kiln {}\n", mode.as_str(), env!("CARGO_PKG_VERSION"));
    fault::run(Operation::Write, || file.write_all(line.as_bytes())).at("write", &new)?;
    fault::run(Operation::Sync, || file.sync_data()).at("sync", &new)?;
    fault::run(Operation::Rename, || fs::rename(&new, &version)).at("create", &version)
}

fn parse(text: &str) -> Option<Version> {
    let mut words = text.split_whitespace();
    if (words.next()?, words.next()?) != ("kiln", "store") {
        return None;
    }
    let format = words.next()?.parse().ok()?;
    let mode = match words.next()? {
        "root" => Mode::Root,
        "rootless" => Mode::Rootless,
        _ => return None,
    };
    let is_version = |word: &&str| word.len() <= 40 && word.chars().all(|each| each.is_ascii_graphic());
    let kiln = (words.next() == Some("kiln")).then(|| words.next()).flatten();
    Some(Version { format, mode, kiln: kiln.filter(is_version).map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_format_mode_and_the_kiln_that_wrote_it() {
        let old = Version { format: 2, mode: Mode::Root, kiln: None };
        assert_eq!(parse("kiln store 2 root\n"), Some(old));
        let new = Version { format: 3, mode: Mode::Rootless, kiln: Some("0.9.1".into()) };
        assert_eq!(parse("kiln store 3 rootless kiln 0.9.1 and more\n"), Some(new));
        for wrong in ["", "kiln", "kiln store", "kiln store x root", "kiln store 3", "kiln store 3 toor", "a b 3 root"]
        {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = crate::testing::directory();
        std::fs::create_dir(directory.path().join("tmp")).unwrap();
        assert_eq!(read(directory.path()).unwrap(), None);
        write(directory.path(), Mode::Root).unwrap();
        let kiln = Some(env!("CARGO_PKG_VERSION").to_owned());
        assert_eq!(read(directory.path()).unwrap(), Some(Version { format: FORMAT, mode: Mode::Root, kiln }));
    }
}
