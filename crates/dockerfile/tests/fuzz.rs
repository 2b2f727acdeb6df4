//! Any input at all: no panic, an answer soon, and memory that does not grow. The ordinary run takes few inputs;
//! `KILN_TEST_FULL=1` takes a million. Run the million in release.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kiln_dockerfile::ignore::IgnoreMatcher;
use kiln_dockerfile::lint::{self, LintOptions};
use kiln_dockerfile::shell::{Options, Shell};
use kiln_dockerfile::{
    Base, BaseName, Bases, Dockerfile, Emphasis, Plan, PlanOptions, ResolvedBase, bytes_of, check_frontend, format,
    parse_trigger, render_error, text_of,
};
use kiln_oci::{ContainerConfig, Digest, ImageConfig, Platform, Reference};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

#[allow(dead_code, reason = "each test takes some of it")]
mod inputs;

const INPUTS: u32 = 2_000;
const FULL_INPUTS: u32 = 1_000_000;
/// An input of at most some ten kilobytes that takes this long is one that hangs.
const HANGS: Duration = Duration::from_secs(60);
/// How much more memory the last nine tenths of the inputs may take than the first, in kilobytes.
const GROWTH: u64 = 64 << 10;

fn resolved(base: &Base) -> ResolvedBase {
    let reference: Reference = match &base.name {
        BaseName::Image(reference) => reference.clone(),
        BaseName::NamedContext(name) => name.parse().expect("a reference"),
    };
    let container = ContainerConfig { on_build: vec!["RUN <<E\nx\nE".to_owned()], ..ContainerConfig::default() };
    let mut config = ImageConfig { config: Some(container), ..ImageConfig::default() };
    config.rootfs.diff_ids = vec![Digest::of(b"layer")];
    ResolvedBase { reference, manifest: None, config }
}

/// Everything that a Dockerfile can be put through.
fn put_through(bytes: &[u8]) -> Result<(), TestCaseError> {
    let text = text_of(bytes);
    prop_assert_eq!(bytes_of(&text), bytes);
    let shown = |error| render_error("Dockerfile", &text, &error, Emphasis::default());
    let _ = check_frontend(&text, None).map_err(shown);
    let _ = parse_trigger(&text);
    match Dockerfile::parse_all(&text) {
        Ok(dockerfile) => lower(dockerfile, &text)?,
        Err(errors) => {
            prop_assert!(!errors.is_empty());
            for error in errors {
                let message = error.to_string();
                prop_assert!(shown(error).ends_with(&message));
            }
        }
    }
    rules(&text)?;
    words(&text);
    Ok(())
}

/// All rules, without base images and with them; every finding is about lines that are there.
fn rules(text: &str) -> Result<(), TestCaseError> {
    let plan = PlanOptions::new(Platform::new("linux", "amd64"));
    let matcher = IgnoreMatcher::from_file("*.c\n!a\n").expect("patterns");
    let mut bases = Bases::new();
    for _ in 0..2 {
        let options = LintOptions { hints: true, ignored: Some(&matcher), ..LintOptions::new(&plan, &bases) };
        let report = lint::check(text, &options);
        for finding in &report.findings {
            let lines = finding.span.first_line as usize..=finding.span.last_line as usize;
            prop_assert!(*lines.start() > 0 && *lines.end() <= text.lines().count() + 1, "{:?}", finding);
        }
        bases = report.missing.into_iter().map(|base| (base.clone(), resolved(&base))).collect();
        if bases.is_empty() {
            break;
        }
    }
    Ok(())
}

fn lower(dockerfile: Dockerfile, text: &str) -> Result<(), TestCaseError> {
    let printed = Dockerfile::parse(&dockerfile.to_string()).map(|again| again.meaning());
    prop_assert_eq!(printed, Ok(dockerfile.meaning()));
    let formatted = format(text).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(format(&formatted), Ok(formatted));
    let Ok(plan) = Plan::new(dockerfile, PlanOptions::new(Platform::new("linux", "amd64"))) else { return Ok(()) };
    let mut bases = Bases::new();
    while let Ok(missing) = plan.missing_bases(&bases) {
        if missing.is_empty() {
            if let Err(error) = plan.lower(&bases) {
                render_error("Dockerfile", text, &error, Emphasis::default());
            }
            break;
        }
        bases.extend(missing.into_iter().map(|base| (base.clone(), resolved(&base))));
    }
    Ok(())
}

/// The parts that are useful by themselves, with the same input.
fn words(text: &str) {
    let start: String = text.chars().take(200).collect();
    let variables = BTreeMap::from([("x".to_owned(), start.clone()), ("a".to_owned(), "aab/a*".to_owned())]);
    for options in [Options::default(), Options { raw_quotes: true, raw_escapes: true, ..Options::default() }] {
        for escape in ['\\', '`'] {
            let _ = Shell::new(escape, options).expand(&start, &variables);
        }
    }
    let matcher = IgnoreMatcher::from_file(&start);
    for line in text.lines().take(20) {
        let _ = line.parse::<Reference>();
        let _ = line.parse::<Platform>();
        let _ = line.parse::<Digest>();
        if let Ok(matcher) = &matcher {
            let _ = matcher.excludes(line);
        }
    }
}

/// The most memory that this process ever had, in kilobytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

struct Watch {
    done: u32,
    after_a_tenth: u64,
    slowest: Duration,
}

#[test]
fn no_input_panics_hangs_or_grows_memory() {
    let full = std::env::var_os("KILN_TEST_FULL").is_some_and(|value| value == "1");
    let inputs = if full { FULL_INPUTS } else { INPUTS };
    let config = Config { cases: inputs, failure_persistence: None, ..Config::default() };
    let seed = [7; 32];
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let watch = RefCell::new(Watch { done: 0, after_a_tenth: 0, slowest: Duration::ZERO });
    let started = Instant::now();
    let outcome = runner.run(&inputs::anything(), |bytes| {
        let before = Instant::now();
        put_through(&bytes)?;
        let took = before.elapsed();
        prop_assert!(took < HANGS, "took {took:?}");
        let mut watch = watch.borrow_mut();
        watch.done += 1;
        watch.slowest = watch.slowest.max(took);
        if watch.done == inputs / 10 {
            watch.after_a_tenth = peak_memory();
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let (watch, peak) = (watch.into_inner(), peak_memory());
    let (took, slowest, memory) = (started.elapsed(), watch.slowest, peak / 1024);
    println!("{} inputs in {took:.1?}, the slowest in {slowest:.1?}, at most {memory} MiB of memory", watch.done);
    assert_eq!(watch.done, inputs);
    assert!(peak - watch.after_a_tenth < GROWTH, "memory grew from {} to {peak} KiB", watch.after_a_tenth);
}
