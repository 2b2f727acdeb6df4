//! Lists of the files that steps took, for explanations: which files differ between two of them.
//!
//! A list is cut into pieces where the paths themselves say so, and each piece is kept once under the digest of its
//! bytes. So the list of 50,000 files of which one changed adds one piece, and two lists are compared by reading the
//! pieces in which they differ. Paths within a piece leave out what they share with the one before.
//!
//! Bounded: the newest [`KEPT_LISTS`] lists and about [`KEPT_BYTES`] of pieces. A list that is gone is no error.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use crate::error::Result;
use crate::metadata::Kind;
use crate::records::Key;
use crate::store::Inner;

/// How many lists are kept.
const KEPT_LISTS: i64 = 1024;

/// How many bytes of pieces are kept.
const KEPT_BYTES: i64 = 64 << 20;

/// How often it is looked whether there is too much: at every so many lists.
const LOOK_EVERY: i64 = 16;

/// A piece ends behind a path whose hash has these bits clear: about every 256 paths.
const CUT_MASK: u64 = 0xff;

/// A piece has at most so many entries.
const LONGEST_PIECE: usize = 4096;

/// Bytes of a digest that are kept: enough to tell two contents apart.
const SHORT: usize = 8;

/// A file as it counted for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedFile<'a> {
    /// Its path from the root of its tree.
    pub path: &'a [u8],
    /// What the path is.
    pub facts: FileFacts,
}

/// What is compared of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    /// Its kind.
    pub kind: Kind,
    /// Its permissions.
    pub mode: u32,
    /// The beginning of the digest of its content; of a symlink that of its target.
    pub content: [u8; SHORT],
    /// The same of its owner and capabilities, where these count; zeros where not.
    pub owner: [u8; SHORT],
}

/// How two lists differ. Paths are sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileDifferences {
    /// Paths that only the later has.
    pub added: Vec<Vec<u8>>,
    /// Paths that only the earlier has.
    pub removed: Vec<Vec<u8>>,
    /// Paths that both have, with what each says of them.
    pub changed: Vec<(Vec<u8>, FileFacts, FileFacts)>,
}

/// The lists of a store.
pub struct FileLists<'a> {
    pub(crate) store: &'a Arc<Inner>,
}

type Entries = BTreeMap<Vec<u8>, FileFacts>;

impl FileLists<'_> {
    /// Keeps a list, whose entries are sorted by path, and tells its digest. Equal lists have equal digests.
    pub fn keep<'f>(&self, files: impl IntoIterator<Item = ListedFile<'f>>) -> Result<Key> {
        let pieces = cut(files);
        let digests: Vec<u8> = pieces.iter().flat_map(|(digest, _)| *digest).collect();
        let list = *blake3::hash(&digests).as_bytes();
        let known = "SELECT 1 FROM file_lists WHERE digest = ?1";
        if self.store.database.read(|db| db.prepare_cached(known)?.exists([list]))? {
            return Ok(Key(list));
        }
        self.store.database.write(|db| {
            let piece = "INSERT OR IGNORE INTO file_list_pieces (digest, entries) VALUES (?1, ?2)";
            for (digest, entries) in &pieces {
                db.prepare_cached(piece)?.execute((digest, entries))?;
            }
            let insert = "INSERT OR IGNORE INTO file_lists (digest, pieces) VALUES (?1, ?2)";
            db.prepare_cached(insert)?.execute((list, &digests))?;
            if db.last_insert_rowid() % LOOK_EVERY == 0 { forget_old(db) } else { Ok(()) }
        })?;
        Ok(Key(list))
    }

    /// How `after` differs from `before`; `None` if one of them is not known any more.
    pub fn compare(&self, before: &Key, after: &Key) -> Result<Option<FileDifferences>> {
        self.store.database.read(|db| {
            let (Some(before), Some(after)) = (pieces(db, before)?, pieces(db, after)?) else { return Ok(None) };
            let (known, now): (HashSet<_>, HashSet<_>) = (before.iter().collect(), after.iter().collect());
            let before = entries(db, before.iter().filter(|piece| !now.contains(piece)))?;
            let after = entries(db, after.iter().filter(|piece| !known.contains(piece)))?;
            Ok(before.zip(after).map(|(before, after)| differences(&before, &after)))
        })
    }
}

fn differences(before: &Entries, after: &Entries) -> FileDifferences {
    let mut differences = FileDifferences::default();
    for (path, now) in after {
        match before.get(path) {
            None => differences.added.push(path.clone()),
            Some(then) if then != now => differences.changed.push((path.clone(), *then, *now)),
            Some(_) => {}
        }
    }
    differences.removed = before.keys().filter(|path| !after.contains_key(*path)).cloned().collect();
    differences
}

