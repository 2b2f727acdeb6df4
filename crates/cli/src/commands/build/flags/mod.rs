//! What the flags of `kiln build` mean as a request: options as written become types, once, here.

mod annotations;
mod caches;
mod call;
mod entitlements;
mod environment;
mod hosts;
mod later;
mod legacy;
mod limits;
mod outputs;
pub(super) mod pairs;
mod progress;
mod raw;

pub(crate) use call::{Call, CallOptions};
pub(crate) use raw::{BuildArguments, Durable};

use std::collections::BTreeMap;

use kiln_build::{Annotation, Bounds, DockerfileText, Request};
use kiln_dockerfile::NoCache;
use kiln_oci::{Platform, Reference};

use crate::arguments;
use crate::config::BuildConfig;
use crate::contexts::Asked;
use crate::display::Progress;
use crate::failure::Failure;
use environment::Environment;
use outputs::{Outputs, Wishes};

/// The build argument that keeps `.git` of a context that is a repository.
const KEEP_GIT_DIRECTORY: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// What was asked for.
pub(super) struct Resolved {
    /// The build, still without its Dockerfile and its contexts.
    pub(super) request: Request,
    /// Where those are.
    pub(super) contexts: Asked,
    /// Whether to build, or to tell something of the Dockerfile.
    pub(super) call: Call,
    /// How progress is shown.
    pub(super) progress: Progress,
}

/// What the flags mean; nothing is looked up that the command line does not name, and contexts come last.
pub(super) fn resolve(arguments: &BuildArguments, config: &BuildConfig) -> Result<Resolved, Failure> {
    let environment = Environment::read(&|name| std::env::var(name).ok()).map_err(malformed)?;
    refuse(arguments, &environment)?;
    let call = call(arguments)?;
    let progress = progress::resolve(&arguments.progress, arguments.quiet, environment.progress.as_deref());
    let progress = progress.map_err(malformed)?;
    let request = request(arguments, &environment, config)?;
    let named: Vec<String> = arguments.build_contexts.iter().filter(|text| !text.is_empty()).cloned().collect();
    let keep = request.build_args.get(KEEP_GIT_DIRECTORY).and_then(|value| arguments::truth(value)) == Some(true);
    let contexts = Asked::parse(&arguments.context, arguments.file.as_deref(), &named, keep)?;
    Ok(Resolved { request, contexts, call, progress })
}

/// The build without its contexts.
fn request(arguments: &BuildArguments, environment: &Environment, config: &BuildConfig) -> Result<Request, Failure> {
    let names = parse_all(&arguments.tags, name)?;
    let platforms = platforms(&arguments.platforms, environment.platform.as_deref())?;
    let outputs = outputs(arguments, environment, &names, platforms.len())?;
    let build_args = pairs::build_args(&arguments.build_args, &|name| std::env::var(name).ok()).map_err(malformed)?;
    let inline = build_args.get("BUILDKIT_INLINE_CACHE").and_then(|value| arguments::truth(value)) == Some(true);
    let cache_to = caches::to(&arguments.cache_to, inline).map_err(malformed)?;
    caches::check_inline(&cache_to, outputs.makes_image() || inline).map_err(malformed)?;
    let network = entitlements::network(&arguments.network)?;
    let step_bounds = Bounds { time: arguments.step_timeout, memory: arguments.step_memory, cpus: arguments.step_cpus };
    Ok(Request {
        dockerfile: DockerfileText::default(),
        build_args,
        labels: pairs::labels(&arguments.labels).map_err(malformed)?,
        target: arguments.target.clone(),
        platforms,
        named_contexts: BTreeMap::new(),
        no_cache: no_cache(arguments),
        pull: arguments.pull,
        network,
        extra_hosts: parse_all(&arguments.add_hosts, |text| hosts::extra_host(text).map_err(unbuildable))?,
        shm_size: arguments.shm_size,
        ulimits: limits::last_of_each(&arguments.ulimits),
        cgroup_parent: arguments.cgroup_parent.clone(),
        allow: entitlements::allowed(&arguments.allow, network)?,
        names,
        kept: outputs.kept,
        outputs: outputs.written,
        squash: arguments.legacy.squash(),
        all_stages: arguments.all_stages,
        cache_from: caches::from(&arguments.cache_from).map_err(malformed)?,
        cache_to,
        jobs: arguments.jobs.or(config.jobs),
        keep_going: arguments.keep_going,
        step_bounds: limits::of_step(step_bounds, config),
    })
}

fn call(arguments: &BuildArguments) -> Result<Call, Failure> {
    let call = call::call(arguments.check, arguments.call.as_deref(), arguments.print.as_deref()).map_err(malformed)?;
    if call != Call::Build && (arguments.metadata_file.is_some() || arguments.iidfile.is_some()) {
        let reason = "--call builds nothing that --metadata-file or --iidfile could tell of; it prints its result";
        return Err(malformed(reason.into()));
    }
    Ok(call)
}

/// Refuses what kiln would not do.
fn refuse(arguments: &BuildArguments, environment: &Environment) -> Result<(), Failure> {
    arguments.legacy.refuse()?;
    let builder = arguments.builder.as_deref().or(environment.builder.as_deref());
    later::builder(builder)
        .and_then(|()| {
            later::attestations(&arguments.attest, arguments.provenance.as_deref(), arguments.sbom.as_deref())
        })
        .map_err(malformed)
}

