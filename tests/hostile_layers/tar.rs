//! Tars byte by byte, honest or not, and other programs' compression of them.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// A member: header and data.
pub(crate) struct Member<'a> {
    /// As it is written; more than 100 bytes are cut off.
    pub(crate) path: Vec<u8>,
    /// The type byte.
    pub(crate) kind: u8,
    /// Link target.
    pub(crate) target: Vec<u8>,
    /// What the header says, whatever the data is.
    pub(crate) size: u64,
    /// Major and minor.
    pub(crate) device: (u32, u32),
    /// The data.
    pub(crate) data: std::borrow::Cow<'a, [u8]>,
}

impl<'a> Member<'a> {
    pub(crate) fn file(path: &str, data: &'a [u8]) -> Member<'a> {
        let path = path.as_bytes().to_vec();
        Member { path, kind: b'0', target: Vec::new(), size: data.len() as u64, device: (0, 0), data: data.into() }
    }

    pub(crate) fn directory(path: &str) -> Member<'a> {
        Member { kind: b'5', ..Member::file(path, b"") }
    }

    pub(crate) fn symlink(path: &str, target: &str) -> Member<'a> {
        Member { kind: b'2', target: target.into(), ..Member::file(path, b"") }
    }

    pub(crate) fn hard_link(path: &str, target: &str) -> Member<'a> {
        Member { kind: b'1', target: target.into(), ..Member::file(path, b"") }
    }

    /// What these records say holds for the next member.
    pub(crate) fn pax(records: &[Vec<u8>]) -> Member<'static> {
        let data = records.concat();
        let size = data.len() as u64;
        Member { kind: b'x', size, data: data.into(), ..Member::file("PaxHeaders/x", b"") }
    }
}

/// `LENGTH KEY=VALUE`.
pub(crate) fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let width = |length: usize| length.to_string().len();
    let mut length = rest + width(rest);
    length = rest + width(length);
    format!("{length} {key}={value}\n").into_bytes()
}

/// The archive of these members.
pub(crate) fn tarball(members: &[Member<'_>]) -> Vec<u8> {
    let mut tar = Vec::new();
    for member in members {
        tar.extend(header(member));
        tar.extend(&*member.data);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn header(member: &Member<'_>) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    // Long ones get the field for the beginning of a path, too.
    let (prefix, name) = match member.path.len() {
        0..=100 => (&[][..], &member.path[..]),
        _ => {
            let slash = member.path.iter().take(156).rposition(|&byte| byte == b'/').expect("a slash to split at");
            (&member.path[..slash], &member.path[slash + 1..])
        }
    };
    put(0, name);
    put(345, prefix);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if member.size < 1 << 33 {
        put(124, format!("{:011o}\0", member.size).as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &member.size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[member.kind]);
    put(157, &member.target[..member.target.len().min(100)]);
    put(257, b"ustar\x0000");
    put(329, format!("{:07o}\0", member.device.0).as_bytes());
    put(337, format!("{:07o}\0", member.device.1).as_bytes());
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// What a program makes of its input.
pub(crate) fn filtered(program: &str, input: &[u8]) -> Vec<u8> {
    let args: &[&str] = if program == "cat" { &[] } else { &["-c"] };
    let mut child = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let child = child.as_mut().unwrap_or_else(|e| panic!("cannot start {program}: {e}"));
    let (mut stdin, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut output = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("input"));
        stdout.read_to_end(&mut output).expect("output");
    });
    assert!(child.wait().expect("child").success(), "{program}");
    output
}

/// A tar of one file of so many zeros, compressed; and its first bytes, for it is never made otherwise.
pub(crate) fn bomb(zeros: u64) -> (Vec<u8>, Vec<u8>) {
    let head = header(&Member { size: zeros, ..Member::file("zeros", b"") }).to_vec();
    let mut child = Command::new("zstd").args(["-c", "-1"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let child = child.as_mut().expect("zstd");
    let (mut stdin, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut output = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stdin.write_all(&head).expect("head");
            std::io::copy(&mut std::io::repeat(0).take(zeros + 1024), &mut stdin).expect("zeros");
            drop(stdin);
        });
        stdout.read_to_end(&mut output).expect("output");
    });
    assert!(child.wait().expect("zstd").success());
    (output, head)
}
