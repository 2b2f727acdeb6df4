//! kiln killed before any of the operations on its store, and any of them failing: afterwards the store is sound,
//! and doing the same again gives what an undisturbed run gives.

use std::path::Path;

use kiln_tests::faults::{Scenario, program, sha256};
use kiln_tests::full;
use kiln_tests::kiln::{Kiln, answer};
use kiln_tests::registry::Registry;

const DOCKERFILE: &str = "FROM busybox AS one
COPY data /data
RUN --mount=type=cache,target=/cache echo x > /cache/y; cat /data/* > /sum; mkdir /d; echo x > /d/y
FROM busybox
COPY --from=one /sum /d /out/
";

/// How much of each scenario: kills, and one kind of failure or several.
fn survives(scenario: &Scenario<'_>) {
    scenario.survives_kills();
    scenario.survives_failures("ENOSPC", &["prune"], false);
    if full() {
        scenario.survives_failures("EIO", &[], true);
        scenario.survives_failures("EDQUOT", &["prune"], true);
        scenario.survives_failures("EROFS", &[], true);
    }
}

/// A store with a base image, in memory if there is room.
fn with_base() -> Kiln {
    let kiln = Kiln::in_memory(program());
    kiln.load("busybox");
    // Nothing is left to sync: a sync that fails takes the base along, as it must.
    let empty = kiln.scratch("empty");
    std::fs::write(empty.join("Dockerfile"), "FROM busybox\n").expect("Dockerfile");
    kiln.ok(&["build", "-q", "--durable=build", text(&empty)]);
    kiln
}

fn context(kiln: &Kiln) -> String {
    let context = kiln.scratch("context");
    std::fs::create_dir_all(context.join("data")).expect("data");
    std::fs::write(context.join("Dockerfile"), DOCKERFILE).expect("Dockerfile");
    for name in ["a", "b"] {
        std::fs::write(context.join("data").join(name), name).expect("data");
    }
    context.to_str().expect("path in UTF-8").to_owned()
}

/// Builds the context to the end; tells the archive's digest, and what `images` shows.
fn rebuilt(kiln: &Kiln, context: &str) -> String {
    let archive = kiln.scratch("archives").join("after.tar");
    let output = format!("type=oci,dest={},rewrite-timestamp=true", text(&archive));
    let mut command = kiln.command(&["build", "-t", "app", "--output", &output, "--output", "type=image", context]);
    answer(command.env("SOURCE_DATE_EPOCH", "1")).succeeded();
    format!("{}\n{}", sha256(&archive), names(kiln))
}

fn names(kiln: &Kiln) -> String {
    kiln.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).stdout
}

/// The image's archive, whose bytes depend on nothing but the image.
fn saved(kiln: &Kiln, name: &str) -> String {
    let archive = kiln.scratch("archives").join("saved.tar");
    kiln.ok(&["save", "-o", text(&archive), name]);
    sha256(&archive)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}

#[test]
fn a_build() {
    let kiln = with_base();
    let context = context(&kiln);
    let archive = kiln.scratch("archives").join("out.tar");
    let output = format!("type=oci,dest={}", text(&archive));
    survives(&Scenario {
        name: "build",
        before: &kiln,
        command: &["build", "-t", "app", "--output", &output, "--output", "type=image", &context],
        refusal: 1,
        at_most: 16,
        exhaustive: true,
        outcome: &|kiln| rebuilt(kiln, &context),
    });
}

#[test]
fn loading_an_archive() {
    let kiln = with_base();
    let archive = kiln.scratch("archives").join("base.tar");
    kiln.ok(&["save", "-o", text(&archive), "busybox"]);
    let empty = Kiln::in_memory(program());
    empty.ok(&["images"]);
    survives(&Scenario {
        name: "load",
        before: &empty,
        command: &["load", "-q", "-i", text(&archive)],
        refusal: 1,
        at_most: 16,
        exhaustive: false,
        outcome: &|kiln| {
            kiln.ok(&["load", "-q", "-i", text(&archive)]);
            let said = kiln.ok(&["run", "--rm", "busybox", "echo", "it runs"]).stdout;
            format!("{}{said}{}", names(kiln), saved(kiln, "busybox"))
        },
    });
}

#[test]
fn a_pull() {
    let registry = Registry::serve(&["busybox"]);
    let name = format!("{}/library/busybox:latest", registry.address());
    let empty = Kiln::in_memory(program());
    empty.ok(&["images"]);
    survives(&Scenario {
        name: "pull",
        before: &empty,
        command: &["pull", &name],
        refusal: 1,
        at_most: 16,
        exhaustive: false,
        outcome: &|kiln| {
            kiln.ok(&["pull", "-q", &name]);
            let said = kiln.ok(&["run", "--rm", &name, "echo", "it runs"]).stdout;
            format!("{}{said}{}", names(kiln), saved(kiln, &name))
        },
    });
}

#[test]
fn a_prune() {
    let kiln = with_base();
    let context = context(&kiln);
    kiln.ok(&["build", "-q", &context]);
    std::fs::write(Path::new(&context).join("data/a"), "changed").expect("data");
    kiln.ok(&["build", "-q", "-t", "kept", "--build-arg", "SOURCE_DATE_EPOCH=1", &context]);
    survives(&Scenario {
        name: "prune",
        before: &kiln,
        command: &["system", "prune", "-f"],
        refusal: 1,
        at_most: 16,
        exhaustive: false,
        outcome: &|kiln| {
            kiln.ok(&["system", "prune", "-f"]);
            let said = kiln.ok(&["run", "--rm", "kept", "cat", "/out/sum"]).stdout;
            format!("{said}{}{}", saved(kiln, "kept"), rebuilt(kiln, &context))
        },
    });
}

#[test]
fn names_given_and_taken() {
    let kiln = with_base();
    let gives = |kiln: &Kiln| {
        kiln.ok(&["tag", "busybox", "other"]);
        names(kiln)
    };
    survives(&Scenario {
        name: "tag",
        before: &kiln,
        command: &["tag", "busybox", "other"],
        refusal: 1,
        at_most: 16,
        exhaustive: false,
        outcome: &gives,
    });
    kiln.ok(&["tag", "busybox", "other"]);
    let takes = |kiln: &Kiln| {
        kiln.run(&["rmi", "other"]);
        format!("{}{}", names(kiln), saved(kiln, "busybox"))
    };
    survives(&Scenario {
        name: "rmi",
        before: &kiln,
        command: &["rmi", "other"],
        refusal: 1,
        at_most: 16,
        exhaustive: false,
        outcome: &takes,
    });
}

#[test]
fn a_container() {
    let kiln = with_base();
    let script = "echo x > /file; mkdir -p /d/e; echo said";
    let outcome = |kiln: &Kiln| {
        let said = kiln.ok(&["run", "--rm", "busybox", "sh", "-c", script]).stdout;
        format!("{said}{}{}", kiln.ok(&["ps", "-aq"]).stdout, saved(kiln, "busybox"))
    };
    let command = &["run", "--rm", "busybox", "sh", "-c", script];
    survives(&Scenario {
        name: "run",
        before: &kiln,
        command,
        refusal: 125,
        at_most: 16,
        exhaustive: false,
        outcome: &outcome,
    });
}

#[test]
fn a_cache_exported_and_imported() {
    let kiln = with_base();
    let context = context(&kiln);
    kiln.ok(&["build", "-q", &context]);
    let place = kiln.scratch("cache");
    let to = format!("type=local,dest={}", text(&place));
    survives(&Scenario {
        name: "cache export",
        before: &kiln,
        command: &["cache", "export", &to],
        refusal: 1,
        at_most: 12,
        exhaustive: false,
        outcome: &|kiln| {
            kiln.ok(&["cache", "export", &to]);
            rebuilt(kiln, &context)
        },
    });
    kiln.ok(&["cache", "export", &to]);
    let empty = with_base();
    let from = format!("type=local,src={}", text(&place));
    survives(&Scenario {
        name: "cache import",
        before: &empty,
        command: &["cache", "import", &from],
        refusal: 1,
        at_most: 16,
        exhaustive: false,
        outcome: &|kiln| {
            kiln.ok(&["cache", "import", &from]);
            let steps = kiln.build(Path::new(&context), &[]);
            assert!(steps.iter().all(|step| step.cached), "{steps:?}");
            rebuilt(kiln, &context)
        },
    });
}

#[test]
fn the_program_that_people_get_has_no_faults() {
    let kiln = Kiln::new();
    let log = kiln.home().join("operations");
    let mut command = kiln.command(&["images"]);
    answer(command.env("KILN_FAULT", "die@1").env("KILN_FAULT_LOG", &log)).succeeded();
    assert!(!log.exists());
    let bytes = std::fs::read(kiln.program()).expect("the program");
    assert!(!bytes.windows(10).any(|window| window == b"KILN_FAULT"));
}
