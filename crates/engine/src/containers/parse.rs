//! Values that a container's settings keep as they were given.

use std::net::IpAddr;

use kiln_sandbox::{Host, Mount, Source};

use crate::Error;

/// `--add-host`: `NAME:ADDRESS` or `NAME=ADDRESS`, an IPv6 address with or without brackets.
pub(super) fn extra_host(line: &str) -> Result<Host, Error> {
    let bad = || Error::ExtraHost(line.into());
    let (name, address) = line.split_once([':', '=']).filter(|(name, _)| !name.is_empty()).ok_or_else(bad)?;
    let address: IpAddr = address.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| bad())?;
    Ok(Host { name: name.into(), address })
}

/// `--tmpfs`: a path and comma-separated options.
pub(super) fn tmpfs(path: &str, options: &str) -> Result<Mount, Error> {
    let (mut size, mut mode, mut read_only) = (None, None, false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let bad = || Error::TmpfsOption { path: path.into(), option: option.into() };
        match option.split_once('=') {
            Some(("size", value)) => size = Some(bytes(value).ok_or_else(bad)?),
            Some(("mode", value)) => mode = Some(u32::from_str_radix(value, 8).map_err(|_| bad())? & 0o7777),
            None if option == "ro" => read_only = true,
            None if option == "rw" => read_only = false,
            _ => return Err(bad()),
        }
    }
    Ok(Mount { target: path.into(), source: Source::Tmpfs { size, mode }, read_only })
}

/// `64m` and the like.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match text.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_sizes_are_understood_or_refused() {
        assert_eq!(extra_host("a:1.2.3.4").unwrap().address, IpAddr::from([1, 2, 3, 4]));
        assert_eq!(extra_host("a=[::1]").unwrap().address, "::1".parse::<IpAddr>().unwrap());
        assert_eq!(extra_host("a:b").unwrap_err().to_string(), "bad format for add-host: \"a:b\"");
        assert_eq!((bytes("64m"), bytes("7"), bytes("1x")), (Some(64 << 20), Some(7), None));
        assert!(tmpfs("/t", "size=1m,mode=700,ro").unwrap().read_only);
        assert!(tmpfs("/t", "noexec").is_err());
    }
}
