//! How much of the system this process may use, found by trying.

use serde::{Deserialize, Serialize};

/// What this process can do for containers; decided once, by [`rootless::enter`](crate::rootless::enter).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tier {
    /// Real root in the initial user namespace.
    Root,
    /// Root of a user namespace.
    Rootless(Rootless),
}

/// The user namespace that a rootless process lives in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rootless {
    /// The user id outside that is 0 inside.
    pub outer_uid: u32,
    /// The group id outside that is 0 inside.
    pub outer_gid: u32,
    /// Which ids exist inside.
    pub ids: Ids,
    /// Why there is only a single id, for a person; empty with sub-ids.
    pub reason: String,
}

/// The ids that exist in a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ids {
    /// Id 0 and the ranges of `/etc/subuid` and `/etc/subgid`.
    SubIds,
    /// Id 0 only: changing owners is answered with success and does nothing.
    Single,
}

impl Tier {
    /// Whether only id 0 exists.
    pub fn is_single_id(&self) -> bool {
        matches!(self, Tier::Rootless(Rootless { ids: Ids::Single, .. }))
    }

    /// Whether this process lives in a user namespace.
    pub fn is_rootless(&self) -> bool {
        matches!(self, Tier::Rootless(_))
    }
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Tier::Root => f.write_str("root"),
            Tier::Rootless(rootless) => match rootless.ids {
                Ids::SubIds => f.write_str("rootless with sub-ids"),
                Ids::Single => write!(f, "rootless with a single id: {}", rootless.reason),
            },
        }
    }
}
