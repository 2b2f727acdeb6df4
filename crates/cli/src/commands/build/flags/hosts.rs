//! `--add-host`: lines for `/etc/hosts` of RUN.

use std::net::IpAddr;

use kiln_graph::ExtraHost;

/// The word for this machine's own address.
const HOST_GATEWAY: &str = "host-gateway";

/// `HOST:ADDRESS` or `HOST=ADDRESS`, an IPv6 address perhaps in brackets. `host-gateway` is how a step reaches this
/// machine: by loopback, for steps that have a network have this machine's.
pub(super) fn extra_host(text: &str) -> Result<ExtraHost, String> {
    let bad = || format!("invalid host {text}");
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
    if name.is_empty() {
        return Err(bad());
    }
    let address = if address == HOST_GATEWAY { "127.0.0.1" } else { address };
    let plain = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    plain.parse::<IpAddr>().map_err(|_| bad())?;
    Ok(ExtraHost { name: name.into(), address: plain.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_both_address_families() {
        for (text, name, address) in [
            ("a:127.0.0.1", "a", "127.0.0.1"),
            ("a=10.0.0.1", "a", "10.0.0.1"),
            ("a:::1", "a", "::1"),
            ("a=[::1]", "a", "::1"),
            ("me:host-gateway", "me", "127.0.0.1"),
        ] {
            assert_eq!(extra_host(text).unwrap(), ExtraHost { name: name.into(), address: address.into() }, "{text}");
        }
        for text in ["", "a", "a:", ":1.2.3.4", "=::1", "a:b", "a:[1.2.3.4", "a:1.2.3"] {
            assert_eq!(extra_host(text), Err(format!("invalid host {text}")), "{text}");
        }
    }
}
