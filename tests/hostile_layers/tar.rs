//! Other programs' compression of tars, and what only a compressor can make.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use kiln_tests::tarball::{Entry, header};

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
    let head = header(&Entry { size: zeros, ..Entry::file("zeros", b"") }).to_vec();
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
