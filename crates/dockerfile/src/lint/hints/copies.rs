//! ADD where COPY would do, and files that should be in no layer.

use crate::instruction::Copy;
use crate::path;
use crate::source_kind::{self, SourceKind};
use crate::span::Span;

use crate::lint::collector::Collector;
use crate::lint::rule::Rule;

/// Endings of archives that ADD takes apart.
const ARCHIVES: [&str; 11] =
    [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".gz"];

/// Names of files that hold keys or passwords.
const SECRETS: [&str; 10] = [
    ".env",
    ".git-credentials",
    ".htpasswd",
    ".netrc",
    ".pgpass",
    ".ssh",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_rsa",
];

/// ADD of files that are no archives.
pub(super) fn plain_add(copy: &Copy, span: &Span, collector: &mut Collector<'_>) {
    let special = copy.unpack.is_some() || copy.checksum.is_some() || copy.keep_git_directory.is_some();
    if !special && !copy.sources.is_empty() && copy.sources.iter().all(|source| is_plain(source)) {
        let detail = "COPY does the same here, and nothing else whatever the files are";
        collector.report_word(Rule::AddForPlainFiles, span, "ADD", detail);
    }
}

/// A path that is no archive by its name; one with variables may be anything.
fn is_plain(source: &str) -> bool {
    let lower = source.to_lowercase();
    source_kind::of(source) == SourceKind::Path
        && !source.contains('$')
        && !source.ends_with('*')
        && !ARCHIVES.iter().any(|ending| lower.ends_with(ending))
}

/// Files with secrets among the sources.
pub(super) fn secrets(copy: &Copy, instruction: &str, span: &Span, collector: &mut Collector<'_>) {
    for source in &copy.sources {
        let name = path::base_name(source.trim_end_matches('/'));
        if SECRETS.contains(&name) {
            let detail = format!(
                "{instruction} leaves {name} in a layer for everybody: RUN --mount=type=secret shows it to one command"
            );
            collector.report_word(Rule::SecretFileCopied, span, source, detail);
        }
    }
}
