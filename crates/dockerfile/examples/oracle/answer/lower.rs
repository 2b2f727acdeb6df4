//! A lowered Dockerfile in the words of the conformance files, over their made-up registry.

use kiln_dockerfile::{Base, BaseName, Bases, Dockerfile, Error, Lowered, Plan, PlanOptions, ResolvedBase};
use kiln_graph::{ExecOp, Mount, MountKind, NetworkMode, Op};
use kiln_oci::{Digest, ImageConfig, Platform, Reference};
use serde_json::{Value, json};

use super::{map, parse, text};

pub(crate) fn lower(request: &Value) -> Value {
    match lowered(request) {
        Ok(Ok(lowered)) => success(&lowered),
        Ok(Err(error)) => {
            let mut answer = parse::failure(&error);
            answer.as_object_mut().and_then(|members| members.remove("phase"));
            answer
        }
        Err(message) => json!({ "ok": false, "error": message }),
    }
}

fn lowered(request: &Value) -> Result<Result<Lowered, Error>, String> {
    let mut options = PlanOptions::new(Platform::new("linux", "amd64"));
    options.build_args = map(request, "build_args");
    options.labels = map(request, "labels");
    options.target = request["target"].as_str().map(str::to_owned);
    let plan = match Dockerfile::parse(&text(request, "text")).and_then(|parsed| Plan::new(parsed, options)) {
        Ok(plan) => plan,
        Err(error) => return Ok(Err(error)),
    };
    let mut bases = Bases::new();
    loop {
        let missing = match plan.missing_bases(&bases) {
            Ok(missing) => missing,
            Err(error) => return Ok(Err(error)),
        };
        if missing.is_empty() {
            return Ok(plan.lower(&bases));
        }
        for base in missing {
            let resolved = resolve(&base)?;
            bases.insert(base, resolved);
        }
    }
}

/// The made-up registry: a few kinds of images, told apart by what their names contain.
pub(crate) fn resolve(base: &Base) -> Result<ResolvedBase, String> {
    let reference: Reference = match &base.name {
        BaseName::Image(reference) => reference.clone(),
        BaseName::NamedContext(name) => name.parse().map_err(|error| format!("{name}: {error}"))?,
    };
    let name = reference.to_string();
    if name.contains("missing") {
        return Err(format!("{name}: not found"));
    }
    let config = if name.contains("onbuild") {
        json!({
            "Env": ["PATH=/usr/bin:/bin"], "Entrypoint": ["/ep"], "Cmd": ["arg"], "WorkingDir": "/srv", "User": "app",
            "OnBuild": ["RUN echo trigger", "ENV OB=1", "COPY . /ob"],
        })
    } else {
        json!({
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "BASEVAR=frombase"],
            "Cmd": ["sh"], "Labels": { "base.label": "one" },
        })
    };
    let layer = if name.contains("onbuild") { "ob layer" } else { "base layer" };
    let image = json!({
        "architecture": "amd64", "os": "linux", "config": config, "history": [{ "created_by": layer }],
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(name.as_bytes())] },
    });
    let config: ImageConfig = serde_json::from_value(image).map_err(|error| error.to_string())?;
    Ok(ResolvedBase { reference, manifest: None, config })
}

fn success(lowered: &Lowered) -> Value {
    let history = lowered.config.history.iter().map(|entry| {
        let mut answer = json!({ "created_by": entry.created_by });
        if entry.empty_layer {
            answer["empty_layer"] = json!(true);
        }
        answer
    });
    let reachable = lowered.definition.reachable(lowered.target.as_slice());
    let mut execs: Vec<Value> = reachable
        .into_iter()
        .filter_map(|id| match &lowered.definition.vertex(id).op {
            Op::Exec(exec) => Some(exec_answer(exec)),
            _ => None,
        })
        .collect();
    execs.sort_by_key(Value::to_string);
    json!({
        "ok": true,
        "config": lowered.config.config,
        "history": history.collect::<Vec<_>>(),
        "execs": execs,
    })
}

fn exec_answer(exec: &ExecOp) -> Value {
    let mut answer = json!({ "args": exec.args, "env": exec.env, "cwd": exec.cwd });
    if !exec.user.is_empty() {
        answer["user"] = json!(exec.user);
    }
    let network = match exec.network {
        NetworkMode::Default => None,
        NetworkMode::None => Some("NONE"),
        NetworkMode::Host => Some("HOST"),
    };
    if let Some(network) = network {
        answer["network"] = json!(network);
    }
    let mut mounts: Vec<String> = exec.mounts.iter().map(mount).collect();
    mounts.extend(exec.scripts.first().map(|_| "bind:/dev/pipes/".to_owned()));
    if !mounts.is_empty() {
        answer["mounts"] = json!(mounts);
    }
    answer
}

fn mount(mount: &Mount) -> String {
    let kind = match mount.kind {
        MountKind::Bind(_) => "bind",
        MountKind::Cache(_) => "cache",
        MountKind::Tmpfs(_) => "tmpfs",
        MountKind::Secret(_) => "secret",
        MountKind::Ssh(_) => "ssh",
    };
    format!("{kind}:{}", mount.target)
}
