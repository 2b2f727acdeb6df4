//! Logging in: shows a user name and a password to a registry and hears whether it takes them. It keeps nothing.

use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode};

use super::{Authorization, Challenge, challenges};
use crate::transport::{Call, Endpoint, Payload, Ungranted, Wanted};
use crate::{Client, Credential, Error, Secret};

/// What a registry gives to who logs in.
#[derive(Debug)]
pub struct Granted {
    /// What to keep and show in place of the password, if it gave something.
    pub identity_token: Option<Secret>,
}

/// Why a login failed; the words are docker's where it has some.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The registry's token server does not take the user name or the password.
    #[error("Get \"{address}\": unauthorized: {said}")]
    Unauthorized {
        /// What was asked for.
        address: String,
        /// What the token server said.
        said: String,
    },
    /// The registry's own answer is no success.
    #[error("login attempt to {address} failed with status: {status}")]
    Status {
        /// What was asked for.
        address: String,
        /// Its answer.
        status: StatusCode,
    },
    /// It did not come to an answer.
    #[error("Get \"{address}\": {source}")]
    Failed {
        /// What was asked for.
        address: String,
        /// Why.
        source: Error,
    },
}

impl LoginError {
    /// Whether the credentials are to blame.
    pub fn is_refusal(&self) -> bool {
        match self {
            LoginError::Unauthorized { .. } => true,
            LoginError::Status { status, .. } => *status == StatusCode::UNAUTHORIZED,
            LoginError::Failed { .. } => false,
        }
    }
}

impl Client {
    /// Asks the registry `domain` (as in references: `docker.io`, `localhost:5000`) whether it takes `username` with
    /// `password`. One that asks nobody who they are takes everything.
    ///
    /// # Errors
    /// It does not, or it could not be asked.
    pub async fn login(&self, domain: &str, username: &str, password: &Secret) -> Result<Granted, LoginError> {
        let of = |source| LoginError::Failed { address: domain.to_owned(), source };
        let endpoint = self.transport().itself(domain).await.map_err(of)?;
        let credential = Credential::Basic { username: username.to_owned(), password: password.clone() };
        Attempt { client: self, endpoint: &endpoint, address: endpoint.address("/v2/") }.make(&credential).await
    }
}

/// One login.
struct Attempt<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    address: String,
}

impl Attempt<'_> {
    async fn make(&self, credential: &Credential) -> Result<Granted, LoginError> {
        let first = self.ask(None).await?;
        if first.status() != StatusCode::UNAUTHORIZED {
            return Self::judged(&first, Granted { identity_token: None });
        }
        let (authorization, granted) = self.answer(&challenges(first.headers()), credential).await?;
        let second = self.ask(Some(&authorization)).await?;
        Self::judged(&second, granted)
    }

    fn judged(answer: &Response, granted: Granted) -> Result<Granted, LoginError> {
        match answer.status() {
            StatusCode::OK => Ok(granted),
            status => Err(LoginError::Status { address: answer.url().to_string(), status }),
        }
    }

    async fn ask(&self, authorization: Option<&Authorization>) -> Result<Response, LoginError> {
        let call = Call {
            endpoint: self.endpoint,
            method: Method::GET,
            path: "/v2/".into(),
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            repository: "",
            scope: String::new(),
            what: "the login".into(),
            patience: std::time::Duration::ZERO,
        };
        self.client.transport().ask_as(&call, authorization).await.map_err(|error| self.failed(error))
    }

    /// The header that answers the registry's challenge, and what its token server gave beside.
    async fn answer(
        &self,
        challenges: &[Challenge],
        credential: &Credential,
    ) -> Result<(Authorization, Granted), LoginError> {
        for challenge in challenges {
            let granted = Granted { identity_token: None };
            match (challenge, credential) {
                (Challenge::Bearer { realm, service, scope, .. }, _) => {
                    let (service, scope) = (service.as_deref(), scope.as_deref().unwrap_or_default());
                    let wanted = Wanted { realm, service, scope, credential: Some(credential), lasting: true };
                    let grant = self.client.transport().grant(self.endpoint, wanted).await;
                    let grant = grant.map_err(|error| self.ungranted(error))?;
                    return Ok((grant.authorization, Granted { identity_token: grant.identity_token }));
                }
                (Challenge::Basic, Credential::Basic { username, password }) => {
                    let header = Authorization::basic(username, password.expose());
                    let unfit = || self.failed(Error::Setup("the user name or the password cannot be sent".into()));
                    return Ok((header.ok_or_else(unfit)?, granted));
                }
                _ => {}
            }
        }
        let detail = "it denies access without saying how to authenticate".into();
        Err(self.failed(Error::Protocol { host: self.endpoint.host(), detail }))
    }

    fn ungranted(&self, error: Ungranted) -> LoginError {
        match error {
            Ungranted::Refused { said, status, .. } => {
                let said = if said.is_empty() { status.to_string() } else { said };
                LoginError::Unauthorized { address: self.address.clone(), said }
            }
            Ungranted::Failed(error) => self.failed(error),
        }
    }

    fn failed(&self, source: Error) -> LoginError {
        LoginError::Failed { address: self.address.clone(), source }
    }
}
