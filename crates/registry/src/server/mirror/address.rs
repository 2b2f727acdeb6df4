//! Which registry is mirrored: `https://HOST[:PORT]`.

use crate::Security;

/// The address of another registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorAddress {
    /// `HOST[:PORT]`, as references name it.
    pub domain: String,
    /// How it is connected to: `http://` is plain, `https://` is verified, and without either the client's settings
    /// for the host count.
    pub security: Option<Security>,
}

/// What is no address of a registry.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no address of a registry: {1}\nhint: it looks like https://registry.example.com or http://127.0.0.1:5000"
)]
pub struct MirrorAddressError(String, &'static str);

impl std::str::FromStr for MirrorAddress {
    type Err = MirrorAddressError;

    fn from_str(text: &str) -> Result<Self, MirrorAddressError> {
        let wrong = |reason| MirrorAddressError(text.to_owned(), reason);
        let (security, rest) = match text.split_once("://") {
            Some(("https", rest)) => (Some(Security::Tls), rest),
            Some(("http", rest)) => (Some(Security::Plain), rest),
            Some(_) => return Err(wrong("neither http nor https")),
            None => (None, text),
        };
        let host = rest.strip_suffix('/').unwrap_or(rest);
        if host.contains('@') {
            // Not repeated: it may hold a password.
            return Err(MirrorAddressError(String::new(), "credentials belong into `docker login`"));
        }
        if host.contains(['/', '?', '#']) {
            return Err(wrong("a registry has no path"));
        }
        // A reference takes a word without a dot and a port for a part of a name.
        let is_host = host.contains(['.', ':']) || host == "localhost";
        let port = if security == Some(Security::Plain) { 80 } else { 443 };
        let domain = if is_host || host.is_empty() { host.to_owned() } else { format!("{host}:{port}") };
        let reference: Result<kiln_oci::Reference, _> = format!("{domain}/x/y").parse();
        match reference {
            Ok(reference) if reference.path() == "x/y" => Ok(MirrorAddress { domain, security }),
            _ => Err(wrong("no host")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let check = |text: &str, domain: &str, security| {
            let domain = domain.to_owned();
            assert_eq!(text.parse::<MirrorAddress>().unwrap(), MirrorAddress { domain, security }, "{text}");
        };
        check("https://registry-1.docker.io", "registry-1.docker.io", Some(Security::Tls));
        check("http://127.0.0.1:5000/", "127.0.0.1:5000", Some(Security::Plain));
        check("https://inside", "inside:443", Some(Security::Tls));
        check("http://inside", "inside:80", Some(Security::Plain));
        check("ghcr.io", "ghcr.io", None);
        check("localhost", "localhost", None);
    }

    #[test]
    fn others_are_refused_without_their_secrets() {
        for text in ["", "https://", "ftp://a.b", "https://a.b/c", "https://a b", "https://a.b?x", "https://A_B.c"] {
            assert!(text.parse::<MirrorAddress>().is_err(), "{text}");
        }
        let said = "https://ada:secret@a.b".parse::<MirrorAddress>().unwrap_err().to_string();
        assert!(!said.contains("secret"), "{said}");
    }
}