/// One `-t`.
fn name(text: &str) -> Result<Reference, Failure> {
    let invalid = |reason: String| unbuildable(format!("invalid tag {text:?}: {reason}"));
    let name: Reference = text.parse().map_err(|error| invalid(format!("{error}")))?;
    if name.digest().is_some() {
        return Err(invalid("refusing to create a tag with a digest reference".into()));
    }
    Ok(name)
}

fn outputs(
    arguments: &BuildArguments,
    environment: &Environment,
    names: &[Reference],
    platforms: usize,
) -> Result<Outputs, Failure> {
    let annotations = parse_all(&arguments.annotations, |text| annotations::flag(text).map_err(malformed))?;
    let annotations: Vec<Annotation> = annotations.into_iter().flatten().collect();
    let wishes = Wishes {
        outputs: &arguments.outputs,
        push: arguments.push,
        load: arguments.load,
        annotations: &annotations,
        names,
        keep_by_default: environment.keeps_by_default,
        // Several platforms together have no other id than their index's digest.
        describe: arguments.metadata_file.is_some()
            || platforms > 1 && (arguments.iidfile.is_some() || arguments.quiet),
    };
    let outputs = outputs::resolve(&wishes).map_err(malformed)?;
    if arguments.iidfile.is_some() && outputs.has_file_system() {
        return Err(malformed("local and tar exporters are incompatible with image ID file".into()));
    }
    Ok(outputs)
}

fn platforms(texts: &[String], default: Option<&str>) -> Result<Vec<Platform>, Failure> {
    let given = texts.iter().map(String::as_str).filter(|text| !text.is_empty());
    let mut texts: Vec<&str> = given.collect();
    if texts.is_empty() {
        texts = default.into_iter().flat_map(|list| list.split(',')).collect();
    }
    let parse = |text: &str| match text.trim() {
        "local" => Ok(Platform::host()),
        text => text.parse().map_err(|error| unbuildable(format!("invalid platform {text:?}: {error}"))),
    };
    texts.into_iter().map(parse).collect()
}

fn no_cache(arguments: &BuildArguments) -> NoCache {
    let stages: Vec<String> = arguments.no_cache_filter.iter().filter(|stage| !stage.is_empty()).cloned().collect();
    if arguments.no_cache {
        NoCache::Everything
    } else if stages.is_empty() {
        NoCache::Nothing
    } else {
        NoCache::Stages(stages)
    }
}

/// A command line that cannot be understood.
fn malformed(reason: String) -> Failure {
    Failure::new(format!("ERROR: {reason}"))
}

/// A command line that is understood, and asks for what cannot be.
fn unbuildable(reason: String) -> Failure {
    Failure::new(format!("ERROR: failed to build: {reason}"))
}

fn parse_all<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
    texts.iter().filter(|text| !text.is_empty()).map(|text| parse(text)).collect()
}

/// All values of a flag that may be given several times, by id.
pub(super) fn by_id<T>(
    texts: &[String],
    name: &str,
    parse: impl Fn(&str) -> Result<(String, T), String>,
) -> Result<BTreeMap<String, T>, Failure> {
    let parse = |text: &String| parse(text).map_err(|reason| malformed(format!("invalid {name} {text:?}: {reason}")));
    texts.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use kiln_graph::NetworkMode;
    use proptest::prelude::*;

    use super::*;

    /// Text made of what flags are made of, and of anything.
    fn nonsense() -> impl Strategy<Value = String> {
        let words = [
            "type=",
            "image",
            "oci",
            "local",
            "tar",
            "dest=",
            "name=",
            "compression=",
            "annotation",
            "-index",
            "[linux/",
            "].",
            ",",
            "=",
            ":",
            "\"",
            "-",
            "1",
            "9999999999999999999999",
            "gib",
            "m",
            "nofile",
            "::1",
            "manifest",
            "format=",
            "outline",
            "é",
            "\0",
            " ",
        ];
        let piece = prop_oneof![prop::sample::select(words.to_vec()).prop_map(str::to_owned), any::<String>()];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn nonsense_is_refused_and_nothing_worse(text in nonsense()) {
            let list = std::slice::from_ref(&text);
            let _ = annotations::flag(&text);
            let _ = (caches::from(list), caches::to(list, true));
            let _ = call::call(false, Some(&text), None);
            let _ = entitlements::allowed(list, NetworkMode::None);
            let _ = hosts::extra_host(&text);
            let _ = later::attestations(list, Some(&text), None);
            let _ = limits::bytes(&text);
            let _ = limits::memory(&text);
            let _ = limits::cpus(&text);
            let _ = limits::ulimit(&text);
            let _ = name(&text);
            let _ = pairs::build_args(list, &|_| None);
            let _ = platforms(list, None);
            let wishes = Wishes {
                outputs: list,
                push: false,
                load: false,
                annotations: &[],
                names: &[],
                keep_by_default: true,
                describe: false,
            };
            let _ = outputs::resolve(&wishes);
        }

        #[test]
        fn fields_that_are_quoted_come_back(fields in prop::collection::vec(any::<String>(), 1..5)) {
            let quoted: Vec<String> = fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
            prop_assert_eq!(pairs::fields(&quoted.join(",")), Ok(fields));
        }
    }
}
