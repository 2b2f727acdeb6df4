//! Round trips, hostile input, and GNU tar as a second opinion.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use proptest::prelude::*;

use kiln_store::{Device, Timestamp, Xattrs};

use super::*;

fn file(path: &[u8], size: usize) -> Entry {
    Entry {
        path: path.to_vec(),
        metadata: Metadata::root_owned(0o644, Timestamp::default()),
        size: size as u64,
        ..Entry::default()
    }
}

fn write(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (entry, content) in entries {
        writer.append(entry).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap()
}

/// All entries with their contents; offsets are left out.
fn read(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = TarReader::new(archive);
    let mut entries = Vec::new();
    while let Some(mut entry) = reader.next_entry()? {
        entry.offset = 0;
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map_err(|source| TarError::Read { offset: 0, source })?;
        entries.push((entry, content));
    }
    Ok(entries)
}

/// Every kind of entry, with the awkward values.
fn torture() -> Vec<(Entry, Vec<u8>)> {
    let with = |path: &[u8], kind: EntryKind| Entry {
        path: path.to_vec(),
        kind,
        metadata: Metadata::root_owned(0o755, Timestamp::default()),
        ..Entry::default()
    };
    let mut before = file(b"before", 3);
    before.metadata.mtime = Timestamp::from_seconds(-86_400);
    let mut big = file(b"big-ids", 0);
    (big.metadata.uid, big.metadata.gid, big.metadata.mode) = (u32::MAX - 1, 2_097_152, 0o7777);
    big.metadata.mtime.seconds = 1 << 34;
    let mut capability = file(b"capability", 1);
    capability.metadata.xattrs = Xattrs::from([(b"security.capability".to_vec(), b"\x01\0\0\x02\n=\0".to_vec())]);
    let target = |text: &[u8]| text.to_vec();
    vec![
        (with(b"dir/", EntryKind::Directory), vec![]),
        (before, b"abc".to_vec()),
        (big, vec![]),
        (capability, b"x".to_vec()),
        (file(&[b'l'; 100], 512), vec![7; 512]),
        (file(&[b'l'; 101], 513), vec![8; 513]),
        (file(&[b"d/".as_slice(), &[b'n'; 255]].concat(), 1), vec![9]),
        (file(b"not-utf8-\xff\xfe", 0), vec![]),
        (with(b"sym", EntryKind::Symlink { target: target(&[b't'; 300]) }), vec![]),
        (with(b"sym2", EntryKind::Symlink { target: target(b"../\xe9 /x\n") }), vec![]),
        (with(b"hard", EntryKind::HardLink { target: target(b"before") }), vec![]),
        (with(b"char", EntryKind::CharacterDevice(Device { major: 1, minor: 3 })), vec![]),
        (with(b"block", EntryKind::BlockDevice(Device { major: 259, minor: 1_048_575 })), vec![]),
        (with(b"fifo", EntryKind::Fifo), vec![]),
    ]
}

#[test]
fn every_kind_of_entry_round_trips() {
    let entries = torture();
    assert_eq!(read(&write(&entries)).unwrap(), entries);
}

#[test]
fn a_plain_entry_needs_no_extended_header() {
    let archive = write(&[(file(b"a", 0), vec![])]);
    assert_eq!(archive.len(), 3 * BLOCK);
    assert_eq!(&archive[257..265], b"ustar\x0000");
}

#[test]
fn wrong_amounts_of_content_are_refused() {
    let mut writer = TarWriter::new(Vec::new());
    writer.append(&file(b"a", 2)).unwrap();
    assert!(writer.write_all(b"abc").is_err());
    writer.write_all(b"a").unwrap();
    assert!(writer.append(&file(b"b", 0)).is_err());
}

/// GNU tar lists what we wrote, by numeric owner and full time.
#[test]
fn gnu_tar_reads_what_we_write() {
    let mut child = Command::new("tar")
        .args(["--numeric-owner", "--full-time", "--utc", "-tvf", "-"])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("GNU tar is installed");
    child.stdin.take().unwrap().write_all(&write(&torture())).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let listing = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "-rw-r--r-- 0/0                 3 1969-12-31 00:00:00 before",
        "-rwsrwsrwt 4294967294/2097152  0 2514-05-30 01:53:04 big-ids",
        "crwxr-xr-x 0/0               1,3 1970-01-01 00:00:00 char",
        "brwxr-xr-x 0/0       259,1048575 1970-01-01 00:00:00 block",
        "hrwxr-xr-x 0/0                 0 1970-01-01 00:00:00 hard link to before",
        "not-utf8-\\377\\376",
    ] {
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeeze(&listing).contains(&squeeze(expected)), "{expected}\nnot in\n{listing}");
    }
}

