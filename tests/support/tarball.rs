//! Tar archives as nobody should make them, byte by byte.

use std::borrow::Cow;

/// An entry: header and data.
pub struct Entry<'a> {
    /// As it is written; more than 100 bytes are cut off.
    pub path: Vec<u8>,
    /// The type byte.
    pub kind: u8,
    /// Link target.
    pub target: Vec<u8>,
    /// What the header says, whatever the data is.
    pub size: u64,
    /// Major and minor.
    pub device: (u32, u32),
    /// The data.
    pub data: Cow<'a, [u8]>,
}

impl<'a> Entry<'a> {
    /// A regular file.
    pub fn file(path: &str, data: &'a [u8]) -> Entry<'a> {
        let path = path.as_bytes().to_vec();
        Entry { path, kind: b'0', target: Vec::new(), size: data.len() as u64, device: (0, 0), data: data.into() }
    }

    /// A directory.
    pub fn directory(path: &str) -> Entry<'a> {
        Entry { kind: b'5', ..Entry::file(path, b"") }
    }

    /// A symbolic link.
    pub fn symlink(path: &str, target: &str) -> Entry<'a> {
        Entry { kind: b'2', target: target.into(), ..Entry::file(path, b"") }
    }

    /// A hard link.
    pub fn hard_link(path: &str, target: &str) -> Entry<'a> {
        Entry { kind: b'1', target: target.into(), ..Entry::file(path, b"") }
    }

    /// What these records say holds for the next entry.
    pub fn pax(records: &[Vec<u8>]) -> Entry<'static> {
        let data = records.concat();
        let size = data.len() as u64;
        Entry { kind: b'x', size, data: data.into(), ..Entry::file("PaxHeaders/x", b"") }
    }
}

/// `LENGTH KEY=VALUE`.
pub fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let width = |length: usize| length.to_string().len();
    let mut length = rest + width(rest);
    length = rest + width(length);
    format!("{length} {key}={value}\n").into_bytes()
}

/// The archive of these members.
pub fn tarball(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut tar = Vec::new();
    for entry in entries {
        tar.extend(header(entry));
        tar.extend(&*entry.data);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// The header alone.
///
/// # Panics
/// A path of more than 100 bytes without a slash among the first 156.
pub fn header(entry: &Entry<'_>) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    // Long ones get the field for the beginning of a path, too.
    let (prefix, name) = match entry.path.len() {
        0..=100 => (&[][..], &entry.path[..]),
        _ => {
            let slash = entry.path.iter().take(156).rposition(|&byte| byte == b'/').expect("a slash to split at");
            (&entry.path[..slash], &entry.path[slash + 1..])
        }
    };
    put(0, name);
    put(345, prefix);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if entry.size < 1 << 33 {
        put(124, format!("{:011o}\0", entry.size).as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &entry.size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[entry.kind]);
    put(157, &entry.target[..entry.target.len().min(100)]);
    put(257, b"ustar\x0000");
    put(329, format!("{:07o}\0", entry.device.0).as_bytes());
    put(337, format!("{:07o}\0", entry.device.1).as_bytes());
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}
