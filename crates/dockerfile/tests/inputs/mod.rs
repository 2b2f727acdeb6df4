//! Inputs of all kinds: any bytes, what Dockerfiles are made of in any order, real Dockerfiles with damage.

use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::Value;

/// What Dockerfiles are made of.
const PIECES: &[&str] = &[
    "FROM scratch\n",
    "FROM a AS b\n",
    "FROM b\n",
    "FROM --platform=$BUILDPLATFORM a\n",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "LABEL ",
    "ONBUILD ",
    "HEALTHCHECK ",
    "EXPOSE ",
    "VOLUME ",
    "WORKDIR ",
    "USER ",
    "SHELL ",
    "CMD ",
    "ENTRYPOINT ",
    "STOPSIGNAL ",
    "MAINTAINER ",
    "--mount=",
    "--from=",
    "--from=b ",
    "--from=0 ",
    "--chown=1:2 ",
    "--chmod=u+x ",
    "--link ",
    "--parents ",
    "--exclude=*.x ",
    "--checksum=",
    "--unpack ",
    "--keep-git-dir ",
    "--network=none ",
    "--security=insecure ",
    "--device=v/d=0,required ",
    "--interval=1s ",
    "type=cache,",
    "type=secret,",
    "type=ssh ",
    "type=tmpfs,",
    "id=x,",
    "target=/x ",
    "size=1g,",
    "mode=0700,",
    "required,",
    "env=E,",
    "<<EOF ",
    "<<-'E F' ",
    "<<\"\" ",
    "3<<EOF ",
    "EOF\n",
    "E F\n",
    "\tE F\n",
    "#!/bin/sh\n",
    "\\\n",
    "`\n",
    "\n",
    "\r\n",
    "# escape=`\n",
    "# syntax=a/b\n",
    "# check=skip=all\n",
    "# x\n",
    "[\"a\", \"b\"]",
    "['a']",
    "[1]",
    "${x:-",
    "${x:?",
    "${x#*",
    "${x%%",
    "${x/a/",
    "${x//",
    "}",
    "$x",
    "$",
    "A=$A$A ",
    "=",
    " ",
    "\t",
    "\"",
    "'",
    "`",
    "\\",
    "é",
    "\u{feff}",
    "\u{10ff80}",
    "\0",
    "a",
    "b ",
    "/",
    "0",
    ":",
    "1-65535",
    "git@h:r.git#x:y ",
    "https://h/f.tgz ",
    "host:1/a@sha256:",
    "CMD true\n",
    "NONE\n",
    "SIGTERM\n",
];

/// All Dockerfiles that the conformance files hold.
pub(crate) fn real_dockerfiles() -> &'static [String] {
    static FILES: LazyLock<Vec<String>> = LazyLock::new(read_real_dockerfiles);
    &FILES
}

fn read_real_dockerfiles() -> Vec<String> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/conformance");
    let mut files = Vec::new();
    let mut directories = vec![place.join("cases")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory of cases") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() {
                directories.push(path);
            } else if name.contains("Dockerfile") && !name.ends_with("ignore") {
                files.push(kiln_dockerfile::text_of(&std::fs::read(path).expect("a Dockerfile")));
            }
        }
    }
    files.sort();
    for list in ["parse.jsonl", "llb.jsonl"] {
        let text = std::fs::read_to_string(place.join(list)).expect("a list of questions");
        let questions = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        files.extend(questions.filter_map(|question| question["req"]["text"].as_str().map(str::to_owned)));
    }
    assert!(files.len() > 1000, "only {} Dockerfiles are left", files.len());
    files
}

/// One change of some bytes.
#[derive(Clone, Debug)]
enum Damage {
    Delete(usize, usize),
    Repeat(usize, usize),
    Insert(usize, Vec<u8>),
    Replace(usize, u8),
    Truncate(usize),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len().max(1);
        let range = |from: usize, count: usize| {
            let start = (from % length).min(bytes.len());
            start..(start + count).min(bytes.len())
        };
        match self {
            Damage::Delete(from, count) => drop(bytes.drain(range(*from, *count))),
            Damage::Repeat(from, count) => {
                let range = range(*from, *count);
                let copy = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, copy);
            }
            Damage::Insert(at, piece) => {
                let at = range(*at, 0).start;
                bytes.splice(at..at, piece.iter().copied());
            }
            Damage::Replace(at, byte) => {
                if let Some(old) = bytes.get_mut(*at % length) {
                    *old = *byte;
                }
            }
            Damage::Truncate(at) => bytes.truncate(*at % length),
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<prop::sample::Index>().prop_map(|index| index.index(1 << 16));
    prop_oneof![
        (place.clone(), 1..40usize).prop_map(|(at, count)| Damage::Delete(at, count)),
        (place.clone(), 1..80usize).prop_map(|(at, count)| Damage::Repeat(at, count)),
        (place.clone(), prop::sample::select(PIECES)).prop_map(|(at, piece)| Damage::Insert(at, piece.into())),
        (place.clone(), any::<u8>()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        place.prop_map(Damage::Truncate),
    ]
}

/// What Dockerfiles are made of, in any order.
pub(crate) fn from_pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![4 => prop::sample::select(PIECES).prop_map(str::to_owned), 1 => "[ -~\\n]{0,12}"];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

/// A real Dockerfile with damage, or none.
pub(crate) fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(real_dockerfiles()), prop::collection::vec(damage(), 0..6)).prop_map(|(file, changes)| {
        let mut bytes = file.into_bytes();
        changes.iter().for_each(|change| change.apply(&mut bytes));
        bytes
    })
}

/// Any of these, or any bytes.
pub(crate) fn anything() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![2 => from_pieces(), 2 => damaged(), 1 => prop::collection::vec(any::<u8>(), 0..200)]
}
