//! What requests name: repositories, tags, manifests.

use std::fmt;

use kiln_oci::{Digest, Reference};

/// A repository within the registry, such as `library/busybox`: lower case, at most 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository(String);

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// How a request names a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestName {
    /// By what may come to mean another manifest.
    Tag(Tag),
    /// By its digest.
    Digest(Digest),
}

/// References are written with a registry; which one does not matter here.
const ANY_REGISTRY: &str = "localhost";

impl Repository {
    /// The name, if it follows the rules.
    pub fn parse(text: &str) -> Option<Self> {
        let reference: Reference = format!("{ANY_REGISTRY}/{text}").parse().ok()?;
        let is_all = reference.domain() == ANY_REGISTRY && reference.path() == text;
        is_all.then(|| Repository(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    /// The tag, if it follows the rules.
    pub fn parse(text: &str) -> Option<Self> {
        let any: Reference = ANY_REGISTRY.parse().ok()?;
        any.with_tag(text).is_ok().then(|| Tag(text.to_owned()))
    }

    /// The order in which tags are listed: the specification's, for which capitals do not count. Only of tags that are
    /// the same otherwise the one with the first capital comes first.
    pub fn order(one: &str, other: &str) -> std::cmp::Ordering {
        let folded = |tag: &str| tag.to_ascii_lowercase();
        folded(one).cmp(&folded(other)).then_with(|| one.cmp(other))
    }

    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ManifestName {
    /// A digest where there is a colon, a tag otherwise.
    pub fn parse(text: &str) -> Option<Self> {
        match text.contains(':') {
            true => text.parse().ok().map(ManifestName::Digest),
            false => Tag::parse(text).map(ManifestName::Tag),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ManifestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestName::Tag(tag) => tag.fmt(f),
            ManifestName::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_follow_the_rules() {
        for name in ["a", "a/b/c", "library/busy-box", "a__b/c.d", "a--b", "localhost/x", "a.b/c", &"a".repeat(255)] {
            assert_eq!(Repository::parse(name).map(|each| each.to_string()).as_deref(), Some(name));
        }
        for name in ["", "A", "a/", "/a", "a//b", "a:b", "a@b", "../a", "a/..", "a_-b", "-a", &"a".repeat(256)] {
            assert_eq!(Repository::parse(name), None, "{name}");
        }
        let looks_like_an_id = "0".repeat(64);
        assert!(Repository::parse(&looks_like_an_id).is_some());
    }

    #[test]
    fn manifests_are_named_by_tag_or_digest() {
        assert!(matches!(ManifestName::parse("v1.0"), Some(ManifestName::Tag(_))));
        let digest = Digest::of(b"x").to_string();
        assert!(matches!(ManifestName::parse(&digest), Some(ManifestName::Digest(_))));
        for name in ["", ".a", "a:b", "sha256:00", &"t".repeat(129)] {
            assert_eq!(ManifestName::parse(name), None, "{name}");
        }
    }
}
