//! Authentication towards a registry: challenges and the headers that answer them.

mod challenge;
mod login;
mod token;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use reqwest::header::HeaderValue;

pub(crate) use challenge::{Challenge, challenges};
pub use login::{Granted, LoginError};
pub(crate) use token::{Grant, TokenRequest, granted};

use crate::Credential;

/// The value of an `Authorization` header.
#[derive(Clone)]
pub(crate) struct Authorization {
    header: HeaderValue,
    good_until: Option<Instant>,
}

impl Authorization {
    /// Basic authentication; `None` if the texts cannot stand in a header.
    pub(crate) fn basic(username: &str, password: &str) -> Option<Self> {
        let joined = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        Self::new(format!("Basic {joined}"), None)
    }

    /// A token; `None` if it cannot stand in a header.
    pub(crate) fn bearer(token: &str, good_until: Instant) -> Option<Self> {
        Self::new(format!("Bearer {token}"), Some(good_until))
    }

    fn new(text: String, good_until: Option<Instant>) -> Option<Self> {
        let mut header = HeaderValue::from_str(&text).ok()?;
        header.set_sensitive(true);
        Some(Authorization { header, good_until })
    }

    /// The header's value, marked so that it is not shown.
    pub(crate) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// Whether it has run out.
    fn is_over(&self) -> bool {
        self.good_until.is_some_and(|end| Instant::now() >= end)
    }

    /// Whether both say the same.
    pub(crate) fn equals(&self, other: &Authorization) -> bool {
        self.header == other.header
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(…)")
    }
}

/// Where the authorization for one registry and scope is kept. Whoever renews it holds the lock, so that it
/// is renewed once, however many requests wait for it.
pub(crate) type Slot = Arc<tokio::sync::Mutex<Option<Authorization>>>;

/// The authorizations that registries accepted, by host and scope.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    slots: Mutex<HashMap<(String, String), Slot>>,
}

impl Cache {
    /// The place for `host` and `scope`.
    pub(crate) fn slot(&self, host: &str, scope: &str) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry((host.to_owned(), scope.to_owned())).or_default().clone()
    }

    /// What is known to work for `host` and `scope` and has not run out.
    pub(crate) async fn current(&self, host: &str, scope: &str) -> Option<Authorization> {
        let slot = self.slot(host, scope);
        let current = slot.lock().await;
        current.clone().filter(|authorization| !authorization.is_over())
    }
}

/// What to do when a registry denies access, given what was tried.
pub(crate) fn hint(credential: Option<&Credential>) -> &'static str {
    match credential {
        None => "check the name; if the repository is private, log in first (`docker login` or a config.json)",
        Some(_) => "check the name, and whether the stored credentials are still valid and sufficient",
    }
}
