//! A parsed Dockerfile in the words of the conformance files.

use kiln_dockerfile::{
    Argument, CommandLine, Copy, Dockerfile, Error, Heredoc, Instruction, Located, Mount, Pair, ParseProblem, Problem,
    Run, Span, Stage,
};
use kiln_graph::{NetworkMode, SecurityMode};
use serde_json::{Map, Value, json};

pub(crate) fn parse(text: &str) -> Value {
    match Dockerfile::parse(text) {
        Ok(dockerfile) => dockerfile_answer(&dockerfile),
        Err(error) => failure(&error),
    }
}

/// An error as an answer.
pub(crate) fn failure(error: &Error) -> Value {
    let mut answer = json!({ "ok": false, "error": error.to_string() });
    answer["phase"] = json!(if matches!(error.problem, Problem::Parse(_)) { "parse" } else { "instructions" });
    if let Some(line) = error.line() {
        // BuildKit has not counted the line of a bad directive yet.
        let uncounted =
            matches!(error.problem, Problem::Parse(ParseProblem::BadEscape(_) | ParseProblem::RepeatedDirective(_)));
        answer["line"] = json!(line - u32::from(uncounted));
    }
    answer
}

fn dockerfile_answer(dockerfile: &Dockerfile) -> Value {
    let mut answer = Map::new();
    answer.insert("ok".into(), json!(true));
    if dockerfile.directives.escape != '\\' {
        answer.insert("escape".into(), json!(dockerfile.directives.escape.to_string()));
    }
    if !dockerfile.warnings.is_empty() {
        let warning = |w: &kiln_dockerfile::Warning| json!({ "short": w.message, "line": w.span.last_line });
        answer.insert("warnings".into(), dockerfile.warnings.iter().map(warning).collect());
    }
    if !dockerfile.global_arguments.is_empty() {
        let global = |g: &kiln_dockerfile::GlobalArguments| json!({ "name": "ARG", "lines": lines(&g.span), "Args": arguments(&g.arguments) });
        answer.insert("meta_args".into(), dockerfile.global_arguments.iter().map(global).collect());
    }
    answer.insert("stages".into(), dockerfile.stages.iter().map(stage).collect());
    Value::Object(answer)
}

fn lines(span: &Span) -> Value {
    json!([span.first_line, span.last_line])
}

fn stage(stage: &Stage) -> Value {
    let mut answer = json!({ "base": stage.base, "lines": lines(&stage.span) });
    let optional = [("as", &stage.name), ("platform", &stage.platform), ("doc", &stage.documentation)];
    for (name, value) in optional {
        if let Some(value) = value {
            answer[name] = json!(value);
        }
    }
    answer["commands"] = stage.instructions.iter().map(command).collect();
    answer
}

/// Members that are left out when empty.
struct Members(Map<String, Value>);

impl Members {
    fn add(&mut self, name: &str, value: Value) {
        let empty = match &value {
            Value::Null => true,
            Value::Bool(b) => !b,
            Value::Number(n) => n.as_i64() == Some(0),
            Value::String(s) => s.is_empty(),
            Value::Array(a) => a.is_empty(),
            Value::Object(o) => o.is_empty(),
        };
        if !empty {
            self.0.insert(name.to_owned(), value);
        }
    }
}

fn arguments(arguments: &[Argument]) -> Value {
    let one = |a: &Argument| json!({ "Key": a.name, "Value": a.default, "DocComment": "" });
    arguments.iter().map(one).collect()
}

fn pairs(pairs: &[Pair]) -> Value {
    pairs.iter().map(|p| json!({ "Key": p.name, "Value": p.value, "NoDelim": p.old_form })).collect()
}

