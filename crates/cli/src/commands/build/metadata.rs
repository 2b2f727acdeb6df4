//! `--metadata-file`: what was built, under docker's keys.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::path::Path;

use kiln_build::{Outcome, Request};
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// Writes the file, whole or not at all.
pub(super) fn write(path: &Path, members: &Map<String, Value>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("ERROR: cannot write {}: {error}", path.display()));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".kiln-{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let text = format!("{:#}", Value::Object(members.clone()));
    let written = std::fs::File::create(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        std::fs::rename(&temporary, path)
    });
    if written.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(failed)
}

/// What is told of a build.
pub(super) fn members(request: &Request, outcome: &Outcome) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("buildx.build.ref".into(), json!(reference()));
    let exported = || outcome.kept.iter().chain(outcome.exported.iter().flatten());
    let id = outcome.images.iter().find_map(|image| image.id.as_ref());
    let id = id.or_else(|| exported().find_map(|exported| exported.configs.first()));
    if let Some(id) = id.filter(|_| outcome.images.len() < 2) {
        members.insert("containerimage.config.digest".into(), json!(id));
    }
    if let Some(exported) = exported().next() {
        members.insert("containerimage.descriptor".into(), json!(exported.descriptor));
        members.insert("containerimage.digest".into(), json!(exported.descriptor.digest));
    }
    let digest = outcome.kept.as_ref().map(|kept| &kept.descriptor.digest);
    let dangling = request.kept.iter().zip(digest).filter(|(kept, _)| kept.names.is_empty());
    let dangling: Vec<_> = dangling.flat_map(|(kept, digest)| kept.digest_names(digest)).collect();
    let kept = request.kept.iter().flat_map(|kept| &kept.names).chain(&dangling);
    let written = request.outputs.iter().flat_map(|output| &output.names);
    let mut names: Vec<String> = Vec::new();
    for name in request.names.iter().chain(kept).chain(written) {
        let name = name.with_default_tag().to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if !names.is_empty() {
        members.insert("image.name".into(), json!(names.join(",")));
    }
    members
}

/// Builder, node and a name of this build, as `docker buildx history` would know it.
fn reference() -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let random = || RandomState::new().build_hasher().finish();
    let mut number = (u128::from(random()) << 64) | u128::from(random());
    let mut id = String::new();
    // As long as BuildKit's: 25 digits of base 36 hold 128 bits.
    for _ in 0..25 {
        id.push(char::from(DIGITS[(number % 36) as usize]));
        number /= 36;
    }
    format!("default/default/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_new_each_time() {
        let (one, other) = (reference(), reference());
        assert_ne!(one, other);
        assert_eq!(one.rsplit('/').next().map(str::len), Some(25));
    }
}
