//! A gate that lets pass who shows a name and a password of an htpasswd file.
//!
//! Only bcrypt is taken, which is slow by intention: a password that was right is known again by a code that only this
//! process can make, and other checks take turns, so that guessing keeps nobody else from being served.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::request::Parts;
use ring::hmac;
use tokio::sync::Semaphore;

use super::answer::{Answer, With};
use super::hooks::{Gate, Hooked};
use super::password_file::{Hashes, HtpasswdError, PasswordFile};
use super::refusal::{Code, Refusal};

/// What clients are asked for.
const CHALLENGE: &str = "Basic realm=\"kiln registry\", charset=\"UTF-8\"";

/// Is checked for users that there are not, so that they take as long as others.
const NOBODY: &str = "$2y$10$jHm1enj6a6WtgQqJwEGaTu9H//07spyXpZQE0BcdrtnBJhyJLNE2i";

/// Told of a file that became unusable while the registry runs.
pub type ReportUsers = dyn Fn(&HtpasswdError) + Send + Sync;

/// The users of an htpasswd file. A file that changes counts from the next request on; one that became unusable leaves
/// things as they were.
pub struct Users {
    file: PasswordFile,
    report: Box<ReportUsers>,
    key: hmac::Key,
    /// By user: a code made of a password that was right, and of the hash that says so.
    known: Mutex<HashMap<String, hmac::Tag>>,
    checks: Semaphore,
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Users({:?})", self.file)
    }
}

/// Who somebody says that he is. Its password appears nowhere.
struct Claim {
    user: String,
    password: Vec<u8>,
}

impl Users {
    /// The users in the file at `path`. Blocks.
    ///
    /// # Errors
    /// A file that cannot be read, or has something else than users with bcrypt passwords.
    pub fn open(path: &Path, report: Box<ReportUsers>) -> Result<Users, HtpasswdError> {
        let file = PasswordFile::open(path)?;
        let random = ring::rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).map_err(|_| HtpasswdError::NoRandomness)?;
        let checks = Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from));
        Ok(Users { file, report, key, known: Mutex::default(), checks })
    }

    /// Where the users come from.
    pub fn path(&self) -> PathBuf {
        self.file.path().to_owned()
    }

    /// The users as the file has them now. Blocks.
    fn current(&self) -> Arc<Hashes> {
        self.file.current().unwrap_or_else(|(error, before)| {
            (self.report)(&error);
            before
        })
    }

    fn message(claim: &Claim, hash: &str) -> Vec<u8> {
        let mut message = Vec::new();
        for part in [claim.user.as_bytes(), hash.as_bytes(), &claim.password] {
            message.extend_from_slice(&(part.len() as u64).to_le_bytes());
            message.extend_from_slice(part);
        }
        message
    }

    fn is_known(&self, claim: &Claim, hash: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&claim.user).copied();
        known.is_some_and(|tag| hmac::verify(&self.key, &Users::message(claim, hash), tag.as_ref()).is_ok())
    }

    fn remember(&self, claim: &Claim, hash: &str) {
        let tag = hmac::sign(&self.key, &Users::message(claim, hash));
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(claim.user.clone(), tag);
    }
}

/// A gate of these users.
#[derive(Debug, Clone)]
pub struct Htpasswd(Arc<Users>);

impl Htpasswd {
    /// Lets these users pass.
    pub fn new(users: Users) -> Htpasswd {
        Htpasswd(Arc::new(users))
    }

    async fn is_right(&self, claim: Claim) -> bool {
        let users = Arc::clone(&self.0);
        let looked_up = tokio::task::spawn_blocking(move || {
            let hash = users.current().get(&claim.user).cloned();
            let is_known = hash.as_ref().is_some_and(|hash| users.is_known(&claim, hash));
            (claim, hash, is_known)
        });
        let Ok((claim, hash, is_known)) = looked_up.await else { return false };
        if is_known {
            return true;
        }
        let Ok(_turn) = self.0.checks.acquire().await else { return false };
        let users = Arc::clone(&self.0);
        let checked = tokio::task::spawn_blocking(move || {
            // Who waited for a turn beside others with the same password finds it known.
            let Some(hash) = hash else {
                let _ = bcrypt::verify(&claim.password, NOBODY);
                return false;
            };
            let is_right = users.is_known(&claim, &hash) || bcrypt::verify(&claim.password, &hash).unwrap_or(false);
            if is_right {
                users.remember(&claim, &hash);
            }
            is_right
        });
        checked.await.unwrap_or(false)
    }
}

