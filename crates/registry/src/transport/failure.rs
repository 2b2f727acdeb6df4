//! Why a connection failed, from the errors of the HTTP and TLS crates, without addresses in the text.

use std::error::Error as StdError;
use std::io;

use rustls::AlertDescription;

use super::retry::Trouble;
use crate::Failure;

/// A connection that could not be made.
#[derive(Debug)]
pub(crate) struct ConnectFailure {
    /// What the crates below say.
    pub(crate) cause: Failure,
    /// What a person might do.
    pub(crate) hint: Hint,
}

impl ConnectFailure {
    /// Whether what came is not what a server of plain HTTP says.
    pub(crate) fn is_no_http(&self) -> bool {
        self.hint == Hint::NotHttp
    }
}

/// What a person might do about a failed connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    Refused,
    Name,
    Certificate,
    Identity,
    NotTls,
    NotHttp,
    Silence,
    Other,
}

impl Hint {
    /// Whether trying again is of no use.
    pub(crate) fn is_lasting(self) -> bool {
        matches!(self, Hint::Certificate | Hint::Identity | Hint::NotTls | Hint::NotHttp)
    }

    /// For a person.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Hint::Refused => "nothing listens there: is the registry running, and is the port right?",
            Hint::Name => "check the spelling of the host, the network, and HTTPS_PROXY if a proxy is needed",
            Hint::Certificate => {
                "if the registry has an authority of its own, put its certificate into /etc/docker/certs.d/HOST/ca.crt"
            }
            Hint::Identity => {
                "it wants a certificate of ours that it knows: put it as NAME.cert, with its key as NAME.key, into \
                 /etc/docker/certs.d/HOST"
            }
            Hint::NotTls => "it does not seem to speak TLS; declare it insecure if plain HTTP is meant",
            Hint::NotHttp => "it does not seem to speak HTTP: is the port right?",
            Hint::Silence => "no answer: check the network, firewalls, and HTTPS_PROXY if a proxy is needed",
            Hint::Other => "check the network, and HTTPS_PROXY if a proxy is needed",
        }
    }
}

/// Sorts an error of the HTTP crate.
pub(crate) fn sorted(error: reqwest::Error) -> Trouble {
    let error = error.without_url();
    let cause = Failure(chain(&error));
    if error.is_connect() {
        return Trouble::Connect(ConnectFailure { hint: hint(&error), cause });
    }
    // With TLS 1.3 a host says that it does not want us when the connection stands.
    if hint(&error) == Hint::Identity {
        return Trouble::Connect(ConnectFailure { hint: Hint::Identity, cause });
    }
    if is_nonsense(&error) {
        return Trouble::Connect(ConnectFailure { hint: Hint::NotHttp, cause });
    }
    Trouble::Broken(cause)
}

/// Whether what came is no HTTP.
fn is_nonsense(error: &reqwest::Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return true;
        }
        next = cause.source();
    }
    false
}

/// A connection that did not come to stand in time.
pub(crate) fn silence(seconds: u64) -> Failure {
    Failure(format!("nothing came for {seconds} s"))
}

/// A connection that stands but hardly delivers.
pub(crate) fn trickle(bytes: u64, seconds: u64) -> Failure {
    Failure(format!("only {bytes} bytes came in {seconds} s"))
}

/// An error with all its causes, each said once.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

/// Whether a host says by this that it does not want who we are.
fn is_about_us(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

fn hint(error: &reqwest::Error) -> Hint {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        match cause.downcast_ref() {
            Some(rustls::Error::InvalidCertificate(_)) => return Hint::Certificate,
            Some(rustls::Error::InvalidMessage(_)) => return Hint::NotTls,
            Some(rustls::Error::AlertReceived(alert)) if is_about_us(*alert) => return Hint::Identity,
            _ => {}
        }
        let io_error = cause.downcast_ref::<io::Error>();
        match io_error.map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => return Hint::Refused,
            Some(io::ErrorKind::TimedOut) => return Hint::Silence,
            _ => {}
        }
        if cause.to_string().contains("dns error") {
            return Hint::Name;
        }
        // The source of an `io::Error` is that of the error that it wraps, so the wrapped one is asked for itself.
        let wrapped = io_error.and_then(io::Error::get_ref).map(|inner| inner as &(dyn StdError + 'static));
        next = wrapped.or_else(|| cause.source());
    }
    if error.is_timeout() { Hint::Silence } else { Hint::Other }
}
