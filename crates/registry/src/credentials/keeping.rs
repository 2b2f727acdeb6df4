//! Keeping and forgetting credentials: in `config.json`, or with the helper that it names. The rest of the file stays
//! as it is, keys that are not known here too.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Serialize as _;
use serde_json::{Map, Value, json};

use super::docker_config::{DockerConfig, IDENTITY_TOKEN_USER};
use super::{CredentialsError, Secret, helper};

/// How many links to the file are followed.
const LINKS: usize = 40;

/// Who logged in.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user.
    pub username: String,
    /// What is shown to the registry.
    pub secret: LoginSecret,
}

/// What a login leaves to be shown again.
#[derive(Clone, Debug)]
pub enum LoginSecret {
    /// The password itself.
    Password(Secret),
    /// What the registry gave in its place.
    IdentityToken(Secret),
}

/// Where a login was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// With this helper.
    Helper(String),
    /// It was in the file already.
    Before,
    /// In this file, readable for who can read the file.
    File(PathBuf),
}

impl DockerConfig {
    /// Keeps `login` for the registry that is called `key` in the file, in place of what was kept before.
    ///
    /// # Errors
    /// A helper that fails, a file that cannot be read or written.
    pub async fn keep(&self, key: &str, login: &Login) -> Result<Kept, CredentialsError> {
        if let Some(name) = self.keeper(key) {
            let (username, secret) = match &login.secret {
                LoginSecret::Password(secret) => (login.username.as_str(), secret),
                LoginSecret::IdentityToken(secret) => (IDENTITY_TOKEN_USER, secret),
            };
            helper::store(name, key, username, secret).await?;
            // As with docker the file says that there is something, but not what.
            self.edit(key, Some(json!({}))).await?;
            return Ok(Kept::Helper(name.to_owned()));
        }
        let changed = self.edit(key, Some(entry(login))).await?;
        Ok(if changed { Kept::File(self.path.clone()) } else { Kept::Before })
    }

    /// Forgets what is kept under `key`; nothing is fine.
    ///
    /// # Errors
    /// A helper that fails, a file that cannot be read or written.
    pub async fn forget(&self, key: &str) -> Result<(), CredentialsError> {
        if let Some(name) = self.keeper(key) {
            helper::erase(name, key).await?;
        }
        self.edit(key, None).await.map(drop)
    }

    /// Puts an entry in the place of that for `key`, or takes it out; tells whether that changed anything.
    async fn edit(&self, key: &str, entry: Option<Value>) -> Result<bool, CredentialsError> {
        let (path, key) = (self.path.clone(), key.to_owned());
        let edited = tokio::task::spawn_blocking(move || edit(&path, &key, entry)).await;
        edited.map_err(|e| CredentialsError::Write { path: self.path.clone(), source: io::Error::other(e) })?
    }
}

fn entry(login: &Login) -> Value {
    let encode =
        |password: &str| base64::engine::general_purpose::STANDARD.encode(format!("{}:{password}", login.username));
    match &login.secret {
        LoginSecret::Password(password) => json!({ "auth": encode(password.expose()) }),
        LoginSecret::IdentityToken(token) => json!({ "auth": encode(""), "identitytoken": token.expose() }),
    }
}

