//! The engine: a store, and the means to run something on it.

use kiln_sandbox::{Sandbox, Tier};
use kiln_store::Store;

/// Manages the containers, images and volumes of one store. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) store: Store,
    pub(crate) sandbox: Sandbox,
}

impl Engine {
    /// On a store, with what this process may do.
    pub fn new(store: Store, tier: Tier) -> Self {
        let sandbox = Sandbox::new(store.clone(), tier);
        Engine { store, sandbox }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What this process may do.
    pub fn tier(&self) -> &Tier {
        self.sandbox.tier()
    }
}
