//! `system df -v`: four tables, or the same as one value for a template.

use kiln_store::CacheEntry;
use serde_json::{Value, json};

use super::super::listing::{self, Listing};
use super::measured::{Container, Image, Measured, Volume};
use crate::failure::Failure;
use crate::{moment, output, size, template};

/// How much of an id and of a command is shown.
const SHORT: usize = 12;
const COMMAND_LENGTH: usize = 20;

const NONE: &str = "<none>";

const IMAGES: Listing = Listing {
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
    headings: &[
        ("Containers", "CONTAINERS"),
        ("CreatedSince", "CREATED"),
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("SharedSize", "SHARED SIZE"),
        ("Size", "SIZE"),
        ("Tag", "TAG"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
};

const CONTAINERS: Listing = Listing {
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
    headings: &[
        ("Command", "COMMAND"),
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Names", "NAMES"),
        ("RunningFor", "CREATED"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
};

const VOLUMES: Listing = Listing {
    table: "{{.Name}}\t{{.Links}}\t{{.Size}}",
    headings: &[("Links", "LINKS"), ("Name", "VOLUME NAME"), ("Size", "SIZE")],
};

const CACHE: Listing = Listing {
    table: "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}",
    headings: &[
        ("CacheType", "CACHE TYPE"),
        ("CreatedSince", "CREATED"),
        ("ID", "CACHE ID"),
        ("LastUsedSince", "LAST USED"),
        ("Shared", "SHARED"),
        ("Size", "SIZE"),
        ("UsageCount", "USAGE"),
    ],
};

/// Prints everything one by one.
pub(super) fn print(measured: &Measured, format: Option<&str>) -> Result<(), Failure> {
    let images: Vec<Value> = measured.images.iter().flat_map(image).collect();
    let containers: Vec<Value> = measured.containers.iter().map(container).collect();
    let volumes: Vec<Value> = measured.volumes.iter().map(volume).collect();
    let cache: Vec<Value> = measured.cache.iter().map(entry).collect();
    if let Some(format) = format.filter(|format| !matches!(format.trim(), "" | "table")) {
        let all = json!({ "Images": images, "Containers": containers, "Volumes": volumes, "BuildCache": cache });
        let text = template::of_flag(format)?.execute(&all);
        return output::line(text.map_err(|failed| Failure::new(failed.error.to_string()))?);
    }
    output::text("Images space usage:\n\n")?;
    IMAGES.print(None, &images)?;
    output::text("\nContainers space usage:\n\n")?;
    CONTAINERS.print(None, &containers)?;
    output::text("\nLocal Volumes space usage:\n\n")?;
    VOLUMES.print(None, &volumes)?;
    output::text(format_args!("\nBuild cache usage: {}\n\n", size::words(measured.cache_bytes())))?;
    CACHE.print(None, &cache)
}

/// A row for each name.
fn image(image: &Image) -> Vec<Value> {
    let summary = &image.summary;
    let row = |(name, tag): (&str, &str)| {
        json!({
            "Containers": summary.containers.to_string(),
            "CreatedAt": summary.created.map_or_else(|| "N/A".into(), moment::text),
            "CreatedSince": summary.created.map_or_else(|| "N/A".into(), moment::ago),
            "ID": summary.id.short(),
            "Labels": listing::labels(&summary.labels),
            "Repository": name,
            "SharedSize": size::words(image.shared),
            "Size": size::words(image.shared + image.unique),
            "Tag": tag,
            "UniqueSize": size::words(image.unique),
        })
    };
    if summary.tags.is_empty() {
        return vec![row((NONE, NONE))];
    }
    summary.tags.iter().map(|tag| row(tag.rsplit_once(':').unwrap_or((tag, NONE)))).collect()
}

fn container(container: &Container) -> Value {
    let one = &container.summary;
    json!({
        "Command": template::quoted(&listing::shortened(&one.command, COMMAND_LENGTH)),
        "CreatedAt": moment::text(one.created),
        "ID": one.container.short_id(),
        "Image": one.image,
        "Labels": listing::labels(&one.container.settings.labels),
        "LocalVolumes": one.container.mounts.iter().filter(|mount| mount.volume.is_some()).count().to_string(),
        "Names": one.name,
        "RunningFor": moment::ago(one.created),
        "Size": size::words(container.bytes),
        "State": one.phase.word(),
        "Status": one.status,
    })
}

fn volume(volume: &Volume) -> Value {
    json!({
        "Driver": "local",
        "Links": volume.links.to_string(),
        "Mountpoint": volume.summary.mountpoint,
        "Name": volume.summary.name,
        "Scope": "local",
        "Size": size::words(volume.bytes),
    })
}

fn entry(entry: &CacheEntry) -> Value {
    let id: String = entry.id.chars().take(SHORT).collect();
    json!({
        "CacheType": entry.kind.as_str(),
        "CreatedAt": moment::text(entry.created.seconds),
        "CreatedSince": moment::ago(entry.created.seconds),
        "Description": entry.description,
        "ID": if entry.in_use { id + "*" } else { id },
        "InUse": entry.in_use.to_string(),
        "LastUsedAt": moment::text(entry.used.seconds),
        "LastUsedSince": moment::ago(entry.used.seconds),
        "Shared": entry.shared.to_string(),
        "Size": size::words(entry.bytes),
        "UsageCount": entry.uses.to_string(),
    })
}
