//! `prune` in all its forms: what it says that it would free is what it frees, what filters leave stays, and nothing that
//! anybody uses goes. `system df -v` and `builder du` show what there is.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_tests::kiln::Kiln;
use kiln_tests::steps::executed;

/// The parts of a store that commands can make smaller.
const PARTS: [&str; 7] = ["layers", "blobs", "cache-mounts", "containers", "repositories", "contexts", "logs"];

fn du(root: &Path) -> u64 {
    let paths = PARTS.iter().map(|part| root.join(part)).filter(|path| path.exists());
    let output = Command::new("du").args(["-s", "-c", "--block-size=1"]).args(paths).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().last().unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// A context whose Dockerfile has these lines after `FROM busybox`.
fn project(kiln: &Kiln, name: &str, lines: &str) -> PathBuf {
    let directory = kiln.scratch(name);
    std::fs::write(directory.join("Dockerfile"), format!("FROM busybox\n{lines}\n")).unwrap();
    directory
}

/// Something of everything: a tagged image, one whose name went to another, steps that no image needs, cache mounts,
/// containers that ended.
fn furnished() -> Kiln {
    let kiln = Kiln::new();
    kiln.load("busybox");
    for number in 0..3 {
        let lines = format!(
            "LABEL number={number}\nRUN dd if=/dev/zero of=/data bs=1k count={} && echo {number} >> /data\n\
             RUN --mount=type=cache,id=mount{number},target=/c dd if=/dev/zero of=/c/x bs=1k count={}",
            700 + number,
            300 + number
        );
        kiln.build(&project(&kiln, &format!("tagged-{number}"), &lines), &["-t", "app"]);
    }
    let lines = "RUN dd if=/dev/zero of=/other bs=1k count=900";
    kiln.build(&project(&kiln, "cached", lines), &["--output", "type=cacheonly"]);
    kiln.ok(&[
        "run",
        "--name",
        "ended",
        "--label",
        "keep=no",
        "app",
        "sh",
        "-c",
        "dd if=/dev/zero of=/made bs=1k count=500",
    ]);
    kiln.ok(&["run", "--name", "kept", "--label", "keep=yes", "busybox", "true"]);
    kiln
}

/// The last words of a `Total…: SIZE` line.
fn total(answer: &str) -> String {
    let line = answer.lines().rfind(|line| line.starts_with("Total")).unwrap_or_else(|| panic!("no total in {answer}"));
    line.rsplit([' ', '\t']).next().unwrap().to_owned()
}

/// `4.26MB` as bytes.
fn bytes(words: &str) -> f64 {
    let digits = words.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &words[digits.len()..] {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        unit => panic!("{unit}"),
    };
    digits.parse::<f64>().unwrap() * factor
}

/// Asks what a command would free, then lets it; all three figures must agree. Answers the bytes.
fn check_exact(kiln: &Kiln, command: &[&str]) -> f64 {
    let dry: Vec<&str> = command.iter().copied().chain(["--dry-run"]).collect();
    let before = du(&kiln.root());
    let foreseen = total(&kiln.ok(&dry).stdout);
    assert_eq!(du(&kiln.root()), before, "{command:?} --dry-run deleted something");
    let freed = total(&kiln.ok(command).stdout);
    assert_eq!(foreseen, freed, "{command:?}");
    let gone = (before - du(&kiln.root())) as f64;
    // What is said has three digits.
    assert!((bytes(&freed) - gone).abs() <= gone * 0.006 + 1.0, "{command:?}: {freed} said, {gone} gone");
    gone
}

#[test]
fn what_a_dry_run_says_is_what_goes_is_what_du_loses() {
    let kiln = furnished();
    assert!(check_exact(&kiln, &["container", "prune", "-f", "--filter", "label=keep=no"]) > 500e3);
    // The layers of images whose names went to another are still in the cache.
    check_exact(&kiln, &["image", "prune", "-f"]);
    assert!(check_exact(&kiln, &["builder", "prune", "-f", "--filter", "type=exec.cachemount"]) > 900e3);
    assert!(check_exact(&kiln, &["builder", "prune", "-f"]) > 2300e3);
    kiln.build(&project(&kiln, "again", "RUN echo again > /file"), &["-t", "again"]);
    check_exact(&kiln, &["builder", "prune", "-a", "-f"]);
    check_exact(&kiln, &["system", "prune", "-f"]);
    assert!(check_exact(&kiln, &["system", "prune", "-a", "-f"]) > 4e6);
    assert_eq!(check_exact(&kiln, &["system", "prune", "-a", "-f"]), 0.0);
}

#[test]
fn system_prune_foresees_what_containers_and_images_hold() {
    let kiln = furnished();
    assert!(check_exact(&kiln, &["system", "prune", "-f"]) > 3000e3);
    let left = kiln.ok(&["images", "-q"]).stdout;
    assert_eq!(left.lines().count(), 2, "{left}");
    let kiln = furnished();
    assert!(check_exact(&kiln, &["system", "prune", "-a", "-f"]) > 8e6);
    assert_eq!(kiln.ok(&["images", "-a", "-q"]).stdout, "");
}

fn ids(kiln: &Kiln, filters: &[&str]) -> Vec<String> {
    let mut args = vec!["builder", "du", "--format", "{{.ID}} {{.Type}}"];
    filters.iter().for_each(|filter| args.extend(["--filter", filter]));
    kiln.ok(&args).stdout.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn filters_choose_parts_of_the_cache() {
    let kiln = furnished();
    let all = ids(&kiln, &[]);
    let mounts = ids(&kiln, &["type=exec.cachemount"]);
    assert_eq!(mounts.len(), 3);
    assert_eq!(ids(&kiln, &["mutable=true", "type=exec.cachemount"]), mounts);
    assert!(ids(&kiln, &["shared=true"]).len() < all.len() && !ids(&kiln, &["shared=true"]).is_empty());
    assert_eq!(ids(&kiln, &["shared=true"]).len() + ids(&kiln, &["private=true"]).len(), all.len());
    assert_eq!(ids(&kiln, &["unused-for=1h"]), [""; 0]);
    assert_eq!(ids(&kiln, &["until=0s"]).len(), all.len());
    let described = ids(&kiln, &["description=cache mount mount1"]);
    assert_eq!(described.len(), 1);
    assert_eq!(ids(&kiln, &[&format!("id={}", described[0])]), described);
    kiln.ok(&["buildx", "prune", "-f", "--filter", &format!("id={}", described[0])]);
    let left = ids(&kiln, &[]);
    assert_eq!(left.len(), all.len() - 1);
    assert!(!left.contains(&described[0]));
    let answer = kiln.ok(&["builder", "prune", "-f", "--filter", "unused-for=24h"]);
    assert_eq!(total(&answer.stdout), "0B");
    assert_eq!(ids(&kiln, &[]), left);
    kiln.fails(&["builder", "prune", "-f", "--filter", "size=1"], &["invalid filter 'size'"]);
    kiln.fails(&["builder", "prune", "-f", "--filter", "until=soon"], &["invalid filter 'until=[soon]'"]);
    kiln.fails(&["builder", "prune", "-f", "--filter", "until=1h", "--filter", "unused-for=1h"], &["conflicting"]);
}

#[test]
fn limits_keep_what_was_used_last() {
    let kiln = Kiln::new();
    kiln.load("busybox");
    let projects: Vec<PathBuf> = (0..4)
        .map(|number| {
            let lines = format!("RUN dd if=/dev/zero of=/data bs=1M count=2 && echo {number} >> /data");
            project(&kiln, &format!("step-{number}"), &lines)
        })
        .collect();
    let only_cached = ["--output", "type=cacheonly"];
    for project in &projects {
        kiln.build(project, &only_cached);
    }
    let answer = kiln.ok(&["builder", "prune", "-f", "--reserved-space", "5MiB", "--verbose"]);
    assert_eq!(answer.stdout.matches("ID:").count(), 2, "{answer}");
    assert!(answer.stdout.contains("Description:") && answer.stdout.contains("RUN dd"), "{answer}");
    assert!((4e6..5e6).contains(&bytes(&total(&answer.stdout))), "{answer}");
    assert!(executed(&kiln.build(&projects[3], &only_cached)).is_empty());
    assert!(executed(&kiln.build(&projects[2], &only_cached)).is_empty());
    let answer = kiln.ok(&["builder", "prune", "-f", "--max-used-space", "3MiB"]);
    assert!((2e6..2.5e6).contains(&bytes(&total(&answer.stdout))), "{answer}");
    assert!(executed(&kiln.build(&projects[2], &only_cached)).is_empty(), "it was used last");
    let answer = kiln.ok(&["builder", "prune", "-f", "--min-free-space", "1"]);
    assert_eq!(total(&answer.stdout), "0B");
    assert_eq!(executed(&kiln.build(&projects[0], &only_cached)).len(), 1);
}

#[test]
fn labels_and_ages_choose_images_and_containers() {
    let kiln = furnished();
    kiln.ok(&["container", "prune", "-f", "--filter", "label!=keep=yes"]);
    let names = kiln.ok(&["ps", "-a", "--format", "{{.Names}}"]).stdout;
    assert_eq!(names.trim(), "kept");
    kiln.ok(&["container", "prune", "-f", "--filter", "until=1h"]);
    assert_eq!(kiln.ok(&["ps", "-a", "-q"]).stdout.lines().count(), 1);
    let answer = kiln.ok(&["image", "prune", "-a", "-f", "--filter", "label=number=1"]);
    assert_eq!(answer.stdout.matches("deleted: ").count(), 1, "{answer}");
    let answer = kiln.ok(&["image", "prune", "-a", "-f", "--filter", "label=number", "--filter", "label!=number=2"]);
    assert_eq!(answer.stdout.matches("deleted: ").count(), 1, "{answer}");
    let answer = kiln.ok(&["image", "prune", "-a", "-f", "--filter", "until=2h"]);
    assert!(!answer.stdout.contains("untagged: app:latest"), "{answer}");
    let answer = kiln.ok(&["image", "prune", "-f", "--filter", "dangling=false"]);
    assert!(answer.stdout.contains("untagged: app:latest") && !answer.stdout.contains("busybox"), "{answer}");
}

#[test]
fn df_shows_everything_one_by_one() {
    let kiln = furnished();
    let shown = kiln.ok(&["system", "df", "-v"]).stdout;
    let headings =
        ["Images space usage:", "Containers space usage:", "Local Volumes space usage:", "Build cache usage: "];
    let places: Vec<usize> = headings.iter().map(|heading| shown.find(heading).unwrap()).collect();
    assert!(places.is_sorted(), "{shown}");
    let titles = |words: &[&str]| {
        shown.lines().any(|line| line.split("  ").map(str::trim).filter(|w| !w.is_empty()).eq(words.iter().copied()))
    };
    assert!(
        titles(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"]),
        "{shown}"
    );
    assert!(titles(&["CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"]), "{shown}");
    let all: serde_json::Value =
        serde_json::from_str(&kiln.ok(&["system", "df", "-v", "--format", "json"]).stdout).unwrap();
    assert_eq!(all["Images"].as_array().unwrap().len(), 4);
    assert_eq!(all["Containers"].as_array().unwrap().len(), 2);
    let app = all["Images"].as_array().unwrap().iter().find(|image| image["Repository"] == "app").unwrap();
    let size = |member: &str| bytes(app[member].as_str().unwrap());
    assert!(size("SharedSize") > 1e6, "busybox is in other images, too: {app}");
    assert!((700e3..800e3).contains(&size("UniqueSize")), "{app}");
    assert!((size("Size") - size("SharedSize") - size("UniqueSize")).abs() < size("Size") * 0.02, "{app}");
    let mounts = all["BuildCache"].as_array().unwrap().iter().filter(|entry| entry["CacheType"] == "exec.cachemount");
    assert!(mounts.clone().all(|mount| bytes(mount["Size"].as_str().unwrap()) > 300e3));
    assert_eq!(mounts.count(), 3);
    let short = kiln.ok(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]).stdout;
    assert!(short.contains("Images 4 2\n") && short.contains("Containers 2 0\n"), "{short}");
    let kept = kiln.ok(&["builder", "du"]).stdout;
    assert!(kept.starts_with("ID") && kept.contains("Reclaimable:") && kept.contains("Total:"), "{kept}");
}

/// A step waits until somebody puts a file into its cache mount; prunes meanwhile leave all that it uses.
#[test]
fn nothing_that_a_running_build_uses_is_pruned() {
    let kiln = Kiln::new();
    kiln.load("busybox");
    let lines = "RUN echo first > /first\n\
        RUN --mount=type=cache,id=m,target=/c echo waiting && touch /c/here && until [ -e /c/go ]; do sleep 0.05; done\n\
        RUN cat /first";
    let directory = project(&kiln, "waits", lines);
    let mut command = kiln.command(&["build", "--progress", "plain", "-t", "waited", directory.to_str().unwrap()]);
    let mut build = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(build.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().ends_with(" waiting")), "the step never began");
    let waits = || ids(&kiln, &["type=exec.cachemount", "inuse=true"]).len();
    assert_eq!(waits(), 1);
    for command in [["system", "prune", "-a", "-f"], ["builder", "prune", "-a", "-f"]] {
        kiln.ok(&command);
    }
    let mount = std::fs::read_dir(kiln.root().join("cache-mounts")).unwrap().next().unwrap().unwrap().path();
    assert!(mount.join("here").exists(), "the cache mount that the step uses is there");
    std::fs::write(mount.join("go"), "").unwrap();
    let rest: Vec<String> = said.map(Result::unwrap).collect();
    assert!(build.wait().unwrap().success(), "{}", rest.join("\n"));
    assert_eq!(kiln.ok(&["run", "--rm", "waited", "cat", "/first"]).stdout, "first\n");
    kiln.ok(&["builder", "prune", "-f", "--filter", "type=exec.cachemount"]);
    assert_eq!(std::fs::read_dir(kiln.root().join("cache-mounts")).unwrap().count(), 0);
}

/// The files of a running container stay, even if its image is asked to go.
#[test]
fn nothing_that_a_running_container_uses_is_pruned() {
    let kiln = Kiln::new();
    kiln.load("busybox");
    let mut command =
        kiln.command(&["run", "--rm", "-i", "busybox", "sh", "-c", "echo up; read word; cat /bin/busybox | wc -c"]);
    let mut run = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(run.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "up");
    let answer = kiln.ok(&["system", "prune", "-a", "-f"]);
    assert!(!answer.stdout.contains("busybox"), "{answer}");
    run.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let size: u64 = said.next().unwrap().unwrap().trim().parse().unwrap();
    assert!(size > 100_000);
    assert!(run.wait().unwrap().success());
}
