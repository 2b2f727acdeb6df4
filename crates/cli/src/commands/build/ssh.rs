//! `--ssh`: which agent is found where. Keys are read before the build begins, so that it does not fail later.

use std::path::PathBuf;
use std::sync::Arc;

use kiln_build::{SshAgent, SshSource};

/// The id that a mount has which names none.
const DEFAULT: &str = "default";
/// Where ssh finds its agent.
const VARIABLE: &str = "SSH_AUTH_SOCK";

/// One `--ssh`: `ID` or `ID=PATH[,PATH…]`.
pub(super) fn agent(text: &str) -> Result<(String, Arc<dyn SshAgent>), String> {
    let (id, source) = source(text, std::env::var_os(VARIABLE).map(PathBuf::from))?;
    Ok((id, source.open().map_err(|error| error.to_string())?))
}

fn source(text: &str, usual: Option<PathBuf>) -> Result<(String, SshSource), String> {
    let (id, list) = text.split_once('=').unwrap_or((text, ""));
    let id = if id.is_empty() { DEFAULT } else { id };
    let mut raw = false;
    let mut paths = Vec::new();
    for field in list.split(',').filter(|field| !field.is_empty()) {
        match field.split_once('=') {
            Some(("raw", value)) => raw = value.parse().map_err(|_| format!("invalid value {value:?} for raw"))?,
            _ => paths.push(PathBuf::from(field)),
        }
    }
    match (raw, paths.len()) {
        (true, 1) => Ok((id.to_owned(), SshSource::RawSocket(paths.remove(0)))),
        (true, _) => Err("raw mode must supply exactly one socket path".into()),
        (false, 0) => {
            let usual = usual.filter(|path| !path.as_os_str().is_empty());
            let usual = usual.ok_or_else(|| format!("invalid empty ssh agent socket: make sure {VARIABLE} is set"))?;
            Ok((id.to_owned(), SshSource::Paths(vec![usual])))
        }
        (false, _) => Ok((id.to_owned(), SshSource::Paths(paths))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_keys_by_id() {
        let usual = || Some(PathBuf::from("/agent"));
        let paths = |paths: &[&str]| SshSource::Paths(paths.iter().map(PathBuf::from).collect());
        assert_eq!(source("default", usual()).unwrap(), ("default".into(), paths(&["/agent"])));
        assert_eq!(source("work=/a.sock", usual()).unwrap(), ("work".into(), paths(&["/a.sock"])));
        assert_eq!(source("k=id_a,id_b", None).unwrap(), ("k".into(), paths(&["id_a", "id_b"])));
        assert_eq!(source("r=/s,raw=true", None).unwrap().1, SshSource::RawSocket("/s".into()));
        assert_eq!(source("=/a", None).unwrap().0, "default");
        for bad in ["default", "r=raw=true", "r=raw=true,/a,/b", "r=/a,raw=maybe"] {
            assert!(source(bad, None).is_err(), "{bad}");
        }
        assert!(source("default", Some(PathBuf::new())).is_err());
    }
}
