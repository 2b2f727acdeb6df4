//! `images`.

use std::process::ExitCode;

use kiln_engine::ImageSummary;
use kiln_oci::Reference;
use serde_json::{Value, json};

use super::caller::Caller;
use super::engine;
use super::filters::{Filters, glob};
use super::listing::Listing;
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
    ("VirtualSize", "SIZE"),
];

const PLAIN: Listing =
    Listing { table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}", headings: HEADINGS };

const WITH_DIGESTS: Listing = Listing {
    table: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    headings: HEADINGS,
};

/// What stands for what a list does not count.
const NOT_COUNTED: &str = "N/A";

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
    /// Only what satisfies this: before, dangling, label, reference, since, until
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
    /// List platforms of images as a tree (not supported yet)
    #[arg(long, hide = true)]
    tree: bool,
}

impl ImagesArguments {
    /// Whether anything that is printed may be a digest.
    fn shows_digests(&self) -> bool {
        self.digests || self.format.as_deref().is_some_and(|format| format.contains("{{.Digest}}"))
    }
}

/// Lists.
pub(crate) fn run(caller: &Caller, arguments: &ImagesArguments) -> Result<ExitCode, Failure> {
    if arguments.tree {
        return Err(Failure::new("not supported yet: --tree"));
    }
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
            let whole = name.parse::<Reference>().map_or(name.clone(), |name| name.with_default_tag().familiar());
            let missing = || Failure::new(format!("Error response from daemon: No such image: {whole}"));
            found.map(|image| image.created.unwrap_or_default()).ok_or_else(missing)
        };
        let after = filters.values("since").iter().map(made).collect::<Result<Vec<_>, _>>()?.into_iter().max();
        let before = filters.values("before").iter().map(made).collect::<Result<Vec<_>, _>>()?.into_iter();
        let before = before.chain(filters.until()?).min();
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

/// A row for each tag, and for each repository of which there is a digest only; one for an image without any.
fn rows(image: &ImageSummary, arguments: &ImagesArguments) -> Vec<Value> {
    let shows_digests = arguments.shows_digests();
    let digest_in = |repository: &str| {
        let mut pairs = image.digests.iter().filter_map(|digest| digest.split_once('@'));
        pairs.find(|(name, _)| *name == repository).map(|(_, digest)| digest)
    };
    let tags: Vec<(&str, &str)> = image.tags.iter().filter_map(|tag| split_tag(tag)).collect();
    let mut rows: Vec<Value> = tags
        .iter()
        .map(|(name, tag)| {
            let digest = digest_in(name).filter(|_| shows_digests);
            row(image, name, tag, digest.unwrap_or(NONE), arguments)
        })
        .collect();
    let by_digest = image.tags.iter().filter_map(|tag| tag.split_once('@'));
    for (name, digest) in by_digest.filter(|(name, _)| !tags.iter().any(|(tagged, _)| tagged == name)) {
        rows.push(row(image, name, NONE, if arguments.digests { digest } else { "" }, arguments));
    }
    if rows.is_empty() {
        rows.push(row(image, NONE, NONE, NONE, arguments));
    }
    rows
}

/// Repository and tag of a name that has one.
fn split_tag(name: &str) -> Option<(&str, &str)> {
    if name.contains('@') { None } else { name.rsplit_once(':') }
}

fn row(image: &ImageSummary, name: &str, tag: &str, digest: &str, arguments: &ImagesArguments) -> Value {
    let id = if arguments.no_trunc { image.id.to_string() } else { image.id.short().to_owned() };
    json!({
        "Containers": NOT_COUNTED,
        "CreatedAt": image.created.map_or_else(|| NOT_COUNTED.into(), moment::text),
        "CreatedSince": image.created.map_or_else(|| NOT_COUNTED.into(), moment::ago),
        "Digest": digest,
        "ID": id,
        "Repository": name,
        "SharedSize": NOT_COUNTED,
        "Size": size::words(image.size),
        "Tag": tag,
        "UniqueSize": NOT_COUNTED,
        "VirtualSize": size::precise(image.size),
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