/// Runs GNU tar over a directory with a sparse file, a long name and an xattr.
fn gnu_archive(arguments: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let long = directory.path().join("n".repeat(200));
    std::fs::write(&long, b"long").unwrap();
    let sparse = std::fs::File::create(directory.path().join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    for at in 0..30_u64 {
        use std::os::unix::fs::FileExt;
        sparse.write_all_at(b"data", at * 100_000).unwrap();
    }
    let output = Command::new("tar")
        .args(["--sparse", "--sort=name", "--numeric-owner"])
        .args(arguments)
        .arg("-C")
        .arg(directory.path())
        .args(["-cf", "-", "."])
        .output()
        .expect("GNU tar is installed");
    assert!(output.status.success());
    output.stdout
}

#[test]
fn sparse_files_and_long_names_of_gnu_tar_are_read() {
    let mut expected = vec![0; 3 << 20];
    for at in 0..30 {
        expected[at * 100_000..at * 100_000 + 4].copy_from_slice(b"data");
    }
    for arguments in [
        vec!["--format=gnu"],
        vec!["--format=posix", "--sparse-version=0.0"],
        vec!["--format=posix", "--sparse-version=0.1"],
        vec!["--format=posix", "--sparse-version=1.0"],
    ] {
        let archive = gnu_archive(&arguments);
        assert!(archive.len() < 1 << 20, "GNU tar made holes: {arguments:?}");
        let entries = read(&archive).unwrap();
        let paths: Vec<_> = entries.iter().map(|(entry, _)| entry.path.len()).collect();
        assert_eq!(paths, [2, 202, 8], "{arguments:?}");
        assert!(entries[2].1 == expected, "{arguments:?}");
        assert_eq!(entries[2].0.size, 3 << 20);
    }
}

#[test]
fn every_truncation_is_an_error_or_a_clean_end() {
    let archive = write(&torture());
    let whole = read(&archive).unwrap();
    for length in 0..archive.len() {
        match read(&archive[..length]) {
            Ok(entries) => {
                // What is missing of the last block is padding.
                let rest = &archive[length..length.next_multiple_of(BLOCK)];
                assert!(whole.starts_with(&entries) && rest.iter().all(|&byte| byte == 0));
            }
            Err(TarError::Truncated { offset, .. }) => assert_eq!(offset as usize / BLOCK, length / BLOCK),
            Err(TarError::Read { source, .. }) => {
                assert_eq!(source.kind(), std::io::ErrorKind::UnexpectedEof);
            }
            Err(other) => panic!("{length}: {other}"),
        }
    }
}

#[test]
fn the_last_padding_may_be_missing_as_umoci_leaves_it_out() {
    let entry = file(b"last", 700);
    let archive = write(&[(entry.clone(), vec![7; 700])]);
    for end in [BLOCK + 700, BLOCK + 701, 3 * BLOCK - 1, 3 * BLOCK] {
        let entries = read(&archive[..end]).unwrap();
        assert_eq!(entries, [(entry.clone(), vec![7; 700])], "{end}");
    }
    assert!(read(&archive[..BLOCK + 699]).is_err());
}

fn raw_header(kind: u8, size_field: &[u8; 12]) -> Vec<u8> {
    let mut header = ::tar::Header::new_ustar();
    header.as_old_mut().linkflag = [kind];
    header.as_old_mut().name[0] = b'x';
    header.as_old_mut().size = *size_field;
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn an_enormous_extended_header_is_refused() {
    for kind in *b"xgLK" {
        let error = read(&raw_header(kind, b"07346545000\0")).unwrap_err();
        assert!(matches!(error, TarError::TooLarge { offset: 0, size: 1_000_000_000, .. }), "{error}");
    }
    assert_eq!(
        read(&raw_header(b'x', b"07346545000\0")).unwrap_err().to_string(),
        "tar entry at byte 0: extended header of 1000000000 bytes is over the limit of 1048576"
    );
}

#[test]
fn an_enormous_file_size_is_only_a_truncation() {
    let mut size = [0xff; 12];
    size[0] = 0x80;
    size[1..4].fill(0);
    let error = read(&raw_header(b'0', &size)).unwrap_err();
    assert!(matches!(error, TarError::Malformed { .. }), "{error}");
    let error = read(&raw_header(b'0', b"77777777777\0")).unwrap_err();
    assert!(matches!(error, TarError::Read { .. }), "{error}");
}

/// The header of a file of three bytes with a slash at the end of its name.
fn named_like_a_directory(kind: u8) -> Vec<u8> {
    let mut header = ::tar::Header::new_ustar();
    header.as_old_mut().linkflag = [kind];
    header.as_old_mut().name[..2].copy_from_slice(b"x/");
    header.set_size(3);
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.extend(b"abc");
    archive.resize(3 * BLOCK + 1024, 0);
    archive
}

#[test]
fn a_slash_at_the_end_makes_a_directory_only_where_directories_had_no_type() {
    let entries = read(&named_like_a_directory(b'0')).unwrap();
    assert_eq!((&entries[0].0.kind, entries[0].1.as_slice()), (&EntryKind::File, b"abc".as_slice()));
    assert!(read(&named_like_a_directory(0)).is_err(), "the content of a directory is taken for a header");
}

#[test]
fn garbage_is_named_as_such() {
    let error = read(&[b'z'; 1024]).unwrap_err();
    assert_eq!(error.to_string(), "not a tar header at byte 0: the check sum is wrong");
    let error = read(&raw_header(b'M', b"00000000000\0")).unwrap_err();
    assert_eq!(error.to_string(), "tar entry at byte 0: unsupported type 'M'");
}

#[test]
fn a_sparse_map_that_lies_is_refused() {
    for records in [
        "GNU.sparse.map=0,10,5,10",
        "GNU.sparse.map=0,99999999999999999999",
        "GNU.sparse.map=18446744073709551615,2",
        "GNU.sparse.map=0",
        "GNU.sparse.map=0,600",
    ] {
        let mut payload = Vec::new();
        pax::write_record(&mut payload, b"GNU.sparse.size", b"100");
        let (key, value) = records.split_once('=').unwrap();
        pax::write_record(&mut payload, key.as_bytes(), value.as_bytes());
        let mut size = *b"00000000000\0";
        number::write_octal(&mut size, payload.len() as i64);
        let mut archive = raw_header(b'x', &size);
        payload.resize(BLOCK, 0);
        archive.extend(payload);
        archive.extend(raw_header(b'0', b"00000000024\0"));
        archive.extend([0; 2048]);
        assert!(matches!(read(&archive), Err(TarError::Malformed { .. })), "{records}");
    }
}

fn any_entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let bytes = |range: std::ops::Range<usize>| prop::collection::vec(1..=255_u8, range);
    let kind = prop_oneof![
        4 => Just(EntryKind::File),
        1 => Just(EntryKind::Directory),
        1 => bytes(1..200).prop_map(|target| EntryKind::Symlink { target }),
        1 => bytes(1..200).prop_map(|target| EntryKind::HardLink { target }),
        1 => (0..4096_u32, 0..1_048_576_u32).prop_map(|(major, minor)| EntryKind::BlockDevice(Device { major, minor })),
    ];
    let time = (-10_000_000_000..100_000_000_000_i64, 0..1_000_000_000_u32);
    let owner = (any::<u32>(), any::<u32>(), 0..=0o7777_u32);
    (bytes(1..300), kind, owner, time, bytes(1..20), bytes(1..1500)).prop_map(
        |(mut path, kind, (uid, gid, mode), (seconds, nanoseconds), mut name, mut content)| {
            if kind == EntryKind::Directory {
                path.push(b'/');
            } else if path.ends_with(b"/") {
                path.push(b'x');
            }
            if kind != EntryKind::File {
                content.clear();
            }
            name.retain(|&byte| byte != b'=');
            let xattrs = Xattrs::from([(name, b"v".to_vec())]);
            let mtime = Timestamp { seconds, nanoseconds };
            let size = content.len() as u64;
            let metadata = Metadata { mode, uid, gid, mtime, xattrs };
            (Entry { path, kind, metadata, size, offset: 0 }, content)
        },
    )
}

proptest! {
    #[test]
    fn any_entries_round_trip(entries in prop::collection::vec(any_entry(), 0..6)) {
        prop_assert_eq!(read(&write(&entries)).unwrap(), entries);
    }

    #[test]
    fn any_damage_is_survived(
        entries in prop::collection::vec(any_entry(), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        fix in any::<bool>(),
    ) {
        let mut archive = write(&entries);
        for (at, byte) in damage {
            let at = at.index(archive.len());
            archive[at] = byte;
            if fix {
                // Make the block a header that passes the check sum, so that parsing goes on.
                let start = at / BLOCK * BLOCK;
                let mut header = ::tar::Header::new_old();
                header.as_mut_bytes().copy_from_slice(&archive[start..start + BLOCK]);
                header.set_cksum();
                archive[start..start + BLOCK].copy_from_slice(header.as_bytes());
            }
        }
        let _ = read(&archive);
    }
}
