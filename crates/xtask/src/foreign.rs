//! Packages that are only looked into: downloaded, unpacked in a directory, and never installed, so that no script of
//! theirs runs here. They may be of another architecture than this machine, which learns nothing of that.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Outcome, program, run_quietly};

/// Downloads a package, for another architecture if one is named, and unpacks it below `work`; returns where.
pub(crate) fn unpacked(package: &str, architecture: Option<&str>, work: &Path) -> Outcome<PathBuf> {
    let (place, tree) = (work.join("package"), work.join("unpacked"));
    fs::create_dir_all(place.join("lists/partial")).map_err(|e| format!("{}: {e}", place.display()))?;
    let configuration = place.join("apt.conf");
    fs::write(&configuration, settings(architecture, &place)).map_err(|e| format!("{}: {e}", place.display()))?;
    let apt = |arguments: &[&str]| {
        run_quietly(program("apt-get", arguments).env("APT_CONFIG", &configuration).current_dir(&place))
    };
    // One of the machine's sources may have nothing for the architecture; what matters is whether the package is had.
    let updated = apt(&["update", "-qq"]);
    apt(&["download", "-qq", package])
        .map_err(|e| updated.err().map_or(e.clone(), |before| format!("{before}\n{e}")))?;
    let archive = archive_in(&place)?;
    let mut unpack = program("dpkg-deb", &["-x"]);
    run_quietly(unpack.arg(archive).arg(&tree))?;
    Ok(tree)
}

/// Settings of apt under which it keeps its lists in `place` and knows only one architecture.
fn settings(architecture: Option<&str>, place: &Path) -> String {
    let place = place.display();
    let mut lines = vec![
        format!("Dir::State::Lists \"{place}/lists\";"),
        "Dir::State::status \"/dev/null\";".to_owned(),
        "Dir::Cache::pkgcache \"\";".to_owned(),
        "Dir::Cache::srcpkgcache \"\";".to_owned(),
        "APT::Sandbox::User \"root\";".to_owned(),
    ];
    if let Some(architecture) = architecture {
        lines.push(format!("APT::Architecture \"{architecture}\";"));
        lines.push(format!("APT::Architectures {{ \"{architecture}\"; }};"));
    }
    lines.join("\n") + "\n"
}

fn archive_in(place: &Path) -> Outcome<PathBuf> {
    let entries = fs::read_dir(place).map_err(|e| format!("{}: {e}", place.display()))?;
    let mut archives = entries.flatten().map(|entry| entry.path());
    let found = archives.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    found.ok_or_else(|| format!("apt-get downloaded no package into {}", place.display()))
}
