//! Tar archives as nobody should make them, byte by byte.

/// An entry: header and data.
pub struct Entry<'a> {
    /// Name, up to 100 bytes.
    pub name: &'a str,
    /// `b'0'` file, `b'2'` symbolic link, `b'x'` extension header, …
    pub kind: u8,
    /// Link target.
    pub target: &'a str,
    /// What the header says, whatever the data is.
    pub size: u64,
    /// The data.
    pub data: &'a [u8],
}

impl<'a> Entry<'a> {
    /// A regular file.
    pub fn file(name: &'a str, data: &'a [u8]) -> Entry<'a> {
        Entry { name, kind: b'0', target: "", size: data.len() as u64, data }
    }

    /// A symbolic link.
    pub fn symlink(name: &'a str, target: &'a str) -> Entry<'a> {
        Entry { name, kind: b'2', target, size: 0, data: b"" }
    }
}

/// The archive of these entries.
pub fn tarball(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut tar = Vec::new();
    for entry in entries {
        tar.extend(header(entry));
        tar.extend(entry.data);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn header(entry: &Entry<'_>) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, entry.name.as_bytes());
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
    put(157, entry.target.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}