fn command(located: &Located) -> Value {
    let mut members = Members(Map::new());
    members.add("name", json!(located.instruction.name()));
    members.add("lines", lines(&located.span));
    match &located.instruction {
        Instruction::Add(copy) | Instruction::Copy(copy) => copied(copy, &mut members),
        Instruction::Arg(list) => members.add("Args", arguments(list)),
        Instruction::Cmd(line) | Instruction::Entrypoint(line) => command_line(line, &[], &mut members),
        Instruction::Env(list) => members.add("Env", pairs(list)),
        Instruction::Label(list) => members.add("Labels", pairs(list)),
        Instruction::Expose(ports) => members.add("Ports", json!(ports)),
        Instruction::Healthcheck(check) => members.add("Health", json!(check)),
        Instruction::Maintainer(name) => members.add("Maintainer", json!(name)),
        Instruction::Onbuild(expression) => members.add("Expression", json!(expression)),
        Instruction::Run(run) => run_members(run, &mut members),
        Instruction::Shell(words) => members.add("Shell", json!(words)),
        Instruction::StopSignal(signal) => members.add("Signal", json!(signal)),
        Instruction::User(user) => members.add("User", json!(user)),
        Instruction::Volume(volumes) => members.add("Volumes", json!(volumes)),
        Instruction::Workdir(path) => members.add("Path", json!(path)),
    }
    Value::Object(members.0)
}

fn copied(copy: &Copy, members: &mut Members) {
    members.add("SourcePaths", json!(copy.sources));
    let content =
        |h: &Heredoc| json!({ "Path": h.name, "Data": String::from_utf8_lossy(&h.bytes()), "Expand": h.expand });
    members.add("SourceContents", copy.heredocs.iter().map(content).collect());
    members.add("DestPath", json!(copy.destination));
    members.add("Chown", json!(copy.chown));
    members.add("Chmod", json!(copy.chmod));
    members.add("Link", json!(copy.link));
    members.add("ExcludePatterns", json!(copy.exclude));
    members.add("From", json!(copy.from));
    members.add("Parents", json!(copy.parents));
    members.add("Checksum", json!(copy.checksum));
    for (name, value) in [("KeepGitDir", copy.keep_git_directory), ("Unpack", copy.unpack)] {
        if let Some(value) = value {
            members.0.insert(name.to_owned(), json!(value));
        }
    }
}

fn command_line(line: &CommandLine, heredocs: &[Heredoc], members: &mut Members) {
    members.add("CmdLine", json!(line.words));
    let file = |h: &Heredoc| json!({ "Name": h.name, "Data": h.written(), "Chomp": h.strip_tabs });
    members.add("Files", heredocs.iter().map(file).collect());
    members.add("PrependShell", json!(line.shell));
}

fn run_members(run: &Run, members: &mut Members) {
    command_line(&run.command, &run.heredocs, members);
    members.add("FlagsUsed", json!(run.flags));
    let mounts: Result<Vec<Mount>, _> =
        run.mounts.iter().map(|fields| fields.understand(&|word| Ok(word.to_owned()))).collect();
    match mounts {
        Ok(mounts) => members.add("mounts", mounts.iter().map(mount).collect()),
        Err(error) => members.add("mount_error", json!(error.to_string())),
    }
    members.add("network", json!(run.network.filter(|mode| *mode != NetworkMode::Default)));
    members.add("security", json!(run.security.filter(|mode| *mode != SecurityMode::Sandbox)));
}

fn mount(mount: &Mount) -> Value {
    let mut members = Members(Map::new());
    members.add("Type", json!(mount.kind.as_str()));
    members.add("From", json!(mount.from));
    members.add("Source", json!(mount.source));
    members.add("Target", json!(mount.target));
    members.add("ReadOnly", json!(mount.read_only));
    members.add("SizeLimit", json!(mount.size));
    members.add("CacheID", json!(mount.id));
    members.add("CacheSharing", json!(mount.sharing.map(|sharing| sharing.as_str())));
    members.add("Required", json!(mount.required));
    for (name, value) in [("Mode", mount.mode), ("UID", mount.uid), ("GID", mount.gid)] {
        if let Some(value) = value {
            members.0.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(env) = &mount.env {
        members.0.insert("Env".to_owned(), json!(env));
    }
    Value::Object(members.0)
}
