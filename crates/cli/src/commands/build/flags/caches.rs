//! `--cache-from`, `--cache-to` and BUILDKIT_INLINE_CACHE: caches elsewhere.

use kiln_cache::{CacheFrom, CacheTo};

use super::{limits, pairs};

/// Understands all `--cache-from`.
pub(super) fn from(texts: &[String]) -> Result<Vec<CacheFrom>, String> {
    let given = texts.iter().filter(|text| !text.is_empty());
    given.map(|text| CacheFrom::parse(&pairs::fields(text)?).map_err(|error| error.to_string())).collect()
}

/// Understands all `--cache-to`; `inline` is what the build argument BUILDKIT_INLINE_CACHE asks for.
pub(super) fn to(texts: &[String], inline: bool) -> Result<Vec<CacheTo>, String> {
    let size = |text: &str| limits::bytes(text).ok();
    let parse = |text: &str| CacheTo::parse(&pairs::fields(text)?, size).map_err(|error| error.to_string());
    let given = texts.iter().map(String::as_str).filter(|text| !text.is_empty());
    let mut caches: Vec<CacheTo> = given.map(parse).collect::<Result<_, _>>()?;
    if inline && !caches.iter().any(|cache| cache.place.is_none()) {
        caches.push(parse("type=inline")?);
    }
    Ok(caches)
}

/// Refuses an inline cache where nothing is an image.
pub(super) fn check_inline(caches: &[CacheTo], makes_image: bool) -> Result<(), String> {
    if caches.iter().any(|cache| cache.place.is_none()) && !makes_image {
        return Err("--cache-to type=inline needs an output that is an image: it is part of the image's config".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn caches_are_csv_and_repeat() {
        let caches = from(&owned(&["user/app:cache", "", "type=local,\"src=a,b\""])).unwrap();
        assert_eq!(
            caches.iter().map(|cache| cache.place.to_string()).collect::<Vec<_>>(),
            ["docker.io/user/app:cache", "a,b"]
        );
        let caches = to(&owned(&["type=inline", "type=local,dest=c,mounts=true,mounts-limit=1m"]), true).unwrap();
        assert_eq!(caches.len(), 2, "one of them is inline already");
        assert_eq!(caches[1].mounts, Some(1 << 20));
        assert_eq!(to(&[], true).unwrap().len(), 1);
        assert!(from(&owned(&["type=gha"])).unwrap_err().starts_with("--cache-from: type=gha"));
        assert!(to(&owned(&["type=local,\"dest=a"]), false).is_err());
    }

    #[test]
    fn an_inline_cache_needs_an_image() {
        let caches = to(&[], true).unwrap();
        assert!(check_inline(&caches, true).is_ok() && check_inline(&[], false).is_ok());
        assert!(check_inline(&caches, false).unwrap_err().contains("needs an output that is an image"));
    }
}