/// Cuts a list into pieces, each with its digest.
fn cut<'f>(files: impl IntoIterator<Item = ListedFile<'f>>) -> Vec<([u8; 32], Vec<u8>)> {
    let mut pieces = Vec::new();
    let (mut piece, mut count, mut previous) = (Vec::new(), 0, &[][..]);
    for file in files {
        write_entry(&mut piece, previous, &file);
        previous = file.path;
        count += 1;
        if path_hash(file.path) & CUT_MASK == 0 || count == LONGEST_PIECE {
            let full = std::mem::take(&mut piece);
            pieces.push((*blake3::hash(&full).as_bytes(), full));
            (count, previous) = (0, &[]);
        }
    }
    if !piece.is_empty() {
        pieces.push((*blake3::hash(&piece).as_bytes(), piece));
    }
    pieces
}

/// FNV-1a: where pieces end need only be the same every time.
fn path_hash(path: &[u8]) -> u64 {
    let hash = path
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    hash ^ (hash >> 32)
}

fn write_entry(piece: &mut Vec<u8>, previous: &[u8], file: &ListedFile<'_>) {
    let shared = previous.iter().zip(file.path).take_while(|(a, b)| a == b).count();
    for number in [shared, file.path.len() - shared] {
        write_number(piece, number as u64);
    }
    piece.extend_from_slice(&file.path[shared..]);
    piece.push(file.facts.kind as u8);
    write_number(piece, u64::from(file.facts.mode));
    piece.extend_from_slice(&file.facts.content);
    let has_owner = file.facts.owner != [0; SHORT];
    piece.push(u8::from(has_owner));
    if has_owner {
        piece.extend_from_slice(&file.facts.owner);
    }
}

/// Seven bits a byte, the lowest first.
fn write_number(piece: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        piece.push(number as u8 | 0x80);
        number >>= 7;
    }
    piece.push(number as u8);
}

/// Reads a piece; `None` for one that is damaged.
fn read_piece(mut piece: &[u8], entries: &mut Entries) -> Option<()> {
    let mut path = Vec::new();
    while !piece.is_empty() {
        let shared = usize::try_from(read_number(&mut piece)?).ok()?;
        let length = usize::try_from(read_number(&mut piece)?).ok()?;
        if shared > path.len() {
            return None;
        }
        path.truncate(shared);
        path.extend_from_slice(take(&mut piece, length)?);
        let kind = kind_of(*take(&mut piece, 1)?.first()?)?;
        let mode = u32::try_from(read_number(&mut piece)?).ok()?;
        let content = take(&mut piece, SHORT)?.try_into().ok()?;
        let owner = match take(&mut piece, 1)?.first()? {
            0 => [0; SHORT],
            _ => take(&mut piece, SHORT)?.try_into().ok()?,
        };
        entries.insert(path.clone(), FileFacts { kind, mode, content, owner });
    }
    Some(())
}

fn read_number(piece: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(piece, 1)?.first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(piece: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = piece.split_at_checked(count)?;
    *piece = rest;
    Some(taken)
}

fn kind_of(byte: u8) -> Option<Kind> {
    const KINDS: [Kind; 7] = [
        Kind::File,
        Kind::Directory,
        Kind::Symlink,
        Kind::CharacterDevice,
        Kind::BlockDevice,
        Kind::Fifo,
        Kind::Whiteout,
    ];
    KINDS.into_iter().find(|kind| *kind as u8 == byte)
}

/// The pieces of a list, by their digests.
fn pieces(db: &Connection, list: &Key) -> rusqlite::Result<Option<Vec<[u8; 32]>>> {
    let query = "SELECT pieces FROM file_lists WHERE digest = ?1";
    let found: Option<Vec<u8>> = db.prepare_cached(query)?.query_row([list.0], |row| row.get(0)).optional()?;
    Ok(found.map(|pieces| pieces.as_chunks().0.to_vec()))
}

/// What pieces hold; `None` if one is not there.
fn entries<'p>(db: &Connection, pieces: impl Iterator<Item = &'p [u8; 32]>) -> rusqlite::Result<Option<Entries>> {
    let mut entries = Entries::new();
    let mut query = db.prepare_cached("SELECT entries FROM file_list_pieces WHERE digest = ?1")?;
    for piece in pieces {
        let found: Option<Vec<u8>> = query.query_row([piece], |row| row.get(0)).optional()?;
        let Some(()) = found.and_then(|found| read_piece(&found, &mut entries)) else { return Ok(None) };
    }
    Ok(Some(entries))
}

