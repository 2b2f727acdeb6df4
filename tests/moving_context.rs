//! A file of the context is rewritten while builds copy it: no build of one content may get the bytes of another,
//! then or later.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_tests::kiln::Kiln;

const BUILDS: usize = 100;
/// Large enough that a copy takes a while; of different lengths, so that a mixture shows in the length as well.
const LENGTHS: [usize; 3] = [3_000_000, 3_000_001, 2_999_999];

#[test]
fn a_build_gets_one_content_whole_whatever_a_writer_does() {
    let kiln = Kiln::on_fresh_disk();
    kiln.load("busybox");
    let context = kiln.scratch("context");
    let dockerfile = "FROM busybox\nCOPY moving /moving\nRUN md5sum < /moving > /sum\n";
    fs::write(context.join("Dockerfile"), dockerfile).expect("Dockerfile");
    let moving = context.join("moving");
    write(&moving, 0);

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in (0..LENGTHS.len()).cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                write(&moving, version);
            }
        });
        let stopper = Stop(&stop);
        for _ in 0..BUILDS {
            let answer = kiln.run(&["build", context.to_str().expect("path in UTF-8")]);
            assert!(!answer.stderr.contains("panicked"), "{answer}");
        }
        drop(stopper);
    });

    // Whatever was recorded meanwhile under the key of a version must be that version.
    for version in 0..LENGTHS.len() {
        write(&moving, version);
        let out = kiln.scratch("out").join(version.to_string());
        let out = out.to_str().expect("path in UTF-8");
        kiln.ok(&["build", "-o", out, context.to_str().expect("path in UTF-8")]);
        let copied = fs::read(format!("{out}/moving")).expect("copied file");
        assert!(copied == content(version), "version {version} has other bytes");
        let sum = kiln_tests::kiln::tool("md5sum", &[moving.to_str().expect("path in UTF-8")]);
        let built = fs::read_to_string(format!("{out}/sum")).expect("sum");
        assert_eq!(built.split(' ').next(), sum.split(' ').next(), "version {version}");
    }
}

/// Ends the writer even when a build fails the test.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn content(version: usize) -> Vec<u8> {
    vec![b'a' + u8::try_from(version).expect("few versions"); LENGTHS[version]]
}

/// Rewrites the file in place, in pieces, as an editor or a compiler may do.
fn write(path: &Path, version: usize) {
    let content = content(version);
    let mut file = File::options().write(true).create(true).truncate(true).open(path).expect("moving file");
    for piece in content.chunks(64 * 1024) {
        file.write_all(piece).expect("moving file");
    }
}
