//! The context of a project as files, changed in place from build to build as a user would.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kiln_tests::tarball::{Entry, tarball};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use crate::copy::archive_entries;
use crate::project::{Item, ItemKind, Project};
use crate::random::Random;
use crate::tree::Kind;

/// The directories of one project's context over time.
pub(crate) struct Disk {
    parent: PathBuf,
    place: Option<usize>,
    files: BTreeMap<String, Item>,
}

impl Disk {
    /// Contexts in directories below `parent`.
    pub(crate) fn new(parent: PathBuf) -> Disk {
        Disk { parent, place: None, files: BTreeMap::new() }
    }

    /// Makes the files what the project says, touching only those that differ; gives their directory.
    pub(crate) fn write(&mut self, project: &Project, random: &mut Random) -> PathBuf {
        let root = self.parent.join(format!("context{}", project.place));
        if self.place != Some(project.place) {
            fs::create_dir(&root).expect("directory of a context");
            self.files.clear();
            self.place = Some(project.place);
        }
        let files = project.files();
        let differs = |path: &String| self.files.get(path) != files.get(path) || is_linked(path, &self.files, &files);
        let different: Vec<&String> = files.keys().filter(|path| differs(path)).collect();
        for path in self.files.keys().rev().filter(|path| must_go(path, &self.files, &files)) {
            remove(&root.join(path));
        }
        for path in &different {
            write_item(&root, path, &files[*path], random);
        }
        for path in different.iter().rev() {
            let item = &files[*path];
            if !matches!(item.kind, ItemKind::Symlink(_)) {
                fs::set_permissions(root.join(path), Permissions::from_mode(item.mode)).expect("permissions");
            }
            set_time(&root.join(path), item.time);
        }
        for (path, item) in files.iter().rev().filter(|(_, item)| item.kind == ItemKind::Directory) {
            set_time(&root.join(path), item.time);
        }
        self.files = files;
        root
    }
}

/// Whether a file had or has other names: it is made anew when anything changed.
fn is_linked(path: &str, before: &BTreeMap<String, Item>, now: &BTreeMap<String, Item>) -> bool {
    let linked = |files: &BTreeMap<String, Item>| {
        files.iter().any(|(other, item)| match &item.kind {
            ItemKind::Link(first) => first == path || other == path,
            _ => false,
        })
    };
    linked(before) || linked(now)
}

fn must_go(path: &str, before: &BTreeMap<String, Item>, now: &BTreeMap<String, Item>) -> bool {
    let Some(item) = now.get(path) else { return true };
    let plain = |item: &Item| matches!(item.kind, ItemKind::File(_) | ItemKind::Archive(_));
    let stays = before[path].kind == item.kind || (plain(&before[path]) && plain(item));
    !stays || is_linked(path, before, now)
}

fn remove(path: &Path) {
    let is_directory = fs::symlink_metadata(path).expect("entry of a context").is_dir();
    let removed = if is_directory { fs::remove_dir(path) } else { fs::remove_file(path) };
    removed.expect("entry of a context");
}

fn write_item(root: &Path, path: &str, item: &Item, random: &mut Random) {
    let at = root.join(path);
    let result = match &item.kind {
        ItemKind::Directory if at.is_dir() => Ok(()),
        ItemKind::Directory => fs::create_dir(&at),
        ItemKind::Symlink(target) => {
            let _ = fs::remove_file(&at);
            symlink(target, &at)
        }
        ItemKind::Link(first) => fs::hard_link(root.join(first), &at),
        ItemKind::File(content) => replace(&at, content.as_bytes(), random),
        ItemKind::Archive(content) => replace(&at, &archive(content), random),
    };
    result.unwrap_or_else(|error| panic!("{}: {error}", at.display()));
}

/// Writes into the file itself, or puts another in its place.
fn replace(at: &Path, content: &[u8], random: &mut Random) -> std::io::Result<()> {
    if random.once_in(2) {
        return fs::write(at, content);
    }
    let new = at.with_file_name(".being-written");
    fs::write(&new, content)?;
    fs::rename(&new, at)
}

fn archive(content: &str) -> Vec<u8> {
    let entries = archive_entries(content);
    let entries: Vec<Entry<'_>> = entries
        .iter()
        .map(|(path, kind, _)| match kind {
            Kind::File(text) => Entry::file(path, text.as_bytes()),
            Kind::Directory => Entry::directory(path),
            Kind::Symlink(target) => Entry::symlink(path, target),
        })
        .collect();
    tarball(&entries)
}

fn set_time(path: &Path, seconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("time of a file");
}
