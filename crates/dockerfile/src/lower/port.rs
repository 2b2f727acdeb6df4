//! The ports of EXPOSE: `80`, `80/udp`, `8080-8090`, `host:container`, `address:host:container`.

use std::net::IpAddr;

/// The container's ports that `text` names, as `80/tcp`; `None` when it is malformed.
pub(crate) fn parse(text: &str) -> Option<Vec<String>> {
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, protocol)) => (ports, protocol.to_lowercase()),
        None => (text, "tcp".to_owned()),
    };
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let mut parts = ports.rsplitn(3, ':');
    let (first, last) = range(parts.next()?)?;
    if let Some(host) = parts.next().filter(|host| !host.is_empty()) {
        let (start, end) = range(host)?;
        // Several container ports need as many host ports; one may be chosen from a range.
        if first != last && end - start != last - first {
            return None;
        }
    }
    let address = parts.next().filter(|address| !address.is_empty());
    if address.is_some_and(|address| !is_address(address)) {
        return None;
    }
    Some((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// An IP address, one of version 6 with or without brackets.
fn is_address(text: &str) -> bool {
    let plain = text.strip_prefix('[').map_or(Some(text), |rest| rest.strip_suffix(']'));
    plain.is_some_and(|plain| plain.parse::<IpAddr>().is_ok())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        let ports = |text| parse(text).unwrap();
        assert_eq!(ports("80"), ["80/tcp"]);
        assert_eq!(ports("53/UDP"), ["53/udp"]);
        assert_eq!(ports("8000-8002"), ["8000/tcp", "8001/tcp", "8002/tcp"]);
        assert_eq!(ports("127.0.0.1:8080:80"), ["80/tcp"]);
        assert_eq!(ports("[::1]:8080:80"), ["80/tcp"]);
        assert_eq!(ports("::1:8080:80"), ["80/tcp"]);
        for wrong in ["", "x", "80/xtp", "70000", "2-1", "1-2:3-5", "-1", "1:2:3", "[::1:2:3", "localhost::80"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
