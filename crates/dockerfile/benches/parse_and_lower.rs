//! How long it takes from text to graph, and to check a text against all rules, and that the time grows with the
//! text and no faster.
//!
//! `cargo bench -p kiln-dockerfile` measures the Dockerfile of 2,000 lines and 300 stages first, then texts of
//! several sizes in each of several shapes; the throughput of a shape must not fall with its size.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kiln_dockerfile::lint::{self, LintOptions, Report};
use kiln_dockerfile::{Bases, Dockerfile, Lowered, Plan, PlanOptions, ResolvedBase};
use kiln_oci::{ContainerConfig, Digest, ImageConfig, Platform, Reference};

/// Text to graph, as a build does it.
fn lower(text: &str, bases: &Bases) -> Lowered {
    let dockerfile = Dockerfile::parse(text).expect("a Dockerfile");
    let plan = Plan::new(dockerfile, PlanOptions::new(Platform::new("linux", "amd64"))).expect("a plan");
    assert!(plan.missing_bases(bases).expect("bases").is_empty());
    plan.lower(bases).expect("a graph")
}

/// The bases that a text needs, each of one layer.
fn bases(text: &str) -> Bases {
    let dockerfile = Dockerfile::parse(text).expect("a Dockerfile");
    let plan = Plan::new(dockerfile, PlanOptions::new(Platform::new("linux", "amd64"))).expect("a plan");
    let missing = plan.missing_bases(&Bases::new()).expect("bases");
    missing.into_iter().map(|base| (base, resolved())).collect()
}

fn resolved() -> ResolvedBase {
    let reference: Reference = "busybox:latest".parse().expect("a reference");
    let container = ContainerConfig { env: vec!["PATH=/bin".to_owned()], ..ContainerConfig::default() };
    let mut config = ImageConfig { config: Some(container), ..ImageConfig::default() };
    config.rootfs.diff_ids = vec![Digest::of(b"layer")];
    ResolvedBase { reference, manifest: None, config }
}

/// Stages as people write them, all needed by the last: every 20 lines three of them.
fn many_stages(lines: usize) -> String {
    let stages = lines * 3 / 20;
    let mut text = String::from("ARG VERSION=1.36\n");
    for stage in 0..stages {
        match stage % 3 {
            _ if stage + 1 == stages => text.push_str("FROM scratch AS last\n"),
            2 => text.push_str(&format!("FROM s{} AS s{stage}\n", stage - 1)),
            _ => text.push_str(&format!("FROM busybox:$VERSION AS s{stage}\n")),
        }
        text.push_str(&format!("ARG FLAGS=-O{stage}\nENV MODE=release LEVEL=\"${{FLAGS:-none}}\"\n"));
        text.push_str(&format!("COPY --chown=1:1 src/{stage} lib/*.c /src/{stage}/\n"));
        if stage > 0 {
            text.push_str(&format!("COPY --from=s{} /out/{} /in/\n", stage - 1, stage - 1));
        }
        text.push_str(&format!("RUN --mount=type=cache,target=/cache,id=c{stage} make -C /src/{stage} install\n"));
    }
    pad(text, lines)
}

/// Adds steps to the last stage up to so many lines.
fn pad(mut text: String, lines: usize) -> String {
    let have = text.lines().count();
    for line in have..lines {
        text.push_str(&format!("COPY f{line} /f{line}\n"));
    }
    text
}

fn one_stage(lines: usize) -> String {
    let steps = (1..lines).map(|n| if n % 2 == 0 { format!("RUN step {n}\n") } else { format!("COPY a{n} /b/{n}\n") });
    format!("FROM busybox\n{}", steps.collect::<String>())
}

fn variables(lines: usize) -> String {
    let settings =
        (1..lines).map(|n| if n % 2 == 0 { format!("ENV E{n}=$A{}\n", n - 1) } else { format!("ARG A{n}=v\n") });
    format!("FROM busybox\n{}", settings.collect::<String>())
}

