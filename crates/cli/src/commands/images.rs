//! `images`.

use std::process::ExitCode;

use kiln_engine::ImageSummary;
use kiln_oci::Reference;
use serde_json::{Value, json};

use super::caller::Caller;
use super::engine;
use super::filters::{Filters, glob};
use super::listing::{self, Listing};
use crate::failure::Failure;
use crate::{moment, size};

const FILTERS: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];

const HEADINGS: &[(&str, &str)] = &[
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("SharedSize", "SHARED SIZE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("UniqueSize", "UNIQUE SIZE"),
];

const PLAIN: Listing =
    Listing { table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}", headings: HEADINGS };

const WITH_DIGESTS: Listing = Listing {
    table: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    headings: HEADINGS,
};

/// What stands for a name, a tag or a digest that is not there.
const NONE: &str = "<none>";

/// The flags of `images`.
#[derive(clap::Args, Debug)]
pub(crate) struct ImagesArguments {
    /// Only images of this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: Option<String>,
    /// All images (the default: there are no hidden ones)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Only what satisfies this: before, dangling, label, reference, since
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
    /// Format the output: table, table TEMPLATE, json, or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

/// Lists.
pub(crate) fn run(caller: &Caller, arguments: &ImagesArguments) -> Result<ExitCode, Failure> {
    let filters = Filters::parse(&arguments.filters, &FILTERS)?;
    let host = caller.host()?;
    let images = selected(engine(&host).images()?, &filters, arguments.repository.as_deref())?;
    let rows: Vec<Value> = images.iter().flat_map(|image| rows(image, arguments)).collect();
    let format = arguments.format.as_deref();
    let format = if arguments.quiet && format.is_none() { Some("{{.ID}}") } else { format };
    let listing = if arguments.digests { WITH_DIGESTS } else { PLAIN };
    listing.print(format, &rows)?;
    Ok(ExitCode::SUCCESS)
}

/// Images that satisfy the filters, with the tags that do.
fn selected(images: Vec<ImageSummary>, filters: &Filters, name: Option<&str>) -> Result<Vec<ImageSummary>, Failure> {
    let dangling = filters.truth("dangling")?;
    let bounds = Bounds::of(&images, filters)?;
    let by_name = name.is_some() || !filters.values("reference").is_empty();
    let mut selected = Vec::new();
    for mut image in images {
        let fits = dangling.is_none_or(|dangling| dangling == image.tags.is_empty())
            && filters.labels(&image.labels)
            && bounds.hold(image.created);
        image.tags.retain(|tag| {
            name.is_none_or(|name| is_named(tag, name)) && filters.any("reference", |pattern| is_named(tag, pattern))
        });
        if fits && !(by_name && image.tags.is_empty()) {
            selected.push(image);
        }
    }
    // Newest first; by name where that does not tell.
    selected.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.tags.cmp(&b.tags)));
    Ok(selected)
}

/// Moments between which images were made.
#[derive(Default)]
struct Bounds {
    after: Option<i64>,
    before: Option<i64>,
}

impl Bounds {
    fn of(images: &[ImageSummary], filters: &Filters) -> Result<Self, Failure> {
        let made = |name: &String| {
            let found = images.iter().find(|image| {
                image.tags.iter().any(|tag| is_named(tag, name))
                    || image.id.hex().starts_with(name.trim_start_matches("sha256:"))
            });
            let missing = || Failure::new(format!("Error response from daemon: No such image: {name}"));
            found.map(|image| image.created.unwrap_or_default()).ok_or_else(missing)
        };
        let after = filters.values("since").iter().map(made).collect::<Result<Vec<_>, _>>()?.into_iter().max();
        let before = filters.values("before").iter().map(made).collect::<Result<Vec<_>, _>>()?.into_iter().min();
        Ok(Bounds { after, before })
    }

    fn hold(&self, created: Option<i64>) -> bool {
        let created = created.unwrap_or_default();
        self.after.is_none_or(|after| created > after) && self.before.is_none_or(|before| created < before)
    }
}

/// Whether a tag as people write it is meant by a pattern: with or without tag, in any spelling of its name.
fn is_named(tag: &str, pattern: &str) -> bool {
    let pattern = pattern.parse::<Reference>().map_or_else(|_| pattern.to_owned(), |reference| reference.familiar());
    let name = tag.rsplit_once(':').map_or(tag, |(name, _)| name);
    glob(&pattern, tag) || glob(&pattern, name)
}

/// A row for each tag; one for an image without any.
fn rows(image: &ImageSummary, arguments: &ImagesArguments) -> Vec<Value> {
    if image.tags.is_empty() {
        return vec![row(image, NONE, NONE, NONE, arguments)];
    }
    if arguments.quiet && arguments.format.is_none() {
        return vec![row(image, NONE, NONE, NONE, arguments)];
    }
    let row_of = |tag: &String| {
        let (name, tag) = tag.rsplit_once(':').unwrap_or((tag, NONE));
        let of_name = |digest: &&String| digest.rsplit_once('@').is_some_and(|(repository, _)| repository == name);
        let digest = image.digests.iter().find(of_name).and_then(|digest| digest.rsplit_once('@'));
        row(image, name, tag, digest.map_or(NONE, |(_, digest)| digest), arguments)
    };
    image.tags.iter().map(row_of).collect()
}

fn row(image: &ImageSummary, name: &str, tag: &str, digest: &str, arguments: &ImagesArguments) -> Value {
    let id = if arguments.no_trunc { image.id.to_string() } else { image.id.short().to_owned() };
    json!({
        "Containers": image.containers.to_string(),
        "CreatedAt": image.created.map_or_else(|| "N/A".into(), moment::text),
        "CreatedSince": image.created.map_or_else(|| "N/A".into(), moment::ago),
        "Digest": digest,
        "ID": id,
        "Labels": listing::labels(&image.labels),
        "Repository": name,
        "SharedSize": "N/A",
        "Size": size::words(image.size),
        "Tag": tag,
        "UniqueSize": "N/A",
    })
}

#[cfg(test)]
mod tests {
    use super::is_named;

    #[test]
    fn names_are_meant_with_and_without_tag() {
        let check = |tag, pattern, want| assert_eq!(is_named(tag, pattern), want, "{tag} {pattern}");
        check("busybox:latest", "busybox", true);
        check("busybox:latest", "docker.io/library/busybox:latest", true);
        check("busybox:latest", "busybox:1", false);
        check("my/one:1", "my/*", true);
        check("my/one:1", "one", false);
        check("localhost:5000/a:1", "localhost:5000/a", true);
    }
}
