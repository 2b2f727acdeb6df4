//! What the environment says about builds, in docker's variables.

use crate::arguments;

/// What it says.
#[derive(Debug)]
pub(super) struct Environment {
    /// BUILDX_BUILDER
    pub(super) builder: Option<String>,
    /// DOCKER_DEFAULT_PLATFORM
    pub(super) platform: Option<String>,
    /// BUILDKIT_PROGRESS
    pub(super) progress: Option<String>,
    /// Not BUILDX_NO_DEFAULT_LOAD
    pub(super) keeps_by_default: bool,
}

impl Environment {
    /// Asks `variable` for each; what is empty is not set.
    pub(super) fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Environment, String> {
        let text = |name: &str| variable(name).filter(|value| !value.is_empty());
        if text("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY").is_some() {
            return Err(
                "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY is set: kiln does not enforce source policies, and will not \
                        build as if there were none"
                    .into(),
            );
        }
        // Docker's builds take `full` for more of them.
        if text("BUILDX_GIT_LABELS").is_some_and(|value| arguments::truth(&value) != Some(false)) {
            return Err("BUILDX_GIT_LABELS is set: kiln adds no labels about the repository; use --label".into());
        }
        let truth = |name: &str| {
            let value = text(name);
            let read = |value: String| arguments::truth(&value).ok_or_else(|| format!("invalid {name}: {value:?}"));
            value.map(read).transpose()
        };
        if truth("DOCKER_BUILDKIT")? == Some(false) {
            eprintln!(
                "WARNING: DOCKER_BUILDKIT=0 asks for the builder that docker had before BuildKit; kiln has one builder"
            );
        }
        Ok(Environment {
            builder: text("BUILDX_BUILDER"),
            platform: text("DOCKER_DEFAULT_PLATFORM"),
            progress: text("BUILDKIT_PROGRESS"),
            keeps_by_default: truth("BUILDX_NO_DEFAULT_LOAD")? != Some(true),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<Environment, String> {
        Environment::read(&|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn variables() {
        let plain = read("OTHER", "x").unwrap();
        assert!(plain.builder.is_none() && plain.platform.is_none() && plain.progress.is_none());
        assert!(plain.keeps_by_default);
        assert_eq!(read("BUILDX_BUILDER", "b").unwrap().builder.as_deref(), Some("b"));
        assert_eq!(read("BUILDX_BUILDER", "").unwrap().builder, None);
        assert_eq!(read("BUILDKIT_PROGRESS", "tty").unwrap().progress.as_deref(), Some("tty"));
        assert!(!read("BUILDX_NO_DEFAULT_LOAD", "1").unwrap().keeps_by_default);
        assert!(read("BUILDX_NO_DEFAULT_LOAD", "perhaps").is_err());
        assert!(read("BUILDX_GIT_LABELS", "full").is_err() && read("BUILDX_GIT_LABELS", "0").is_ok());
        assert!(read("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "p.json").is_err());
    }
}