fn stage_on_stage(lines: usize) -> String {
    let stages = (1..lines / 3).map(|n| format!("FROM s{} AS s{n}\nENV E{n}=1\nCOPY x{n} /y/\n", n - 1));
    format!("FROM busybox AS s0\n{}", stages.collect::<String>())
}

fn copied_from_stages(lines: usize) -> String {
    let stages = (1..lines / 2).map(|n| format!("FROM busybox AS s{n}\nCOPY --from=s{} /a /b{n}\n", n - 1));
    format!("FROM busybox AS s0\n{}", stages.collect::<String>())
}

fn continued_line(lines: usize) -> String {
    format!(
        "FROM busybox\nRUN true \\\n{}    last\n",
        "    && command --with an=argument $VALUE \\\n".repeat(lines - 3)
    )
}

fn heredoc(lines: usize) -> String {
    format!("FROM busybox\nCOPY <<EOF /file\n{}EOF\n", "a line with a $VARIABLE in it\n".repeat(lines - 3))
}

fn heredoc_script(lines: usize) -> String {
    format!("FROM busybox\nRUN <<EOF\n{}EOF\n", "echo a line of a script\n".repeat(lines - 3))
}

/// One line of about 40 bytes for each of `lines`.
fn long_line(lines: usize) -> String {
    format!("FROM busybox\nENV LONG=\"{}\"\n", "forty bytes of text, with a $VAR inside ".repeat(lines))
}

fn many_pairs(lines: usize) -> String {
    let pairs = (0..lines).map(|n| format!(" \\\n    name{n}=\"value {n}\""));
    format!("FROM busybox\nLABEL{}\n", pairs.collect::<String>())
}

fn the_promise(criterion: &mut Criterion) {
    let text = many_stages(2000);
    let stages = text.lines().filter(|line| line.starts_with("FROM")).count();
    assert_eq!((text.lines().count(), stages), (2000, 300));
    let bases = bases(&text);
    criterion.bench_function("2,000 lines, 300 stages", |bencher| {
        bencher.iter(|| black_box(lower(black_box(&text), &bases)));
    });
}

/// All rules, ours too.
fn lint(text: &str, bases: &Bases) -> Report {
    let plan = PlanOptions::new(Platform::new("linux", "amd64"));
    lint::check(text, &LintOptions { hints: true, ..LintOptions::new(&plan, bases) })
}

/// The bases of all stages.
fn all_bases(text: &str) -> Bases {
    lint(text, &Bases::new()).missing.into_iter().map(|base| (base, resolved())).collect()
}

fn rules(criterion: &mut Criterion) {
    for (name, shape) in SHAPES {
        let mut group = criterion.benchmark_group(format!("rules: {name}"));
        group.sample_size(10);
        for lines in [2000, 8000] {
            let text = shape(lines);
            let bases = all_bases(&text);
            group.throughput(Throughput::Elements(lines as u64));
            group.bench_with_input(BenchmarkId::from_parameter(lines), &text, |bencher, text| {
                bencher.iter(|| black_box(lint(black_box(text), &bases)));
            });
        }
        group.finish();
    }
}

/// The name of a shape, and its text with so many lines.
type Shape = (&'static str, fn(usize) -> String);

const SHAPES: [Shape; 10] = [
    ("many stages", many_stages),
    ("one stage", one_stage),
    ("variables", variables),
    ("stage on stage", stage_on_stage),
    ("copied from stages", copied_from_stages),
    ("continued line", continued_line),
    ("heredoc", heredoc),
    ("heredoc script", heredoc_script),
    ("long line", long_line),
    ("many pairs", many_pairs),
];

fn growth(criterion: &mut Criterion) {
    for (name, shape) in SHAPES {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for lines in [1000, 2000, 4000, 8000] {
            let text = shape(lines);
            let bases = bases(&text);
            group.throughput(Throughput::Elements(lines as u64));
            group.bench_with_input(BenchmarkId::from_parameter(lines), &text, |bencher, text| {
                bencher.iter(|| black_box(lower(black_box(text), &bases)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, the_promise, growth, rules);
criterion_main!(benches);