impl Gate for Htpasswd {
    fn admit<'a>(&'a self, request: &'a Parts) -> Hooked<'a, Result<(), Answer>> {
        Box::pin(async move {
            let refused = |message| {
                let refusal = Refusal::new(Code::Unauthorized, message);
                refusal.into_answer().with(WWW_AUTHENTICATE, CHALLENGE)
            };
            let claim = Claim::of(&request.headers).ok_or_else(|| refused("authentication required"))?;
            match self.is_right(claim).await {
                true => Ok(()),
                false => Err(refused("the name or the password is wrong")),
            }
        })
    }
}

impl Claim {
    /// What a request says with `Authorization: Basic`.
    fn of(headers: &HeaderMap) -> Option<Claim> {
        let (scheme, text) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        let decoded = STANDARD.decode(text.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let colon = decoded.iter().position(|&byte| byte == b':')?;
        let user = String::from_utf8(decoded[..colon].to_vec()).ok()?;
        Some(Claim { user, password: decoded[colon + 1..].to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use http::Request;

    use super::*;

    /// `ada` with the password `correct horse`, of the least cost.
    const ADA: &str = "ada:$2y$04$cNu7dqca45d8llP.SLMm2OsdXuPx.EYM0355IKW/WAOe/y0uWSFlq\n";

    fn gate(text: &str) -> (tempfile::TempDir, Htpasswd) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("htpasswd");
        fs::write(&path, text).unwrap();
        (directory, Htpasswd::new(Users::open(&path, Box::new(|_| {})).unwrap()))
    }

    async fn status(gate: &Htpasswd, authorization: Option<&str>) -> u16 {
        let mut request = Request::get("/v2/");
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        match gate.admit(&parts).await {
            Ok(()) => 200,
            Err(answer) => {
                assert!(answer.headers()[WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic realm="));
                answer.status().as_u16()
            }
        }
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[tokio::test]
    async fn only_who_knows_the_password_passes() {
        let (_directory, gate) = gate(ADA);
        for _ in 0..3 {
            assert_eq!(status(&gate, Some(&basic("ada:correct horse"))).await, 200);
            for wrong in ["ada:correct hors", "ada:correct horse ", "ada:", "ada", "bob:correct horse", ":"] {
                assert_eq!(status(&gate, Some(&basic(wrong))).await, 401, "{wrong}");
            }
        }
        assert_eq!(status(&gate, None).await, 401);
        for wrong in ["Bearer abc", "Basic", "Basic ***", "basic"] {
            assert_eq!(status(&gate, Some(wrong)).await, 401, "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_changed_file_counts_at_once() {
        let (directory, gate) = gate(ADA);
        let right = basic("ada:correct horse");
        assert_eq!(status(&gate, Some(&right)).await, 200);
        let path = directory.path().join("htpasswd");
        fs::write(&path, ADA.replace("ada:", "bob:")).unwrap();
        assert_eq!(status(&gate, Some(&right)).await, 401);
        assert_eq!(status(&gate, Some(&basic("bob:correct horse"))).await, 200);
        fs::write(&path, "nonsense").unwrap();
        assert_eq!(status(&gate, Some(&basic("bob:correct horse"))).await, 200);
        fs::write(&path, ADA).unwrap();
        assert_eq!(status(&gate, Some(&right)).await, 200);
    }

    #[test]
    fn the_hash_of_nobody_is_one() {
        assert!(!bcrypt::verify("x", NOBODY).unwrap());
    }
}
