//! Downloads from any web server, over the same connections, time limits and repetition as registries. Knows no
//! registry's protocol, and never sends a registry's credentials.

use std::fmt;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, Url};

use crate::transport::{Pace, Pauses, Transport, Trouble, authority, chunk, redirect, retry};
use crate::{Client, Error, Failure};

/// Why a download failed. Holds no address: that may hold credentials.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WebError {
    /// The address is none of a web server.
    #[error("{0}")]
    Address(String),
    /// No connection, not even after repeating.
    #[error("cannot reach {host}: {cause}")]
    Unreachable {
        /// The host that was asked.
        host: String,
        /// What the last attempt said.
        cause: Failure,
    },
    /// The connection broke, or nothing came for too long.
    #[error("the connection to {host} broke: {cause}")]
    Interrupted {
        /// The host that was asked.
        host: String,
        /// What the last attempt said.
        cause: Failure,
    },
    /// A redirect that is not followed.
    #[error("{host} redirects {reason}")]
    Redirect {
        /// The host that was asked.
        host: String,
        /// Where to, and why that is not followed.
        reason: String,
    },
    /// No request could be made.
    #[error("{0}")]
    Setup(String),
}

/// An answer whose body is still to be read.
pub struct WebAnswer {
    response: Response,
    pace: Pace,
    host: String,
}

impl Client {
    /// Gets `url`, with these headers besides, until there is an answer that repeating would not change. Redirects
    /// are followed; a user and password of the address, and an `authorization` header, go to its own host only.
    ///
    /// # Errors
    /// No address of a web server, no connection, a redirect that leads nowhere. A status that tells of a failure
    /// is an answer, not an error.
    pub async fn web_get(&self, url: &str, headers: &[(&str, &str)]) -> Result<WebAnswer, WebError> {
        let url = web_address(url)?;
        let headers = header_map(headers)?;
        let transport = self.transport();
        let mut pauses = Pauses::new(transport.config.retry);
        let host = authority(&url);
        loop {
            let trouble = match follow(transport, &url, &headers).await {
                Ok(answer) if !retry::is_busy(answer.response.status()) => return Ok(answer),
                Ok(answer) => {
                    let status = answer.response.status();
                    let retry_after = retry::retry_after(answer.response.headers());
                    let trouble = Trouble::Busy { status, retry_after, detail: String::new() };
                    match pauses.after(trouble, &host, "") {
                        Ok(pause) => tokio::time::sleep(pause).await,
                        Err(_) => return Ok(answer),
                    }
                    continue;
                }
                Err(Attempt::Trouble(trouble)) => trouble,
                Err(Attempt::Final(error)) => return Err(error),
            };
            let pause = pauses.after(trouble, &host, "").map_err(|error| ended(error, &host))?;
            tokio::time::sleep(pause).await;
        }
    }
}

impl WebAnswer {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The length of the body, if it was announced.
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// The connection broke, was silent for too long, or ended before the announced length.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, WebError> {
        let piece = chunk(&mut self.response, &mut self.pace).await;
        piece.map_err(|trouble| match trouble {
            Trouble::Broken(cause) => WebError::Interrupted { host: self.host.clone(), cause },
            other => ended(Error::Setup(format!("{other:?}")), &self.host),
        })
    }
}

impl fmt::Debug for WebAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebAnswer({} from {})", self.status(), self.host)
    }
}

/// Why one attempt gave no answer.
enum Attempt {
    /// Another one may.
    Trouble(Trouble),
    /// No other would.
    Final(WebError),
}

async fn follow(transport: &Transport, start: &Url, headers: &HeaderMap) -> Result<WebAnswer, Attempt> {
    let mut url = start.clone();
    let mut headers = headers.clone();
    for _ in 0..=redirect::LIMIT {
        let response = transport.get(url.clone(), headers.clone()).await.map_err(Attempt::Trouble)?;
        if !redirect::is_redirect(&response) {
            let pace = Pace::new(transport.config.timeouts.stall);
            return Ok(WebAnswer { response, pace, host: authority(start) });
        }
        let next = redirect::anywhere(&response, &url)
            .map_err(|reason| Attempt::Final(WebError::Redirect { host: authority(&url), reason }))?;
        if !redirect::same_origin(&url, &next) {
            headers.remove(AUTHORIZATION);
        }
        url = next;
    }
    let reason = format!("in circles: gave up after {} redirects", redirect::LIMIT);
    Err(Attempt::Final(WebError::Redirect { host: authority(start), reason }))
}

fn web_address(text: &str) -> Result<Url, WebError> {
    let bad = |reason: String| WebError::Address(reason);
    let url = Url::parse(text).map_err(|error| bad(format!("it is no valid address: {error}")))?;
    match (url.scheme(), url.host_str()) {
        ("http" | "https", Some(_)) => Ok(url),
        _ => Err(bad("it is no address of a web server".into())),
    }
}

fn header_map(headers: &[(&str, &str)]) -> Result<HeaderMap, WebError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let bad = || WebError::Setup(format!("the header {name:?} cannot be sent"));
        let name = name.parse::<HeaderName>().map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
        value.set_sensitive(name == AUTHORIZATION);
        map.insert(name, value);
    }
    Ok(map)
}

/// What the last attempt ended in.
fn ended(error: Error, host: &str) -> WebError {
    let host = host.to_owned();
    match error {
        Error::Unreachable { cause, .. } => WebError::Unreachable { host, cause },
        Error::Interrupted { cause, .. } => WebError::Interrupted { host, cause },
        other => WebError::Setup(other.to_string()),
    }
}
