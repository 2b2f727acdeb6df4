//! Platforms, `os/architecture[/variant]`, in the spelling of Go's GOOS and GOARCH.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system and a processor architecture (OCI image index specification, "platform").
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// The architecture, such as `amd64` or `arm64`.
    pub architecture: String,
    /// The operating system, such as `linux`.
    pub os: String,
    /// The version of the operating system; Windows only.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system that an image needs; Windows only.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The architecture's variant, such as `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a text is no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a platform: expected os[/architecture[/variant]] such as linux/amd64")]
pub struct PlatformError {
    /// The text as given.
    pub text: String,
}

impl Platform {
    /// A platform without variant.
    pub fn new(os: &str, architecture: &str) -> Self {
        Platform {
            architecture: architecture.into(),
            os: os.into(),
            os_version: None,
            os_features: Vec::new(),
            variant: None,
        }
    }

    /// The platform that this program was compiled for.
    pub fn host() -> Self {
        let architecture = std::env::consts::ARCH;
        normalize("linux", if architecture == "x86" { "386" } else { architecture }, "")
    }

    /// Whether an image for `other` runs where `self` is asked for; see [`Platform::rank`].
    pub fn accepts(&self, other: &Platform) -> bool {
        self.rank(other).is_some()
    }

    /// How well an image for `other` fits where `self` is asked for: 0 is exactly, `None` not at all. Older variants
    /// run too, and as a last resort what the processor runs besides (`386` on `amd64`, 32-bit ARM on `arm64`).
    pub fn rank(&self, other: &Platform) -> Option<usize> {
        if self.os != other.os {
            return None;
        }
        self.runnable().iter().position(|(architecture, variant)| {
            (*architecture, *variant) == (other.architecture.as_str(), other.effective_variant())
        })
    }

    /// Architectures and variants that run here, the best first.
    fn runnable(&self) -> Vec<(&str, &str)> {
        let (architecture, variant) = (self.architecture.as_str(), self.effective_variant());
        let from = |versions: &'static [&'static str]| {
            let start = versions.iter().position(|version| *version == variant);
            versions.get(start.unwrap_or(versions.len())..).unwrap_or_default().iter().copied()
        };
        let mut list = match architecture {
            "amd64" => from(&["v4", "v3", "v2", "v1"]).map(|version| (architecture, version)).collect(),
            "arm64" => from(&["v9", "v8"]).map(|version| (architecture, version)).collect(),
            "arm" => from(&["v8", "v7", "v6", "v5"]).map(|version| (architecture, version)).collect(),
            _ => Vec::new(),
        };
        if list.is_empty() {
            list.push((architecture, variant));
        }
        match architecture {
            "amd64" => list.push(("386", "")),
            "arm64" => list.extend(["v8", "v7", "v6", "v5"].map(|version| ("arm", version))),
            _ => {}
        }
        list
    }

    fn effective_variant(&self) -> &str {
        match (self.architecture.as_str(), self.variant.as_deref().unwrap_or("")) {
            ("arm", "") => "v7",
            ("arm64", "") => "v8",
            ("amd64", "") => "v1",
            (_, variant) => variant,
        }
    }
}

fn normalize(os: &str, architecture: &str, variant: &str) -> Platform {
    let os = match os.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    };
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", other) => ("amd64", other),
        ("i386", _) => ("386", ""),
        ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", ""),
        ("aarch64" | "arm64", other) => ("arm64", other),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        ("powerpc64le", other) => ("ppc64le", other),
        (same, other) => (same, other),
    };
    let mut platform = Platform::new(&os, architecture);
    platform.variant = Some(variant.to_owned()).filter(|v| !v.is_empty());
    platform
}

fn is_os(text: &str) -> bool {
    matches!(
        text.to_ascii_lowercase().as_str(),
        "linux" | "windows" | "darwin" | "macos" | "freebsd" | "netbsd" | "openbsd" | "wasip1"
    )
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let host = Platform::host();
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|p| is_word(p)) {
            return Err(PlatformError { text: text.into() });
        }
        match parts[..] {
            [os] if is_os(os) => Ok(normalize(os, &host.architecture, host.variant.as_deref().unwrap_or(""))),
            [architecture] => {
                let platform = normalize("linux", architecture, "");
                let known = [
                    "amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "mips64le", "mips64", "loong64",
                    "wasm",
                ];
                known
                    .contains(&platform.architecture.as_str())
                    .then_some(platform)
                    .ok_or(PlatformError { text: text.into() })
            }
            [os, architecture] => Ok(normalize(os, architecture, "")),
            [os, architecture, variant] => Ok(normalize(os, architecture, variant)),
            _ => Err(PlatformError { text: text.into() }),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_normalised() {
        let check = |text: &str, want: &str| assert_eq!(text.parse::<Platform>().unwrap().to_string(), want);
        check("linux/x86_64", "linux/amd64");
        check("linux/aarch64", "linux/arm64");
        check("linux/arm64/v8", "linux/arm64");
        check("linux/arm", "linux/arm/v7");
        check("Linux/ARM/v6", "linux/arm/v6");
        check("arm64", "linux/arm64");
        assert!("".parse::<Platform>().is_err());
        assert!("linux//amd64".parse::<Platform>().is_err());
        assert!("nosuch".parse::<Platform>().is_err());
    }

    #[test]
    fn images_fit_exactly_or_by_an_older_variant_or_as_a_last_resort() {
        let check = |wanted: &str, fits: &[&str], others: &[&str]| {
            let platform = |text: &str| text.parse::<Platform>().unwrap();
            let ranks: Vec<_> = fits.iter().map(|text| platform(wanted).rank(&platform(text))).collect();
            assert!(ranks.is_sorted() && ranks.first() == Some(&Some(0)), "{wanted}: {fits:?} {ranks:?}");
            assert!(ranks.iter().all(Option::is_some), "{wanted}: {fits:?} {ranks:?}");
            for other in others {
                assert_eq!(platform(wanted).rank(&platform(other)), None, "{wanted}: {other}");
            }
        };
        check("linux/amd64", &["linux/amd64", "linux/386"], &["linux/amd64/v2", "linux/arm64", "windows/amd64"]);
        check("linux/amd64/v3", &["linux/amd64/v3", "linux/amd64/v2", "linux/amd64/v1"], &["linux/amd64/v4"]);
        check("linux/386", &["linux/386"], &["linux/amd64"]);
        check("linux/arm64", &["linux/arm64/v8", "linux/arm/v8", "linux/arm/v7", "linux/arm/v5"], &["linux/arm64/v9"]);
        check("linux/arm64/v9", &["linux/arm64/v9", "linux/arm64"], &["linux/amd64"]);
        check("linux/arm", &["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"], &["linux/arm/v8", "linux/arm64"]);
        check("linux/arm/v6", &["linux/arm/v6", "linux/arm/v5"], &["linux/arm/v7"]);
        check("linux/riscv64", &["linux/riscv64"], &["linux/amd64"]);
        check("linux/mips64le/hardfloat", &["linux/mips64le/hardfloat"], &["linux/mips64le"]);
    }
}
