//! An image as `docker inspect` shows it.

use kiln_oci::{ImageConfig, Platform};
use serde_json::{Map, Value, json};

use super::find::familiar_names;
use crate::{Engine, Error, moment};

impl Engine {
    /// Docker's JSON for an image; of a name's images the one for `platform`, if it says one.
    ///
    /// # Errors
    /// No such image.
    pub fn inspect_image(&self, name: &str, platform: Option<&Platform>) -> Result<Value, Error> {
        let image = self.find_image_for(name, platform)?;
        let config = self.image_config(&image)?;
        let mut shown = json!({
            "Id": image.id,
            "RepoTags": familiar_names(&image),
            "RepoDigests": self.repository_digests(&image)?,
            "Parent": self.parent(&image, &config)?.map(|parent| parent.id.to_string()).unwrap_or_default(),
            "Comment": config.history.last().and_then(|step| step.comment.clone()).unwrap_or_default(),
            "Created": config.created.clone().unwrap_or_default(),
            "DockerVersion": "",
            "Author": config.author.clone().unwrap_or_default(),
            "Config": container_config(&config),
            "Architecture": config.architecture,
            "Os": config.os,
            "Size": self.layer_sizes(&image)?.iter().sum::<u64>(),
            "GraphDriver": { "Data": null, "Name": "overlayfs" },
            "RootFS": { "Type": "layers", "Layers": config.rootfs.diff_ids },
            "Metadata": { "LastTagTime": moment::text(image.created) },
        });
        if let (Some(variant), Some(members)) = (&config.variant, shown.as_object_mut()) {
            members.insert("Variant".into(), json!(variant));
        }
        Ok(shown)
    }
}

/// The config's members, and docker's nulls where the config has none.
fn container_config(config: &ImageConfig) -> Value {
    let mut members = Map::new();
    for (name, value) in
        [("Cmd", Value::Null), ("Entrypoint", Value::Null), ("Env", Value::Null), ("Labels", Value::Null)]
            .into_iter()
            .chain([("OnBuild", Value::Null), ("User", json!("")), ("Volumes", Value::Null), ("WorkingDir", json!(""))])
    {
        members.insert(name.into(), value);
    }
    // A config that was parsed can be written.
    if let Ok(Value::Object(own)) = serde_json::to_value(config.container()) {
        members.extend(own);
    }
    Value::Object(members)
}
