//! `--network` and `--allow`: what RUN may reach and do.

use kiln_build::{Allowed, AllowedDevices};
use kiln_graph::NetworkMode;

use crate::failure::Failure;

/// `--network`.
pub(super) fn network(text: &str) -> Result<NetworkMode, Failure> {
    match text {
        "default" | "" => Ok(NetworkMode::Default),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        other => Err(Failure::new(format!(
            "ERROR: failed to build: network mode {other:?} not supported by kiln build: use default, none or host"
        ))),
    }
}

/// `--allow`. Who asks for the host's network on the command line has permitted it.
pub(super) fn allowed(texts: &[String], network: NetworkMode) -> Result<Allowed, Failure> {
    let mut allowed = Allowed { host_network: network == NetworkMode::Host, ..Allowed::default() };
    for text in texts.iter().filter(|text| !text.is_empty()) {
        match text.split_once('=').map_or(text.as_str(), |(kind, _)| kind) {
            "network.host" => allowed.host_network = true,
            "security.insecure" => allowed.insecure = true,
            "device" => allow_device(&mut allowed.devices, text.split_once('=').map(|(_, name)| name)),
            kind => return Err(Failure::new(format!("ERROR: failed to build: {}", refusal(text, kind)))),
        }
    }
    Ok(allowed)
}

/// `device` permits all, `device=NAME` one, or those of one kind.
fn allow_device(allowed: &mut AllowedDevices, name: Option<&str>) {
    match (name, allowed) {
        (None, allowed) => *allowed = AllowedDevices::All,
        (Some(name), AllowedDevices::Named(names)) => names.push(name.to_owned()),
        (Some(_), AllowedDevices::All) => {}
    }
}

fn refusal(text: &str, kind: &str) -> String {
    match kind {
        "fs" | "fs.read" | "fs.write" | "image" | "image.push" | "image.load" | "ssh" => format!(
            "entitlement {text} is for bake, whose files name what is read and written; build does what its own command \
             line says"
        ),
        _ => format!("invalid entitlement: {text}: use network.host, security.insecure or device"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        assert_eq!(network("").unwrap(), NetworkMode::Default);
        assert_eq!(network("none").unwrap(), NetworkMode::None);
        assert_eq!(network("host").unwrap(), NetworkMode::Host);
        let refused = network("bridge").unwrap_err();
        assert!(refused.code == 1 && refused.message.contains("network mode \"bridge\" not supported"));
    }

    #[test]
    fn entitlements() {
        let allow =
            |texts: &[&str], network| allowed(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>(), network);
        assert_eq!(allow(&[], NetworkMode::Default).unwrap(), Allowed::default());
        assert!(allow(&[], NetworkMode::Host).unwrap().host_network);
        let both = allow(&["network.host", "security.insecure"], NetworkMode::None).unwrap();
        assert!(both.host_network && both.insecure);
        assert!(allow(&["nonsense"], NetworkMode::None).unwrap_err().message.contains("invalid entitlement: nonsense"));
        let devices = |texts: &[&str]| allow(texts, NetworkMode::None).unwrap().devices;
        assert_eq!(devices(&["device=a/b=c"]), AllowedDevices::Named(vec!["a/b=c".into()]));
        assert_eq!(devices(&["device=a/b", "device"]), AllowedDevices::All);
        assert!(allow(&["fs=/tmp"], NetworkMode::None).unwrap_err().message.contains("is for bake"));
    }
}
