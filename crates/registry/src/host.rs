//! From the domain of a reference to the address that is asked, and what counts as this machine.

use std::net::IpAddr;

/// The domain of Docker's public registry in references.
pub(crate) const PUBLIC: &str = "docker.io";
/// The host that serves it.
const PUBLIC_HOST: &str = "registry-1.docker.io";

/// The host that serves references of `domain`.
pub(crate) fn serving(domain: &str) -> &str {
    if domain == PUBLIC || domain == "index.docker.io" { PUBLIC_HOST } else { domain }
}

/// The domain under which what is known of a host is kept.
pub(crate) fn domain_of(host: &str) -> &str {
    if host == PUBLIC_HOST { PUBLIC } else { host }
}

/// Whether `host`, with or without a port, is this machine: `localhost`, 127.0.0.0/8 or ::1.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = without_port(host);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether `host` is an address that only this machine and its neighbours know, such as that of a cloud's metadata.
pub(crate) fn is_link_local(host: &str) -> bool {
    matches!(without_port(host).parse(), Ok(IpAddr::V4(address)) if address.is_link_local())
}

/// `host` without its port and without the brackets of an IPv6 address.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_by_its_address() {
        for host in ["localhost", "LOCALHOST:5000", "127.0.0.1", "127.9.8.7:80", "[::1]:5000", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "128.0.0.1", "[::2]:1", "docker.io", "127.0.0.1.example:80", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn neighbours_are_known_by_their_address() {
        assert!(is_link_local("169.254.169.254") && is_link_local("169.254.170.2:80"));
        assert!(!is_link_local("169.255.0.1") && !is_link_local("169.254.example") && !is_link_local(""));
    }

    #[test]
    fn the_public_registry_has_another_host_than_name() {
        assert_eq!(serving("docker.io"), "registry-1.docker.io");
        assert_eq!(serving("ghcr.io"), "ghcr.io");
        assert_eq!((domain_of("registry-1.docker.io"), domain_of("ghcr.io")), ("docker.io", "ghcr.io"));
    }
}
