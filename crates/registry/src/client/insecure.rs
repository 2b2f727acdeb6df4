//! Registries that a user declares insecure: any certificate will do, or none.

use std::sync::Arc;
use std::time::Duration;

use kiln_oci::Reference;
use reqwest::Url;
use reqwest::header::HeaderMap;

use super::Client;
use crate::transport::{Transport, Trouble};
use crate::{Error, Security};

/// How long a registry may take to show that it speaks TLS: one that does not may wait for more.
const PATIENCE: Duration = Duration::from_secs(5);

impl Client {
    /// A client like this one that speaks to the registry of `reference` without checking its certificate, or in
    /// plain HTTP where it does not speak TLS; which of the two, it asks now. Credentials go to it all the same: that
    /// is what the user declared.
    ///
    /// # Errors
    /// A reference whose registry is no address.
    pub async fn insecure_for(&self, reference: &Reference) -> Result<Client, Error> {
        let unverified = self.with_security(reference, Security::UnverifiedTls);
        let url = Url::parse(&format!("https://{}/v2/", crate::host::serving(reference.domain())))
            .map_err(|e| Error::Setup(format!("{:?} is no address of a registry: {e}", reference.domain())))?;
        let patience = PATIENCE.min(self.transport.config.timeouts.connect);
        match tokio::time::timeout(patience, unverified.transport.get(url, HeaderMap::new())).await {
            Err(_) | Ok(Err(Trouble::Connect(_) | Trouble::Broken(_))) => {
                Ok(self.with_security(reference, Security::Plain))
            }
            Ok(_) => Ok(unverified),
        }
    }

    fn with_security(&self, reference: &Reference, security: Security) -> Client {
        let mut config = self.transport.config.clone();
        config.hosts.entry(reference.domain().to_owned()).or_default().security = Some(security);
        Client { transport: Arc::new(Transport::new(config, self.transport.credentials())) }
    }
}
