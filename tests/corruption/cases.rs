//! The classes of damage, with what must be said of each.

use std::path::Path;

use super::damage;
use super::project::Project;

/// One class of damage.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Does it to the store.
    pub(crate) damage: fn(&Project),
    /// What an export of the damaged build is.
    pub(crate) export: Export,
    /// What `system check` must say.
    pub(crate) found: &'static str,
}

/// What an export may be.
pub(crate) enum Export {
    /// As if nothing had happened.
    Right,
    /// That, or an error that has these words.
    OrError(&'static [&'static str]),
}

use Export::{OrError, Right};

/// What a database that cannot be read says.
const OF_DATABASE: Export = OrError(&["db.sqlite", "`kiln system check --repair`"]);

const fn case(name: &'static str, damage: fn(&Project), export: Export, found: &'static str) -> Case {
    Case { name, damage, export, found }
}

fn index(project: &Project) -> std::path::PathBuf {
    project.newest_layer("ran/r").join("index")
}

fn database(project: &Project) -> std::path::PathBuf {
    project.kiln.root().join("db.sqlite")
}

/// Does it to a file of every step: copied from a context, written by a process, copied from an image, of the base.
fn in_all_layers(project: &Project, act: fn(&Path)) {
    for path in ["copied/a", "ran/r", "from/f", "bin/busybox"] {
        act(&project.newest(path));
    }
}

fn all_blobs(project: &Project, documents: bool, act: fn(&Path)) {
    damage::blobs_of(&project.kiln.root(), documents).iter().for_each(|blob| act(blob));
}

/// Every class.
pub(crate) static CASES: &[Case] = &[
    case("a bit flipped in every layer", |it| in_all_layers(it, damage::flip), Right, "fs/ran/r: "),
    case("the same, seen by its time", |it| in_all_layers(it, damage::flip_loudly), Right, "fs/copied/a: "),
    case("files of every layer truncated", |it| in_all_layers(it, damage::truncate), Right, "bytes instead of"),
    case("files of every layer deleted", |it| in_all_layers(it, damage::delete), Right, "it is missing"),
    case("files of every layer replaced", |it| in_all_layers(it, damage::replace), Right, "fs/from/f: "),
    case("a flip in a file of a process", |it| damage::flip(&it.newest("ran/r")), Right, "fs/ran/r: "),
    case("a flip in a copied file", |it| damage::flip(&it.newest("copied/b")), Right, "its bytes differ"),
    case("a flip in the base", |it| damage::flip(&it.newest("bin/busybox")), Right, "a repair unpacks it again"),
    case("a link in place of a file", |it| damage::link(&it.newest("copied/a")), Right, "it is of another kind"),
    case("a directory in place of a file", |it| damage::directory(&it.newest("ran/r")), Right, "it is of another kind"),
    case("a directory deleted", |it| damage::delete(&it.newest("copied")), Right, "copied: it is missing"),
    case("another target of a link", |it| damage::link(&it.newest("ran/link")), Right, "it leads somewhere else"),
    case("another mode", |it| damage::mode(&it.newest("copied/a")), Right, "its mode is 4711"),
    case("another mode of a directory", |it| damage::mode(&it.newest("ran/closed")), Right, "its mode is 4711"),
    case("another owner", |it| damage::owner(&it.newest("copied/a")), Right, "its owner is 77:78"),
    case("another owner of a link", |it| damage::owner(&it.newest("ran/link")), Right, "its owner is 77:78"),
    case("a further xattr", |it| damage::xattr(&it.newest("copied/a")), Right, "its extended attributes differ"),
    case("a further file", |it| damage::extra(&it.newest("copied/a")), Right, "copied/extra: it does not belong there"),
    case("a deletion taken back", |it| damage::delete(&it.newest("etc/group")), Right, "etc/group: it is missing"),
    case("an index flipped", |it| damage::flip(&index(it)), Right, "its checksum is wrong"),
    case("an index truncated", |it| damage::truncate(&index(it)), Right, "index: its index is damaged"),
    case("an index emptied", |it| std::fs::write(index(it), "").expect("write"), Right, "it is too short"),
    case("an index deleted", |it| damage::delete(&index(it)), Right, "its index is missing"),
    case(
        "a layer's files deleted",
        |it| damage::delete(&it.newest_layer("ran/r").join("fs")),
        Right,
        "files are missing",
    ),
    case("a layer deleted", |it| damage::delete(&it.newest_layer("ran/r")), Right, "its directory is missing"),
    case("the base's layer deleted", |it| damage::delete(&it.newest_layer("bin/busybox")), Right, "its directory is"),
    case("a directory of no layer", |it| damage::extra(&it.newest_layer("ran/r")), Right, "layers/extra"),
    case("documents flipped", |it| all_blobs(it, true, damage::flip), OrError(&["damaged"]), "its bytes differ"),
    case("documents deleted", |it| all_blobs(it, true, damage::delete), OrError(&["damaged"]), "it is missing"),
    case("layers' blobs flipped", |it| all_blobs(it, false, damage::flip), Right, "its bytes differ"),
    case("layers' blobs truncated", |it| all_blobs(it, false, damage::truncate), Right, "bytes instead of"),
    case("layers' blobs deleted", |it| all_blobs(it, false, damage::delete), Right, "it is missing"),
    case(
        "a blob that nobody knows",
        |it| damage::extra(&damage::blobs(&it.kiln.root())[0]),
        Right,
        "blobs/sha256/extra",
    ),
    case("a database's header", |it| damage::garbage(&database(it), 0, 100), OF_DATABASE, "db.sqlite"),
    case("a database's first page", |it| damage::garbage(&database(it), 0, 4096), OF_DATABASE, "db.sqlite"),
    case("a database's second half", |it| damage::truncate(&database(it)), OF_DATABASE, "db.sqlite"),
    case("a database in the middle", |it| damage::garbage(&database(it), 8192, 20000), OF_DATABASE, "db.sqlite"),
    case("a database emptied", |it| std::fs::write(database(it), "").expect("write"), OF_DATABASE, "db.sqlite"),
    case("a database deleted", |it| damage::remove_database(&it.kiln.root()), OF_DATABASE, "db.sqlite"),
    case(
        "the version file",
        |it| damage::garbage(&it.kiln.root().join("version"), 0, 9),
        OrError(&["version"]),
        "version",
    ),
    case("digests of a context", stat_cache, Right, "contexts/"),
    case(
        "a file among the logs",
        |it| std::fs::write(it.kiln.root().join("logs/x"), "").expect("log"),
        Right,
        "logs/x",
    ),
];

fn stat_cache(project: &Project) {
    // It is written when the files of the context are old enough to be told apart by their times.
    let place = project.kiln.root().join("contexts/0123456789abcdef0123456789abcdef");
    std::fs::write(place, "kilnstat, and nothing after it").expect("write");
}
