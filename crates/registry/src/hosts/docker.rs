//! Docker's directories of certificates: `HOST[:PORT]/` with `*.crt` files of authorities, and `NAME.cert` beside
//! `NAME.key` to show to the host.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Identity;
use crate::{Error, host};

/// What there is for one host.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files with authorities.
    pub(super) authorities: Vec<PathBuf>,
    /// What to show to it.
    pub(super) identities: Vec<Identity>,
}

/// What the directories have for `domain`, each file once, in the order of their names.
pub(super) fn certificates(directories: &[PathBuf], domain: &str) -> Result<Found, Error> {
    let mut all = Found::default();
    for name in names(domain) {
        for directory in directories {
            let found = within(&directory.join(name))?;
            all.authorities.extend(found.authorities);
            all.identities.extend(found.identities);
        }
    }
    Ok(all)
}

/// The names that a directory for `domain` may have. One that could lead elsewhere has none.
fn names(domain: &str) -> Vec<&str> {
    if domain.is_empty() || domain.starts_with('.') || domain.contains('/') {
        return Vec::new();
    }
    let mut names = vec![domain];
    names.extend(Some(host::serving(domain)).filter(|serving| *serving != domain));
    names
}

/// What lies in the directory of one host; one that is not there has nothing.
pub(super) fn within(directory: &Path) -> Result<Found, Error> {
    let mut found = Found::default();
    let Ok(entries) = fs::read_dir(directory) else { return Ok(found) };
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => found.authorities.push(path),
            Some("cert") => {
                let key = path.with_extension("key");
                if !key.exists() {
                    let shown = (key.display(), path.display());
                    return Err(Error::Setup(format!(
                        "missing key {} for client certificate {}\nhint: the certificate of an authority must end in \
                         .crt",
                        shown.0, shown.1
                    )));
                }
                found.identities.push(Identity { certificate: path, key: Some(key) });
            }
            Some("key") if !path.with_extension("cert").exists() => {
                let certificate = path.with_extension("cert");
                let shown = (certificate.display(), path.display());
                return Err(Error::Setup(format!("missing client certificate {} for key {}", shown.0, shown.1)));
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(directory: &Path, names: &[&str]) {
        fs::create_dir_all(directory).unwrap();
        names.iter().for_each(|name| fs::write(directory.join(name), "").unwrap());
    }

    fn of(directory: &Path, domain: &str) -> Result<String, String> {
        let found = certificates(&[directory.to_owned()], domain).map_err(|error| error.to_string())?;
        let name = |path: &PathBuf| path.strip_prefix(directory).unwrap().display().to_string();
        let shown =
            found.identities.iter().map(|i| format!("{}+{}", name(&i.certificate), name(i.key.as_ref().unwrap())));
        Ok(found.authorities.iter().map(name).chain(shown).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn files_are_told_by_how_they_end() {
        let all = tempfile::tempdir().unwrap();
        put(&all.path().join("a.example:5000"), &["b.crt", "a.crt", "me.cert", "me.key", "README"]);
        let want = "a.example:5000/a.crt a.example:5000/b.crt a.example:5000/me.cert+a.example:5000/me.key";
        assert_eq!(of(all.path(), "a.example:5000").as_deref(), Ok(want));
        for other in ["a.example", "../a.example:5000", "", "."] {
            assert_eq!(of(all.path(), other).as_deref(), Ok(""), "{other}");
        }
    }

    #[test]
    fn the_public_registry_is_known_by_two_names() {
        let all = tempfile::tempdir().unwrap();
        put(&all.path().join("docker.io"), &["a.crt"]);
        put(&all.path().join("registry-1.docker.io"), &["b.crt"]);
        assert_eq!(of(all.path(), "docker.io").as_deref(), Ok("docker.io/a.crt registry-1.docker.io/b.crt"));
    }

    #[test]
    fn a_half_of_an_identity_is_named() {
        let all = tempfile::tempdir().unwrap();
        put(&all.path().join("a.example"), &["me.cert"]);
        assert!(of(all.path(), "a.example").unwrap_err().contains("missing key"));
        put(&all.path().join("b.example"), &["me.key"]);
        assert!(of(all.path(), "b.example").unwrap_err().contains("missing client certificate"));
    }
}
