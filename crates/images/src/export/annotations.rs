//! Annotations that a user wants on the documents of an image, and which of them a document gets.
//!
//! Knows documents and platforms, nothing of how annotations are written on a command line.

use std::collections::BTreeMap;

use kiln_oci::Platform;

/// The document, or the entry of a document, that an annotation is put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnnotationTarget {
    /// The manifest itself.
    Manifest,
    /// The entry that names the manifest: in the index of platforms, or in that of the archive.
    ManifestDescriptor,
    /// The index of platforms itself.
    Index,
    /// The entry of the archive that names the index of platforms.
    IndexDescriptor,
}

impl AnnotationTarget {
    /// Whether it exists only where several platforms are exported together.
    #[must_use]
    pub fn needs_index(self) -> bool {
        matches!(self, AnnotationTarget::Index | AnnotationTarget::IndexDescriptor)
    }
}

/// One annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// What it is put on.
    pub target: AnnotationTarget,
    /// Only for this platform's; for all platforms' without.
    pub platform: Option<Platform>,
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// The annotations for `target`; of the same key the last wins, and one for a platform over one for all.
pub(super) fn of(
    annotations: &[Annotation],
    target: AnnotationTarget,
    platform: Option<&Platform>,
) -> BTreeMap<String, String> {
    let wanted = annotations.iter().filter(|annotation| annotation.target == target);
    let (general, particular): (Vec<_>, Vec<_>) = wanted.partition(|annotation| annotation.platform.is_none());
    let particular = particular.into_iter().filter(|annotation| annotation.platform.as_ref() == platform);
    let pair = |annotation: &Annotation| (annotation.key.clone(), annotation.value.clone());
    general.into_iter().chain(particular).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(target: AnnotationTarget, platform: Option<&str>, value: &str) -> Annotation {
        let platform = platform.map(|platform| platform.parse().unwrap());
        Annotation { target, platform, key: "k".into(), value: value.into() }
    }

    #[test]
    fn a_platform_s_own_annotation_wins_over_one_for_all() {
        let all = [
            annotation(AnnotationTarget::Manifest, Some("linux/arm64"), "arm"),
            annotation(AnnotationTarget::Manifest, None, "first"),
            annotation(AnnotationTarget::Manifest, None, "last"),
            annotation(AnnotationTarget::Index, None, "index"),
        ];
        let value = |target, platform: &str| of(&all, target, Some(&platform.parse().unwrap())).remove("k");
        assert_eq!(value(AnnotationTarget::Manifest, "linux/arm64").as_deref(), Some("arm"));
        assert_eq!(value(AnnotationTarget::Manifest, "linux/amd64").as_deref(), Some("last"));
        assert_eq!(value(AnnotationTarget::ManifestDescriptor, "linux/amd64"), None);
        assert_eq!(of(&all, AnnotationTarget::Index, None).remove("k").as_deref(), Some("index"));
    }
}
