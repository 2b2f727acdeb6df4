//! `--annotation`, and the annotations among the options of `--output`.

use kiln_build::{Annotation, AnnotationTarget};
use kiln_oci::Platform;

/// One `--annotation`: `NAME=VALUE` for the manifest, or `TYPE[,TYPE…]:NAME=VALUE`, where a type may have a platform in
/// brackets.
pub(super) fn flag(text: &str) -> Result<Vec<Annotation>, String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("invalid annotation {text:?}, expected key=value"))?;
    let (places, key) = name.split_once(':').unwrap_or(("manifest", name));
    let annotation = |place: &str| {
        let (target, platform) = place_of(place)?;
        Ok(Annotation { target, platform, key: key.into(), value: value.into() })
    };
    places.split(',').map(annotation).collect()
}

/// An option `annotation.NAME`, `annotation-TYPE.NAME` or `annotation-TYPE[PLATFORM].NAME`; `None` for other options.
pub(super) fn option(name: &str, value: &str) -> Option<Result<Annotation, String>> {
    let rest = name.strip_prefix("annotation")?;
    let (place, key) = match rest.strip_prefix('-') {
        Some(rest) => rest.split_once('.')?,
        None => match rest.strip_prefix('.') {
            Some(key) => ("manifest", key),
            None => {
                let (platform, key) = rest.split_once("].")?;
                let place = place_of(&format!("manifest{platform}]"));
                return Some(place.map(|(target, platform)| annotation(target, platform, key, value)));
            }
        },
    };
    Some(place_of(place).map(|(target, platform)| annotation(target, platform, key, value)))
}

fn annotation(target: AnnotationTarget, platform: Option<Platform>, key: &str, value: &str) -> Annotation {
    Annotation { target, platform, key: key.into(), value: value.into() }
}

/// `manifest`, `index[…]` and so on.
fn place_of(text: &str) -> Result<(AnnotationTarget, Option<Platform>), String> {
    let malformed =
        || format!("invalid annotation type {text:?}, expected type and optional platform in square brackets");
    let (name, platform) = match text.split_once('[') {
        Some((name, rest)) => (name, Some(rest.strip_suffix(']').ok_or_else(malformed)?)),
        None => (text, None),
    };
    let target = match name {
        "manifest" => AnnotationTarget::Manifest,
        "manifest-descriptor" => AnnotationTarget::ManifestDescriptor,
        "index" => AnnotationTarget::Index,
        "index-descriptor" => AnnotationTarget::IndexDescriptor,
        name if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') => {
            return Err(format!("unknown annotation type {name:?}"));
        }
        _ => return Err(malformed()),
    };
    let parse = |text: &str| text.parse::<Platform>().map_err(|error| format!("invalid platform {text:?}: {error}"));
    Ok((target, platform.map(parse).transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(annotation: &Annotation) -> String {
        let platform = annotation.platform.as_ref().map_or(String::new(), |platform| format!("[{platform}]"));
        format!("{:?}{platform} {}={}", annotation.target, annotation.key, annotation.value)
    }

    #[test]
    fn places_of_flags() {
        for (text, expected) in [
            ("a=b", &["Manifest a=b"][..]),
            ("a=b=c", &["Manifest a=b=c"]),
            ("a=", &["Manifest a="]),
            ("index:a=b", &["Index a=b"]),
            ("manifest-descriptor:a=b:c", &["ManifestDescriptor a=b:c"]),
            ("index,manifest:a=b", &["Index a=b", "Manifest a=b"]),
            ("manifest[linux/arm64]:a=b", &["Manifest[linux/arm64] a=b"]),
            ("index-descriptor:org.x.y=1", &["IndexDescriptor org.x.y=1"]),
        ] {
            let annotations = flag(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(annotations.iter().map(shown).collect::<Vec<_>>(), expected, "{text}");
        }
        for (text, message) in [
            ("a", "invalid annotation \"a\", expected key=value"),
            ("layer:a=b", "unknown annotation type \"layer\""),
            ("Index:a=b", "invalid annotation type \"Index\""),
            ("manifest[linux:a=b", "invalid annotation type \"manifest[linux\""),
            ("manifest[a/b/c/d/e]:a=b", "invalid platform"),
        ] {
            assert!(flag(text).unwrap_err().starts_with(message), "{text}: {:?}", flag(text));
        }
    }

    #[test]
    fn options_of_outputs() {
        for (name, expected) in [
            ("annotation.a.b", "Manifest a.b=v"),
            ("annotation-index.a", "Index a=v"),
            ("annotation-manifest[linux/amd64].a", "Manifest[linux/amd64] a=v"),
            ("annotation[linux/amd64].a", "Manifest[linux/amd64] a=v"),
            ("annotation-manifest-descriptor.a", "ManifestDescriptor a=v"),
        ] {
            assert_eq!(shown(&option(name, "v").unwrap().unwrap()), expected);
        }
        assert!(option("annotation-layer.a", "v").unwrap().is_err());
        for name in ["compression", "annotations", "annotation-index"] {
            assert!(option(name, "v").is_none(), "{name}");
        }
    }
}
