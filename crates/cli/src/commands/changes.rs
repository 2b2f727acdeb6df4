//! What `commit` and `import` have in common: the name of the image to be, and Dockerfile instructions for its config.

use kiln_dockerfile::apply_changes;
use kiln_oci::{ContainerConfig, Platform, Reference};

use crate::failure::Failure;

/// The name of an image to be; none is none.
pub(super) fn image_name(name: Option<&str>) -> Result<Option<Reference>, Failure> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    let reference: Reference =
        name.parse().map_err(|error: kiln_oci::ReferenceError| Failure::new(error.to_string()))?;
    if reference.digest().is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    Ok(Some(reference))
}

/// The config with the instructions of `--change`.
pub(super) fn applied(
    config: &ContainerConfig,
    changes: &[String],
    platform: &Platform,
) -> Result<ContainerConfig, Failure> {
    apply_changes(config, changes, platform)
        .map_err(|error| Failure::new(format!("Error response from daemon: {error}")))
}
