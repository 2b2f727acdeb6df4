//! The difference of two root file system tars as a layer: what the second has anew or otherwise, and whiteouts for
//! what it lacks. Compares tar records as bytes, so it needs both tars from the same writer with the same clock.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

const BLOCK: usize = 512;

/// Writes to `layer` what must be laid over `below` to get `above`. All three are uncompressed tars.
pub(crate) fn write(below: &Path, above: &Path, layer: &Path) -> io::Result<()> {
    let mut old = HashMap::new();
    each_record(below, |record| {
        old.insert(record.path.clone(), record.digest());
        Ok(())
    })?;
    let mut into = BufWriter::new(File::create(layer)?);
    let mut written = BTreeSet::new();
    each_record(above, |record| {
        if old.remove(&record.path) == Some(record.digest()) {
            return Ok(());
        }
        if let Some(target) = &record.hard_link
            && !written.contains(target)
        {
            let name = String::from_utf8_lossy(&record.path).into_owned();
            return Err(io::Error::other(format!("{name} is a hard link to an unchanged file")));
        }
        into.write_all(&record.bytes)?;
        written.insert(record.path);
        Ok(())
    })?;
    write_whiteouts(&mut into, old.into_keys().collect())?;
    into.write_all(&[0; 2 * BLOCK])?;
    into.flush()
}

/// One whiteout for each path that is gone and whose parent is not.
fn write_whiteouts(into: &mut impl Write, gone: BTreeSet<Vec<u8>>) -> io::Result<()> {
    for path in &gone {
        let slash = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        let (parent, name) = path.split_at(slash);
        if gone.contains(parent) {
            continue;
        }
        let name = String::from_utf8_lossy(name.strip_prefix(b"/").unwrap_or(name)).into_owned();
        let parent = String::from_utf8_lossy(parent).into_owned();
        let mut header = Header::new_ustar();
        header.set_path(format!("{parent}/.wh.{name}"))?;
        header.set_mode(0o644);
        header.set_size(0);
        header.set_cksum();
        into.write_all(header.as_bytes())?;
    }
    Ok(())
}

/// An entry with the extension headers in front of it.
struct Record {
    /// Without a slash at the end.
    path: Vec<u8>,
    hard_link: Option<Vec<u8>>,
    /// All blocks: extension headers, header, data, padding.
    bytes: Vec<u8>,
}

impl Record {
    fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }
}

fn each_record(tar: &Path, mut visit: impl FnMut(Record) -> io::Result<()>) -> io::Result<()> {
    let mut from = BufReader::with_capacity(1 << 18, File::open(tar)?);
    let mut bytes = Vec::new();
    let mut long_path = None;
    loop {
        let start = bytes.len();
        bytes.resize(start + BLOCK, 0);
        from.read_exact(&mut bytes[start..])?;
        if bytes[start..].iter().all(|&byte| byte == 0) {
            return Ok(());
        }
        let header = Header::from_byte_slice(&bytes[start..]).clone();
        let size = usize::try_from(header.entry_size()?).map_err(io::Error::other)?;
        let data = bytes.len();
        bytes.resize(data + size.next_multiple_of(BLOCK), 0);
        from.read_exact(&mut bytes[data..])?;
        match header.entry_type() {
            EntryType::XHeader => long_path = pax_path(&bytes[data..data + size]).or(long_path),
            EntryType::GNULongName => long_path = Some(trimmed(&bytes[data..data + size])),
            EntryType::GNULongLink | EntryType::XGlobalHeader => {}
            kind => {
                let path = long_path.take().unwrap_or_else(|| trimmed(&header.path_bytes()));
                let target = header.link_name_bytes().filter(|_| kind == EntryType::Link);
                let hard_link = target.map(|name| trimmed(&name));
                visit(Record { path, hard_link, bytes: std::mem::take(&mut bytes) })?;
            }
        }
    }
}

fn trimmed(path: &[u8]) -> Vec<u8> {
    let end = path.iter().rposition(|&byte| byte != b'/' && byte != 0).map_or(0, |last| last + 1);
    path[..end].to_vec()
}

/// The value of the `path` record of a PAX header: records are `LENGTH KEY=VALUE\n`.
fn pax_path(mut records: &[u8]) -> Option<Vec<u8>> {
    while !records.is_empty() {
        let blank = records.iter().position(|&byte| byte == b' ')?;
        let length: usize = std::str::from_utf8(&records[..blank]).ok()?.parse().ok()?;
        let record = records.get(blank + 1..length.checked_sub(1)?)?;
        if let Some(path) = record.strip_prefix(b"path=") {
            return Some(trimmed(path));
        }
        records = records.get(length..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files as (name, content) in a tar at `path`.
    fn archive(path: &Path, files: &[(&str, &str)]) {
        let mut builder = tar::Builder::new(File::create(path).unwrap());
        for (name, content) in files {
            let mut header = Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        builder.finish().unwrap();
    }

    #[test]
    fn holds_what_is_new_or_changed_and_whiteouts_for_what_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let [below, above, layer] = ["below", "above", "layer"].map(|name| directory.path().join(name));
        let long = "long/".repeat(30) + "name";
        archive(&below, &[("same", "1"), ("changed", "1"), ("d/gone", "1"), (&long, "1")]);
        archive(&above, &[("same", "1"), ("changed", "2"), ("new", "1"), (&long, "2")]);
        write(&below, &above, &layer).unwrap();
        let mut names = Vec::new();
        each_record(&layer, |record| {
            names.push(String::from_utf8(record.path).unwrap());
            Ok(())
        })
        .unwrap();
        assert_eq!(names, ["changed", "new", &long, "d/.wh.gone"]);
    }
}
