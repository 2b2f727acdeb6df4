//! Which redirects are followed.

use reqwest::header::LOCATION;
use reqwest::{Response, StatusCode, Url};

use crate::{Error, host};

/// How many redirects one request follows.
pub(crate) const LIMIT: usize = 10;

/// Whether the answer points elsewhere.
pub(crate) fn is_redirect(response: &Response) -> bool {
    matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

/// Whether the answer points elsewhere for a request that brings something.
pub(crate) fn keeps_method(response: &Response) -> bool {
    matches!(response.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT)
}

/// Where the answer to a request for `from` points, if we may go there.
pub(crate) fn target(response: &Response, from: &Url) -> Result<Url, Error> {
    let asked = authority(from);
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(to) = location.and_then(|text| from.join(text).ok()) else {
        return Err(Error::Protocol { host: asked, detail: "a redirect without a usable address".into() });
    };
    checked(from, to)
}

/// The address `to`, without a user, if an answer from `from` may send us there.
pub(crate) fn checked(from: &Url, mut to: Url) -> Result<Url, Error> {
    let refused = |reason| Error::RedirectRefused { host: authority(from), target: shown(&to), reason };
    match (from.scheme(), to.scheme()) {
        ("http", "http" | "https") | ("https", "https") => {}
        ("https", "http") => return Err(refused("it leaves encryption")),
        _ => return Err(refused("it is no HTTP address")),
    }
    if to.host_str().is_some_and(host::is_loopback) && !from.host_str().is_some_and(host::is_loopback) {
        return Err(refused("it points at this machine"));
    }
    forget_user(&mut to);
    Ok(to)
}

/// Where the answer of any web server to a request for `from` points. It may leave encryption, as with docker; a user
/// in the address is kept only on the same origin.
///
/// # Errors
/// Why it is not followed, to be read after "redirects".
pub(crate) fn anywhere(response: &Response, from: &Url) -> Result<Url, String> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(mut to) = location.and_then(|text| from.join(text).ok()) else {
        return Err("without a usable address".into());
    };
    let refused = |reason: &str| format!("to {}, which is not followed: {reason}", shown(&to));
    if !matches!(to.scheme(), "http" | "https") {
        return Err(refused("it is no HTTP address"));
    }
    if to.host_str().is_some_and(host::is_loopback) && !from.host_str().is_some_and(host::is_loopback) {
        return Err(refused("it points at this machine"));
    }
    forget_user(&mut to);
    if same_origin(from, &to) && (!from.username().is_empty() || from.password().is_some()) {
        // Both fail only for addresses without a host.
        let _ = to.set_username(from.username());
        let _ = to.set_password(from.password());
    }
    Ok(to)
}

/// Takes a user name and a password out of an address: the HTTP crate would send them.
pub(crate) fn forget_user(url: &mut Url) {
    // Both fail only for addresses without a host, which have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
}

/// Whether credentials for one are good for the other.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host_str() == b.host_str() && a.port_or_known_default() == b.port_or_known_default()
}

/// `host[:port]`.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// An address without what could be secret: scheme, host and port.
pub(crate) fn shown(url: &Url) -> String {
    format!("{}://{}", url.scheme(), authority(url))
}
