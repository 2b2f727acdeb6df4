//! Sizes and limits of RUN: `--shm-size` and `--ulimit`, as Go's docker/go-units reads them, and what each step may
//! take, `--step-…`, as docker takes it of a container.

use std::collections::BTreeMap;

use kiln_build::Bounds;
use kiln_graph::Ulimit;

use crate::config::BuildConfig;

/// The least memory that docker lets a container have, in bytes.
const LEAST_MEMORY: u64 = 6 << 20;
/// The least share of a processor that the kernel can give out.
const LEAST_CPUS: f64 = 0.01;
/// More processors than there are anywhere.
const MOST_CPUS: f64 = 1e6;

/// The limits that a process has on Linux, by the names of setrlimit(2).
const NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `64m`, `1.5g`, `2GiB`, `512`: bytes; the units are powers of 1024.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("invalid size: '{text}'");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let shift = match text[digits.len()..].trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(bad()),
    };
    if let Ok(number) = digits.parse::<u64>() {
        return number.checked_mul(1 << shift).ok_or_else(bad);
    }
    let number: f64 = digits.parse().map_err(|_| bad())?;
    let bytes = number * f64::from(1 << shift.min(30)) * 2f64.powi(shift - shift.min(30));
    // Beyond 2^53 a fraction of bytes has no meaning any more.
    if (0.0..=9e15).contains(&bytes) { Ok(bytes as u64) } else { Err(bad()) }
}

/// `512m`; no less than docker takes, or 0.
pub(super) fn memory(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        few @ 1..LEAST_MEMORY => Err(format!("{few} bytes are too few: 6MB is the least that can be allowed")),
        other => Ok(other),
    }
}

/// `1.5`; no less than docker takes, or 0.
pub(super) fn cpus(text: &str) -> Result<f64, String> {
    let number: f64 = text.trim().parse().map_err(|_| format!("invalid number of processors: '{text}'"))?;
    match number == 0.0 || (LEAST_CPUS..=MOST_CPUS).contains(&number) {
        true => Ok(number),
        false => Err(format!("{text} processors cannot be allowed: from {LEAST_CPUS} on")),
    }
}

/// What each step may take: as the flags say, and what they do not say as the configuration does. 0 is no limit.
pub(super) fn of_step(flags: Bounds, config: &BuildConfig) -> Bounds {
    Bounds {
        time: flags.time.or(config.step_timeout).filter(|time| !time.is_zero()),
        memory: flags.memory.or(config.step_memory).filter(|bytes| *bytes > 0),
        cpus: flags.cpus.or(config.step_cpus).filter(|cpus| *cpus > 0.0),
    }
}

/// `NAME=SOFT[:HARD]`; -1 is no limit.
pub(super) fn ulimit(text: &str) -> Result<Ulimit, String> {
    let bad = || format!("invalid ulimit argument: {text}");
    let (name, limits) = text.split_once('=').ok_or_else(bad)?;
    if !NAMES.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| text.parse::<i64>().map_err(|_| bad());
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.into(), soft, hard })
}

/// Of limits with the same name the last, in the order of the names.
pub(super) fn last_of_each(limits: &[Ulimit]) -> Vec<Ulimit> {
    let by_name: BTreeMap<&str, &Ulimit> = limits.iter().map(|limit| (limit.name.as_str(), limit)).collect();
    by_name.into_values().cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("512", 512),
            ("64m", 64 << 20),
            ("1GB", 1 << 30),
            ("2GiB", 2 << 30),
            ("1.5g", 3 << 29),
            ("10 kb", 10 << 10),
            ("0", 0),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["x", "", "-1", "1q", "m", "1e400", "99999999999999999999", "NaN", "20000000p"] {
            assert_eq!(bytes(text), Err(format!("invalid size: '{text}'")), "{text}");
        }
    }

    #[test]
    fn a_step_may_take_what_docker_lets_a_container_take() {
        assert_eq!((memory("6m"), memory("0"), memory("1.5g")), (Ok(6 << 20), Ok(0), Ok(3 << 29)));
        assert_eq!((cpus("1.5"), cpus("0"), cpus(".01")), (Ok(1.5), Ok(0.0), Ok(0.01)));
        assert!(memory("5m").is_err());
        for text in ["", "x", "-1", "0.001", "NaN", "inf", "1e9"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn flags_win_over_the_configuration_also_where_they_take_a_limit_away() {
        let config = BuildConfig { step_memory: Some(1 << 30), step_cpus: Some(2.0), ..BuildConfig::default() };
        let flags = Bounds { memory: Some(0), time: Some(Duration::from_secs(1)), ..Bounds::default() };
        let bounds = Bounds { memory: None, time: Some(Duration::from_secs(1)), cpus: Some(2.0) };
        assert_eq!(of_step(flags, &config), bounds);
    }

    #[test]
    fn limits_have_known_names_and_their_order() {
        assert_eq!(ulimit("nofile=10:20").unwrap(), Ulimit { name: "nofile".into(), soft: 10, hard: 20 });
        assert_eq!(ulimit("core=-1").unwrap(), Ulimit { name: "core".into(), soft: -1, hard: -1 });
        assert_eq!(ulimit("files=1"), Err("invalid ulimit type: files".into()));
        assert_eq!(
            ulimit("nofile=20:10"),
            Err("ulimit soft limit must be less than or equal to hard limit: 20 > 10".into())
        );
        let all = ["nproc=3", "core=1", "core=2"].map(|text| ulimit(text).unwrap());
        assert_eq!(last_of_each(&all), [ulimit("core=2").unwrap(), ulimit("nproc=3").unwrap()]);
        for text in ["", "nofile", "nofile=", "nofile=a", "nofile=1:b"] {
            assert!(ulimit(text).is_err(), "{text}");
        }
    }
}
