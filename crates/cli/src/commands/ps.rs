//! `ps`.

use std::process::ExitCode;

use kiln_engine::{Phase, Summary};
use serde_json::{Value, json};

use super::caller::Caller;
use super::engine;
use super::filters::Filters;
use super::listing::{self, Listing};
use crate::failure::Failure;
use crate::{moment, template};

const FILTERS: [&str; 12] = [
    "ancestor", "before", "exited", "expose", "health", "id", "label", "name", "network", "publish", "since", "status",
];
const VOLUME: &str = "volume";

/// Characters of a command that the table shows.
const COMMAND_LENGTH: usize = 20;

const TABLE: Listing = Listing {
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    headings: &[
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Labels", "LABELS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Mounts", "MOUNTS"),
        ("Names", "NAMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
        ("Ports", "PORTS"),
        ("RunningFor", "CREATED"),
        ("Size", "SIZE"),
        ("State", "STATE"),
        ("Status", "STATUS"),
    ],
};

/// The flags of `ps`.
#[derive(clap::Args, Debug)]
pub(crate) struct PsArguments {
    /// All containers, not only those that run
    #[arg(short, long)]
    all: bool,
    /// Only what satisfies this: ancestor, exited, id, label, name, network, status, volume, …
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
    /// Format the output: table, table TEMPLATE, json, or a Go template
    #[arg(long)]
    format: Option<String>,
    /// The last N containers, of any state
    #[arg(short = 'n', long, value_name = "N", default_value_t = -1)]
    last: i64,
    /// The last container, of any state
    #[arg(short, long)]
    latest: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

/// Lists.
pub(crate) fn run(caller: &Caller, arguments: &PsArguments) -> Result<ExitCode, Failure> {
    let known: Vec<&str> = FILTERS.into_iter().chain([VOLUME]).collect();
    let filters = Filters::parse(&arguments.filters, &known)?;
    check_status(&filters)?;
    let host = caller.host()?;
    let last = if arguments.latest { 1 } else { arguments.last };
    let by_state = !filters.values("status").is_empty() || !filters.values("exited").is_empty();
    let all = arguments.all || last > 0 || by_state;
    let engine = engine(&host);
    let everything = engine.list(true)?;
    let bounds = Bounds::of(&everything, &filters)?;
    let fits = |one: &Summary| (all || one.phase == Phase::Running) && bounds.hold(one) && satisfies(one, &filters);
    let mut selected: Vec<&Summary> = everything.iter().filter(|one| fits(one)).collect();
    if let Ok(last) = usize::try_from(last) {
        selected.truncate(if last == 0 { usize::MAX } else { last });
    }
    let rows: Vec<Value> = selected.into_iter().map(|one| row(one, arguments.no_trunc)).collect();
    let format = arguments.format.as_deref();
    TABLE.print(if arguments.quiet && format.is_none() { Some("{{.ID}}") } else { format }, &rows)?;
    Ok(ExitCode::SUCCESS)
}

fn check_status(filters: &Filters) -> Result<(), Failure> {
    const STATES: [&str; 7] = ["created", "dead", "exited", "paused", "removing", "restarting", "running"];
    match filters.values("status").iter().find(|status| !STATES.contains(&status.as_str())) {
        Some(other) => Err(Failure::new(format!(
            "Error response from daemon: invalid value for state ({other}): must be one of {}",
            STATES.join(", ")
        ))),
        None => Ok(()),
    }
}

/// Containers made between those that `since` and `before` name. The list is in order, newest first.
struct Bounds {
    newer_than: Option<i64>,
    older_than: Option<i64>,
    named: Vec<String>,
}

impl Bounds {
    fn of(all: &[Summary], filters: &Filters) -> Result<Self, Failure> {
        let mut named = Vec::new();
        let mut made = |name: &String| {
            let found = all.iter().find(|one| one.name == *name || one.id.starts_with(name.as_str()));
            let missing = || Failure::new(format!("Error response from daemon: No such container: {name}"));
            found.map(|one| (named.push(one.id.clone()), one.created).1).ok_or_else(missing)
        };
        let since = filters.values("since").iter().map(&mut made).collect::<Result<Vec<_>, _>>()?;
        let before = filters.values("before").iter().map(&mut made).collect::<Result<Vec<_>, _>>()?;
        Ok(Bounds { newer_than: since.into_iter().max(), older_than: before.into_iter().min(), named })
    }

    fn hold(&self, one: &Summary) -> bool {
        self.newer_than.is_none_or(|bound| one.created >= bound)
            && self.older_than.is_none_or(|bound| one.created <= bound)
            && !self.named.contains(&one.id)
    }
}

fn satisfies(one: &Summary, filters: &Filters) -> bool {
    let container = &one.container;
    let image = container.image.as_ref().map(|image| image.hex().to_owned()).unwrap_or_default();
    filters.labels(&container.settings.labels)
        && filters.any("name", |name| is_part(&one.name, name))
        && filters.any("id", |id| one.id.starts_with(id))
        && filters.any("status", |status| one.phase.word() == status)
        && filters.any("exited", |code| one.phase == Phase::Exited && code == container.state.exit_code.to_string())
        && filters.any("ancestor", |wanted| {
            one.image == wanted
                || one.image.split(':').next() == Some(wanted)
                || image.starts_with(wanted.trim_start_matches("sha256:"))
        })
        && filters.any("network", |network| container.host.network.mode() == network)
        && filters.any("health", |health| health == "none")
        && filters.any("publish", |_| false)
        && filters.any("expose", |port| container.settings.exposed_ports.keys().any(|known| known.starts_with(port)))
        && filters.any(VOLUME, |volume| {
            let mut mounts = container.mounts.iter();
            mounts.any(|mount| mount.destination == volume || mount.volume.as_deref() == Some(volume))
        })
}

/// Docker takes the filter as a regular expression; of these, what people write: anchors and plain text.
fn is_part(name: &str, pattern: &str) -> bool {
    let (from_start, pattern) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
    let (to_end, pattern) = pattern.strip_suffix('$').map_or((false, pattern), |rest| (true, rest));
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
    match (from_start, to_end) {
        (true, true) => name == pattern,
        (true, false) => name.starts_with(pattern),
        (false, true) => name.ends_with(pattern),
        (false, false) => name.contains(pattern),
    }
}

fn row(one: &Summary, whole: bool) -> Value {
    let container = &one.container;
    let id = if whole { &one.id } else { container.short_id() };
    let command = if whole { one.command.clone() } else { listing::shortened(&one.command, COMMAND_LENGTH) };
    let mounts: Vec<String> = container.mounts.iter().map(|mount| mount_name(mount, whole)).collect();
    json!({
        "Command": template::quoted(&command),
        "CreatedAt": moment::text(one.created),
        "ID": id,
        "Image": one.image,
        "Labels": listing::labels(&container.settings.labels),
        "LocalVolumes": container.mounts.iter().filter(|mount| mount.volume.is_some()).count().to_string(),
        "Mounts": mounts.join(","),
        "Names": one.name,
        "Networks": container.host.network.mode(),
        "Platform": null,
        "Ports": "",
        "RunningFor": moment::ago(one.created),
        "Size": "0B",
        "State": one.phase.word(),
        "Status": one.status,
    })
}

fn mount_name(mount: &kiln_engine::MountPoint, whole: bool) -> String {
    const LENGTH: usize = 15;
    let name = mount.volume.clone().unwrap_or_else(|| mount.source.display().to_string());
    if whole { name } else { listing::shortened(&name, LENGTH) }
}

#[cfg(test)]
mod tests {
    use super::is_part;

    #[test]
    fn names_match_in_part_unless_anchored() {
        let check = |name, pattern, want| assert_eq!(is_part(name, pattern), want, "{name} {pattern}");
        check("web1", "web", true);
        check("web1", "^web$", false);
        check("web1", "^/web1$", true);
        check("web1", "1$", true);
        check("web1", "^1", false);
    }
}