/// Forgets the oldest lists where there is too much, and the pieces that no list has any more.
fn forget_old(db: &Connection) -> rusqlite::Result<()> {
    let bytes: i64 =
        db.query_row("SELECT coalesce(sum(length(entries)), 0) FROM file_list_pieces", [], |row| row.get(0))?;
    let lists: i64 = db.query_row("SELECT count(*) FROM file_lists", [], |row| row.get(0))?;
    if bytes <= KEPT_BYTES && lists <= KEPT_LISTS {
        return Ok(());
    }
    let oldest = "DELETE FROM file_lists WHERE serial IN (SELECT serial FROM file_lists ORDER BY serial LIMIT ?1)";
    db.execute(oldest, [lists / 2])?;
    let kept: Vec<Vec<u8>> =
        db.prepare("SELECT pieces FROM file_lists")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let kept: HashSet<&[u8]> = kept.iter().flat_map(|pieces| pieces.chunks(32)).collect();
    let all: Vec<[u8; 32]> = db
        .prepare("SELECT digest FROM file_list_pieces")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for piece in all.iter().filter(|piece| !kept.contains(&piece[..])) {
        db.prepare_cached("DELETE FROM file_list_pieces WHERE digest = ?1")?.execute([piece])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::testing::store;

    fn facts(content: u8) -> FileFacts {
        FileFacts { kind: Kind::File, mode: 0o644, content: [content; SHORT], owner: [0; SHORT] }
    }

    fn keep(store: &Store, files: &BTreeMap<String, FileFacts>) -> Key {
        let listed = files.iter().map(|(path, facts)| ListedFile { path: path.as_bytes(), facts: *facts });
        store.file_lists().keep(listed).unwrap()
    }

    fn count(store: &Store, table: &str) -> i64 {
        let query = format!("SELECT count(*) FROM {table}");
        store.inner.database.read(|db| db.query_row(&query, [], |row| row.get(0))).unwrap()
    }

    fn many() -> BTreeMap<String, FileFacts> {
        (0..5000).map(|number| (format!("src/d{}/file{number}", number % 7), facts(1))).collect()
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        let (_directory, store) = store();
        let mut files = many();
        let before = keep(&store, &files);
        files.remove("src/d0/file7");
        files.insert("src/d1/file1".into(), facts(2));
        files.insert("src/new".into(), FileFacts { kind: Kind::Symlink, owner: [3; SHORT], ..facts(1) });
        let after = keep(&store, &files);
        let found = store.file_lists().compare(&before, &after).unwrap().unwrap();
        assert_eq!(found.added, [b"src/new"]);
        assert_eq!(found.removed, [b"src/d0/file7"]);
        assert_eq!(found.changed, [(b"src/d1/file1".to_vec(), facts(1), facts(2))]);
        let back = store.file_lists().compare(&after, &before).unwrap().unwrap();
        assert_eq!((back.added, back.removed), (found.removed, found.added));
        assert_eq!(store.file_lists().compare(&after, &after).unwrap(), Some(FileDifferences::default()));
    }

    #[test]
    fn a_list_that_is_almost_the_same_costs_one_piece() {
        let (_directory, store) = store();
        let mut files = many();
        keep(&store, &files);
        let pieces = count(&store, "file_list_pieces");
        assert!(pieces > 5, "{pieces} pieces");
        files.insert("src/d1/file1".into(), facts(2));
        keep(&store, &files);
        assert_eq!(count(&store, "file_list_pieces"), pieces + 1);
        keep(&store, &files);
        assert_eq!(count(&store, "file_lists"), 2);
    }

    #[test]
    fn lists_that_are_not_known_or_damaged_are_told() {
        let (_directory, store) = store();
        let one = keep(&store, &many());
        let none = keep(&store, &BTreeMap::new());
        assert_eq!(store.file_lists().compare(&one, &Key([1; 32])).unwrap(), None);
        assert_eq!(store.file_lists().compare(&none, &one).unwrap().unwrap().added.len(), 5000);
        let damage = "UPDATE file_list_pieces SET entries = substr(entries, 1, length(entries) - 3)";
        store.inner.database.write(|db| db.execute(damage, [])).unwrap();
        assert_eq!(store.file_lists().compare(&one, &none).unwrap(), None);
    }

    #[test]
    fn too_many_lists_push_out_the_oldest_with_what_only_they_had() {
        let (_directory, store) = store();
        let list = |number: i64| keep(&store, &BTreeMap::from([(format!("file{number}"), facts(1))]));
        let first = list(0);
        (1..KEPT_LISTS + LOOK_EVERY).for_each(|number| {
            list(number);
        });
        let last = list(KEPT_LISTS + LOOK_EVERY);
        assert!(count(&store, "file_lists") <= KEPT_LISTS);
        assert_eq!(count(&store, "file_lists"), count(&store, "file_list_pieces"));
        assert_eq!(store.file_lists().compare(&first, &last).unwrap(), None);
        assert!(store.file_lists().compare(&last, &last).unwrap().is_some());
    }
}