/// Changes one entry of the file, which is read anew, as several programs may change it.
fn edit(path: &Path, key: &str, entry: Option<Value>) -> Result<bool, CredentialsError> {
    let failed = |source| CredentialsError::Write { path: path.to_owned(), source };
    let file = target(path).map_err(failed)?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if entry.is_none() && !file.exists() {
        return Ok(false);
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let _lock = locked(directory).map_err(failed)?;
    let mut document = read(path, &file)?;
    if !change(&mut document, key, entry).ok_or_else(|| invalid(path, "\"auths\" is no object".into()))? {
        return Ok(false);
    }
    write(&file, directory, &document).map_err(failed)?;
    Ok(true)
}

/// What `path` is a link to, if it is one, even to nothing.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(next) => path = path.parent().unwrap_or(Path::new(".")).join(next),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => return Ok(path),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// The directory, locked against others of our kind until this is dropped.
fn locked(directory: &Path) -> io::Result<File> {
    let lock = File::open(directory)?;
    lock.lock()?;
    Ok(lock)
}

fn read(path: &Path, file: &Path) -> Result<Map<String, Value>, CredentialsError> {
    let raw = match fs::read(file) {
        Ok(raw) => raw,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
        Err(source) => return Err(CredentialsError::Read { path: path.to_owned(), source }),
    };
    if raw.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(&raw)
        .map_err(|e| invalid(path, format!("unexpected JSON in line {}, column {}", e.line(), e.column())))
}

fn invalid(path: &Path, detail: String) -> CredentialsError {
    CredentialsError::Invalid { path: path.to_owned(), detail }
}

/// Whether the document is another now; `None` if it has no place for entries.
fn change(document: &mut Map<String, Value>, key: &str, entry: Option<Value>) -> Option<bool> {
    if !document.contains_key("auths") {
        document.shift_insert(0, "auths".into(), json!({}));
    }
    let auths = document.get_mut("auths")?;
    if auths.is_null() {
        *auths = json!({});
    }
    let auths = auths.as_object_mut()?;
    Some(match entry {
        Some(entry) => auths.insert(key.to_owned(), entry.clone()).as_ref() != Some(&entry),
        None => auths.shift_remove(key).is_some(),
    })
}

/// Replaces the file in one step by one that the same people may read; a new one only its owner may.
fn write(file: &Path, directory: &Path, document: &Map<String, Value>) -> io::Result<()> {
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    document.serialize(&mut serde_json::Serializer::with_formatter(&mut text, tabs))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    // Who writes here holds the directory's lock, so the name is free but for what a crash left.
    let fresh = directory.join(format!(".{name}.kiln"));
    let written = write_fresh(&fresh, &text, fs::metadata(file).ok()).and_then(|()| fs::rename(&fresh, file));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn write_fresh(fresh: &Path, text: &[u8], like: Option<fs::Metadata>) -> io::Result<()> {
    match fs::remove_file(fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(fresh)?;
    file.write_all(text)?;
    if let Some(like) = like {
        // Another owner is kept where this process may do that.
        let _ = std::os::unix::fs::fchown(&file, Some(like.uid()), Some(like.gid()));
        file.set_permissions(like.permissions())?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use expect_test::{Expect, expect};

    use super::*;

    fn login(password: &str) -> Login {
        Login { username: "ann".into(), secret: LoginSecret::Password(Secret::new(password)) }
    }

    fn check(before: &str, key: &str, entry: Option<Value>, want: Expect) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        fs::write(&path, before).unwrap();
        assert!(edit(&path, key, entry.clone()).unwrap());
        want.assert_eq(&fs::read_to_string(&path).unwrap());
        assert!(!edit(&path, key, entry).unwrap(), "the second time nothing changes");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_rest_of_the_file_stays() {
        check(
            r#"{"x":{"y":[1]},"auths":{"b.example":{"auth":"Yjpi","email":"b@b"}},"psFormat":"q"}"#,
            "a.example",
            Some(entry(&login("hunter2"))),
            expect![[r#"
                {
                	"x": {
                		"y": [
                			1
                		]
                	},
                	"auths": {
                		"b.example": {
                			"auth": "Yjpi",
                			"email": "b@b"
                		},
                		"a.example": {
                			"auth": "YW5uOmh1bnRlcjI="
                		}
                	},
                	"psFormat": "q"
                }"#]],
        );
        check(
            r#"{"auths":{"a.example":{},"b.example":{}},"credsStore":"x"}"#,
            "a.example",
            None,
            expect![[r#"
                {
                	"auths": {
                		"b.example": {}
                	},
                	"credsStore": "x"
                }"#]],
        );
    }

    #[tokio::test]
    async fn a_new_file_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/config.json");
        let config = DockerConfig::read(&path).unwrap();
        assert_eq!(config.keep("a.example", &login("p")).await.unwrap(), Kept::File(path.clone()));
        assert_eq!(config.keep("a.example", &login("p")).await.unwrap(), Kept::Before);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        config.forget("a.example").await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\n\t\"auths\": {}\n}");
    }

    #[test]
    fn a_link_stays_one_and_a_mode_too() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real.json"), directory.path().join("config.json"));
        std::os::unix::fs::symlink("real.json", &link).unwrap();
        assert!(edit(&link, "a.example", Some(json!({}))).unwrap(), "a link to nothing");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(edit(&link, "b.example", Some(json!({}))).unwrap());
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn what_is_no_configuration_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        for text in ["{", "[]", r#"{"auths":3}"#] {
            fs::write(&path, text).unwrap();
            let error = edit(&path, "a.example", Some(json!({}))).unwrap_err();
            assert!(matches!(error, CredentialsError::Invalid { .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn many_at_once_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        std::thread::scope(|scope| {
            for n in 0..20 {
                let path = &path;
                scope.spawn(move || assert!(edit(path, &format!("{n}.example"), Some(json!({}))).unwrap()));
            }
        });
        let document = read(&path, &path).unwrap();
        assert_eq!(document["auths"].as_object().unwrap().len(), 20);
    }
}
