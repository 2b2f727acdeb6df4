//! apt-get in RUN: lists that are missing or grow old, and its directories in cache mounts.

use crate::instruction::Run;
use crate::mount::MountFields;
use crate::span::Span;

use super::commands::Command;
use crate::lint::collector::Collector;
use crate::lint::rule::Rule;

/// Directories that apt locks while it works.
const LOCKED: [&str; 2] = ["/var/cache/apt", "/var/lib/apt"];

/// Programs that install nothing.
const HARMLESS: [&str; 10] = ["cat", "echo", "export", "ls", "mkdir", "printf", "rm", "sed", "set", "true"];

pub(super) fn check(run: &Run, commands: &[Command], span: &Span, collector: &mut Collector<'_>) {
    let calls: Vec<&Command> = commands.iter().filter(|command| is_apt(command)).collect();
    if calls.is_empty() {
        return;
    }
    let mounts: Vec<&MountFields> = run.mounts.iter().filter(|mount| keeps_apt_directory(mount)).collect();
    for mount in &mounts {
        if !mount.option(&["sharing"]).is_some_and(|sharing| sharing.eq_ignore_ascii_case("locked")) {
            let target = mount.option(TARGET).unwrap_or_default();
            let detail = format!("Two builds at once cannot share {target}: add sharing=locked to its mount");
            collector.report_word(Rule::AptCacheNotLocked, span, target, detail);
        }
    }
    // The lists come from a mount, or are kept in it.
    if mounts.is_empty() {
        lists(&calls, commands, span, collector);
    }
}

fn lists(calls: &[&Command], commands: &[Command], span: &Span, collector: &mut Collector<'_>) {
    let update = calls.iter().position(|call| call.verb() == "update");
    let install = calls.iter().position(|call| installs_by_name(call));
    match (update, install) {
        (None, Some(_)) => {
            let detail =
                "apt-get install without apt-get update before it takes what an older layer knows, if anything";
            collector.report_word(Rule::AptInstallWithoutUpdate, span, "install", detail);
        }
        (Some(_), None) if commands.iter().all(only_prepares) => {
            let detail =
                "The result of apt-get update grows old in the cache: put it in front of the install it is for";
            collector.report_word(Rule::AptUpdateAlone, span, "update", detail);
        }
        _ => {}
    }
}

fn is_apt(command: &Command) -> bool {
    matches!(command.name(), "apt" | "apt-get")
}

/// Whether packages are installed from lists, not from files.
fn installs_by_name(command: &Command) -> bool {
    let packages = || command.plain().skip(1);
    command.verb() == "install" && !(packages().count() > 0 && packages().all(|name| name.contains('/')))
}

fn only_prepares(command: &Command) -> bool {
    match command.name() {
        "apt" | "apt-get" => matches!(command.verb(), "update" | "clean" | "autoclean" | ""),
        name => HARMLESS.contains(&name),
    }
}

const TARGET: &[&str] = &["target", "dst", "destination"];

fn keeps_apt_directory(mount: &MountFields) -> bool {
    let target = mount.option(TARGET).unwrap_or_default().trim_end_matches('/');
    let below = |directory: &str| {
        target == directory || target.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
    };
    mount.option(&["type"]).is_some_and(|kind| kind.eq_ignore_ascii_case("cache"))
        && LOCKED.iter().any(|directory| below(directory))
}
