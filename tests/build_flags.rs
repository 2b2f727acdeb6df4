//! What the flags of `kiln build` ask for is in what comes out, as other tools read it; and every flag of docker's is
//! either done or refused with a reason.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::image::shown;
use kiln_tests::kiln::{Kiln, tool};
use kiln_tests::{is_root_for, testdata};
use serde_json::Value;

/// What a build of `context` is asked.
const DOCKERFILE: &str = "\
FROM busybox AS base
# VERSION is what to build
ARG VERSION=1
RUN echo $VERSION > /version
FROM base AS unneeded
RUN echo unneeded
FROM base
COPY file /file
CMD [\"cat\", \"/file\"]
";

/// A store that holds the busybox. None, and said, where this is not root, which `what` needs.
fn with_busybox(what: &str) -> Option<Kiln> {
    if !is_root_for(what) {
        return None;
    }
    let kiln = Kiln::on_fresh_disk();
    kiln.load("busybox");
    Some(kiln)
}

fn context(kiln: &Kiln) -> PathBuf {
    let context = kiln.scratch("context");
    fs::write(context.join("Dockerfile"), DOCKERFILE).expect("Dockerfile");
    fs::write(context.join("file"), "content\n").expect("file");
    context
}

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}: {text}", path.display()))
}

/// A manifest or index of a layout, by skopeo.
fn manifest(place: &str) -> Value {
    serde_json::from_str(&tool("skopeo", &["inspect", "--raw", place])).expect("JSON")
}

#[test]
fn every_flag_of_docker_s_is_done_or_refused_with_a_reason() {
    let kiln = Kiln::new();
    let list = fs::read_to_string(testdata("cli/build-flags.txt")).expect("list of flags");
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let mut wrong = Vec::new();
    for line in lines {
        let (flag, expected) = line.rsplit_once(": ").and_then(|(flag, rest)| split(flag, rest)).expect(line);
        let answer = kiln.run(&["build", flag, "/no/such/context"]);
        // Flags are understood before anything is looked for.
        let went_on = answer.stderr.contains("path \"/no/such/context\" not found");
        let as_expected = match expected.strip_prefix("refused ") {
            None => went_on,
            Some(words) => !went_on && answer.stderr.contains(words) && [1, 125].contains(&answer.code()),
        };
        if !as_expected {
            wrong.push(format!("{line}\n{answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A reason may hold `: ` itself, so a line is cut at its ` done` or ` refused`.
fn split<'a>(flag: &'a str, rest: &'a str) -> Option<(&'a str, &'a str)> {
    if rest == "done" || rest.starts_with("refused ") {
        return Some((flag, rest));
    }
    let at = flag.find(": refused ")?;
    let whole = &flag[at + 2..];
    Some((&flag[..at], whole))
}

#[test]
fn every_flag_of_kiln_s_is_in_the_list_or_its_own() {
    const OWN: [&str; 9] = [
        "--all-stages",
        "--durable",
        "--explain",
        "--help",
        "--jobs",
        "--keep-going",
        "--step-cpus",
        "--step-memory",
        "--step-timeout",
    ];
    let list = fs::read_to_string(testdata("cli/build-flags.txt")).expect("list of flags");
    let help = Kiln::new().ok(&["build", "--help"]).stdout;
    let lines = help.lines().filter(|line| line.trim_start().starts_with('-'));
    let words = lines.filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")));
    let flags: Vec<&str> = words.map(|word| word.split([',', '[', '=']).next().unwrap_or(word)).collect();
    assert!(flags.len() > 30, "{help}");
    let listed = |flag: &&str| {
        list.lines().any(|line| line.starts_with(&format!("{flag}=")) || line.starts_with(&format!("{flag}:")))
    };
    let unlisted: Vec<&str> = flags.into_iter().filter(|flag| !OWN.contains(flag) && !listed(flag)).collect();
    assert!(unlisted.is_empty(), "not in testdata/cli/build-flags.txt: {unlisted:?}");
}

#[test]
fn a_build_has_all_the_names_that_docker_gives_it() {
    let kiln = Kiln::new();
    for command in ["build", "buildx build", "buildx b", "builder build", "image build"] {
        let mut words: Vec<&str> = command.split(' ').collect();
        words.push("/no/such/context");
        kiln.fails(&words, &["ERROR: failed to build: unable to prepare context: path \"/no/such/context\" not found"]);
    }
}

#[test]
fn labels_and_arguments_are_in_the_image() {
    let Some(kiln) = with_busybox("flags of builds") else { return };
    let (context, files) = (context(&kiln), kiln.scratch("files"));
    let (id, metadata) = (files.join("id"), files.join("metadata.json"));
    fs::write(&id, "of an earlier build").expect("id file");
    let archive = files.join("image.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let flags = ["-t", "app:1", "--label", "a=b=c", "--label", "empty", "--build-arg", "VERSION=7"];
    let files = ["--iidfile", text(&id), "--metadata-file", text(&metadata), "--load", "-o", &output];
    kiln.build(&context, &[&flags[..], &files].concat());
    let image = shown(&archive);
    let shown = image["images"].to_string();
    for expected in [r#""a":"b=c""#, r#""empty":"""#, "VERSION=7"] {
        assert!(shown.contains(expected), "{expected} is missing in {shown}");
    }
    let metadata = json(&metadata);
    assert_eq!(metadata["image.name"], "docker.io/library/app:1");
    assert_eq!(metadata["containerimage.config.digest"].as_str(), Some(fs::read_to_string(&id).expect("id").as_str()));
    assert_eq!(metadata["containerimage.descriptor"]["digest"], metadata["containerimage.digest"]);
    assert!(metadata["buildx.build.ref"].as_str().is_some_and(|name| name.starts_with("default/default/")));
    let answer = kiln.ok(&["run", "--rm", "app:1", "cat", "/version"]);
    assert_eq!(answer.stdout, "7\n");
    let quiet =
        kiln.ok(&["build", "-q", "--build-arg", "VERSION=7", "--label", "a=b=c", "--label=empty", text(&context)]);
    assert_eq!(Some(quiet.stdout.trim_end()), metadata["containerimage.config.digest"].as_str());
    assert_eq!(quiet.stderr, "");
}

#[test]
fn one_build_writes_several_outputs() {
    let Some(kiln) = with_busybox("several outputs") else { return };
    let (context, place) = (context(&kiln), kiln.scratch("outputs"));
    let file = |name: &str| place.join(name).display().to_string();
    let outputs = [
        format!("type=oci,dest={},compression=zstd,force-compression=true", file("oci.tar")),
        format!("type=oci,dest={},tar=false,oci-mediatypes=false", file("layout")),
        format!("type=docker,dest={}", file("docker.tar")),
        format!("type=tar,dest={}", file("tree.tar")),
        format!("type=local,dest={},platform-split=true", file("tree")),
    ];
    let flags: Vec<&str> = outputs.iter().flat_map(|output| ["--output", output]).collect();
    kiln.build(&context, &[&flags[..], &["-t", "app:1"]].concat());
    let zstd = manifest(&format!("oci-archive:{}", file("oci.tar")));
    for layer in zstd["layers"].as_array().expect("layers") {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    }
    let docker = manifest(&format!("oci:{}", file("layout")));
    assert_eq!(docker["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    let inspected = tool("skopeo", &["inspect", "--config", &format!("docker-archive:{}", file("docker.tar"))]);
    assert!(inspected.contains("/file"), "{inspected}");
    assert!(tool("tar", &["-tf", &file("tree.tar")]).lines().any(|line| line == "file"));
    let trees: Vec<_> = fs::read_dir(place.join("tree")).expect("tree").flatten().collect();
    let [tree] = &trees[..] else { panic!("one directory for the platform: {trees:?}") };
    assert_eq!(fs::read_to_string(tree.path().join("file")).expect("file"), "content\n");
    // Nothing said that it should be in the store, too.
    kiln.fails(&["inspect", "app:1"], &["No such object"]);
}

#[test]
fn annotations_are_where_they_were_asked_for() {
    let Some(kiln) = with_busybox("annotations") else { return };
    let (context, place) = (context(&kiln), kiln.scratch("outputs"));
    let archive = place.join("image.tar");
    let output = format!("type=oci,dest={},annotation.only.here=1", archive.display());
    let annotations =
        ["org.example.plain=a", "manifest:org.example.manifest=b", "manifest-descriptor:org.example.entry=c"];
    let flags: Vec<&str> = annotations.iter().flat_map(|annotation| ["--annotation", annotation]).collect();
    kiln.build(&context, &[&flags[..], &["-t", "app:1", "-o", &output, "--load"]].concat());
    let written = manifest(&format!("oci-archive:{}", archive.display()));
    let annotations = &written["annotations"];
    assert_eq!((&annotations["org.example.plain"], &annotations["org.example.manifest"]), (&"a".into(), &"b".into()));
    assert_eq!(annotations["only.here"], "1");
    assert_eq!(annotations["org.example.entry"], Value::Null);
    tool("tar", &["-C", text(&place), "-xf", text(&archive), "index.json"]);
    assert_eq!(json(&place.join("index.json"))["manifests"][0]["annotations"]["org.example.entry"], "c");
    // The image of the store keeps its own for whoever saves or pushes it.
    let saved = place.join("saved.tar");
    kiln.ok(&["save", "-o", text(&saved), "app:1"]);
    let saved = manifest(&format!("oci-archive:{}", saved.display()));
    assert_eq!(saved["annotations"]["org.example.plain"], "a");
    assert_eq!(saved["annotations"]["only.here"], Value::Null);
    let index = ["build", "--annotation", "index:a=b", "-t", "app:2", text(&context)];
    kiln.fails(&index, &["index annotations not supported for single platform export"]);
}

#[test]
fn a_step_runs_in_the_control_group_that_was_asked_for() {
    let Some(kiln) = with_busybox("control groups") else { return };
    let (context, out) = (kiln.scratch("context"), kiln.scratch("outputs").join("files"));
    let dockerfile =
        "FROM busybox AS base\nRUN cat /proc/self/cgroup > /groups\nFROM scratch\nCOPY --from=base /groups /\n";
    fs::write(context.join("Dockerfile"), dockerfile).expect("Dockerfile");
    let parent = format!("kiln-test-{}", std::process::id());
    let answer = kiln.ok(&["build", "--cgroup-parent", &parent, "-o", text(&out), text(&context)]);
    if answer.stderr.contains("no control group") {
        println!("skipped: no control groups can be made here: {}", answer.stderr);
        return;
    }
    let groups = fs::read_to_string(out.join("groups")).expect("groups");
    assert!(groups.contains(&format!("/{parent}/kiln-")), "{groups}");
    let hierarchies = fs::read_dir("/sys/fs/cgroup").expect("hierarchies").flatten();
    assert!(!hierarchies.into_iter().any(|hierarchy| hierarchy.path().join(&parent).exists()), "{parent} remains");
}

#[test]
fn a_build_is_pushed() {
    let Some(kiln) = with_busybox("pushes") else { return };
    let registry = DockerRegistry::start();
    let (context, place) = (context(&kiln), kiln.scratch("outputs"));
    let metadata = place.join("metadata.json");
    let name = |name: &str| format!("{}/{name}", registry.address());
    let annotation = ["--annotation", "org.example.a=b"];
    let flags = ["--push", "-t", &name("app:1"), "-t", &name("app:2"), "--metadata-file", text(&metadata)];
    kiln.build(&context, &[&flags[..], &annotation].concat());
    let pushed = registry.manifest("app:1");
    assert_eq!(pushed["annotations"]["org.example.a"], "b");
    assert_eq!(pushed, registry.manifest("app:2"));
    assert_eq!(registry.config("app:1")["config"]["Cmd"], serde_json::json!(["cat", "/file"]));
    let told = json(&metadata);
    let digest = told["containerimage.digest"].as_str().expect("digest");
    assert_eq!(registry.manifest(&format!("app@{digest}")), pushed);
    assert_eq!(told["image.name"], format!("{},{}", name("app:1"), name("app:2")));
    // It is in the store, too, and a later push finds all of it there.
    let again = kiln.ok(&["push", &name("app:2")]).stdout;
    assert!(again.contains("Layer already exists"), "{again}");
    assert!(again.contains(&format!("2: digest: {digest} size:")), "{again}");
    let all = kiln.ok(&["push", "--all-tags", &name("app")]).stdout;
    assert!(["1: digest: ", "2: digest: "].iter().all(|line| all.contains(line)), "{all}");
    kiln.fails(&["push", "--all-tags", &name("app:1")], &["tag can't be used with --all-tags/-a"]);
    kiln.fails(&["push", "--all-tags", &name("other")], &["An image does not exist locally with the tag: "]);
    kiln.fails(&["push", &name(&format!("app@{digest}"))], &["cannot push a digest reference"]);
}

#[test]
fn a_build_is_pushed_by_digest_or_without_a_copy() {
    let Some(kiln) = with_busybox("pushes") else { return };
    let registry = DockerRegistry::start();
    let (context, place) = (context(&kiln), kiln.scratch("outputs"));
    let metadata = place.join("metadata.json");
    let output = format!("type=image,name={}/untagged,push=true,push-by-digest=true,store=false", registry.address());
    kiln.build(&context, &["-o", &output, "--metadata-file", text(&metadata)]);
    let digest = json(&metadata)["containerimage.digest"].as_str().expect("digest").to_owned();
    assert_eq!(registry.manifest(&format!("untagged@{digest}"))["schemaVersion"], 2);
    let listed = kiln.ok(&["images", "-q"]).stdout;
    assert_eq!(listed.lines().count(), 1, "only the base image: {listed}");
    kiln.fails(&["build", "--push", text(&context)], &["tag is needed when pushing to registry"]);
    let gone = "127.0.0.1:9/app:1";
    kiln.fails(&["build", "--push", "-t", gone, text(&context)], &["failed to push 127.0.0.1:9/app:1"]);
}

#[test]
fn several_platforms_are_pushed_as_an_index() {
    if !is_root_for("pushes of several platforms") {
        return;
    }
    let kiln = Kiln::on_fresh_disk();
    let registry = DockerRegistry::start();
    let (context, files) = (kiln.scratch("context"), kiln.scratch("files"));
    fs::write(context.join("Dockerfile"), "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n")
        .expect("Dockerfile");
    for architecture in ["amd64", "arm64"] {
        fs::write(context.join(architecture), architecture).expect("file");
    }
    let (id, metadata, name) = (files.join("id"), files.join("metadata.json"), format!("{}/app:1", registry.address()));
    let annotations = ["index:a=index", "manifest[linux/arm64]:a=arm", "manifest-descriptor:a=entry"];
    let annotations: Vec<&str> = annotations.iter().flat_map(|annotation| ["--annotation", annotation]).collect();
    let flags = ["--platform", "linux/amd64,linux/arm64", "--push", "-t", &name];
    let told = ["--iidfile", text(&id), "--metadata-file", text(&metadata)];
    kiln.build(&context, &[&flags[..], &annotations, &told].concat());
    let index = registry.manifest("app:1");
    assert_eq!(index["annotations"]["a"], "index");
    let digest = fs::read_to_string(&id).expect("id");
    assert_eq!(json(&metadata)["containerimage.digest"], digest.as_str());
    assert_eq!(registry.manifest(&format!("app@{digest}")), index);
    for (place, architecture, annotation) in [(0, "amd64", Value::Null), (1, "arm64", "arm".into())] {
        let entry = &index["manifests"][place];
        assert_eq!(
            (&entry["platform"]["architecture"], &entry["annotations"]["a"]),
            (&architecture.into(), &"entry".into())
        );
        let manifest = registry.manifest(&format!("app@{}", entry["digest"].as_str().expect("digest")));
        assert_eq!(manifest["annotations"]["a"], annotation);
    }
    // All of it is in the store, and goes from there as it is.
    let other = format!("{}/other:1", registry.address());
    kiln.ok(&["tag", &name, &other]);
    kiln.ok(&["push", "-q", &other]);
    assert_eq!(registry.manifest("other:1"), index);
}

#[test]
fn all_stages_are_built_when_asked_for() {
    let Some(kiln) = with_busybox("all stages") else { return };
    let context = context(&kiln);
    let names =
        |flags: &[&str]| -> Vec<String> { kiln.build(&context, flags).iter().map(|step| step.name.clone()).collect() };
    let unneeded = |names: &[String]| names.iter().any(|name| name.contains("echo unneeded"));
    let wanted = names(&["-t", "app:1"]);
    assert!(!unneeded(&wanted), "{wanted:?}");
    let all = names(&["-t", "app:2", "--all-stages"]);
    assert!(unneeded(&all), "{all:?}");
    let ids = ["app:1", "app:2"].map(|name| kiln.ok(&["inspect", "--format", "{{.Id}}", name]).stdout);
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn outlines_and_targets_are_told_without_a_store() {
    let kiln = Kiln::new();
    let context = context(&kiln);
    let call = |call: &str, flags: &[&str]| {
        kiln.ok(&[&["build", "--call", call][..], flags, &[text(&context)]].concat()).stdout
    };
    assert_eq!(call("targets", &[]), "TARGET    DESCRIPTION\nbase      \nunneeded  \n(default) \n");
    assert_eq!(
        call("outline", &["--target", "unneeded", "--build-arg", "VERSION=2"]),
        "TARGET: unneeded\n\nBUILD ARG   VALUE   DESCRIPTION\nVERSION     2       is what to build\n\n"
    );
    let outline: Value = serde_json::from_str(&call("outline,format=json", &[])).expect("JSON");
    let version = &outline["args"][0];
    assert_eq!((&version["name"], &version["value"]), (&"VERSION".into(), &"1".into()));
    assert_eq!(version["location"]["ranges"][0]["start"]["line"], 3);
    let targets: Value = serde_json::from_str(&call("targets,format=json", &[])).expect("JSON");
    let names: Vec<&Value> =
        targets["targets"].as_array().expect("targets").iter().map(|target| &target["name"]).collect();
    assert_eq!(names, [&Value::from("base"), &Value::from("unneeded"), &Value::Null]);
    assert!(!kiln.root().exists(), "nothing needs a store to be told");
}

#[test]
fn findings_are_told_before_and_after_a_build() {
    let Some(kiln) = with_busybox("build checks") else { return };
    let context = kiln.scratch("context");
    let dockerfile = |text: &str| fs::write(context.join("Dockerfile"), text).expect("Dockerfile");
    dockerfile("FROM busybox\nCMD a\n");
    let path = text(&context);
    let told = " 1 warning found (use --check to expand):\n - JSONArgsRecommended: ";
    assert!(kiln.ok(&["build", path]).stderr.contains(told));
    assert!(!kiln.ok(&["build", "-q", path]).stderr.contains("warning"));
    let checked = kiln.fails(&["build", "--check", path], &[]);
    assert!(checked.stdout.starts_with("Check complete, 1 warning has been found!\n"), "{checked}");
    assert_eq!(kiln.ok(&["build", "--call=check,ignorestatus=true", path]).stdout, checked.stdout);
    let findings: Value =
        serde_json::from_str(&kiln.run(&["build", "--call=check,format=json", path]).stdout).expect("JSON");
    assert_eq!(findings["warnings"][0]["ruleName"], "JSONArgsRecommended");
    dockerfile("# check=error=true\nFROM busybox\nCMD a\n");
    kiln.fails(&["build", path], &["lint violation found for rules: JSONArgsRecommended"]);
    dockerfile("FROM busybox\nCMD [\"a\"]\n");
    assert_eq!(kiln.ok(&["build", "--check", path]).stdout, "Check complete, no warnings found.\n");
}

#[test]
fn variables_of_the_environment_count_as_docker_s_do() {
    let kiln = Kiln::new();
    let context = context(&kiln);
    let run = |name: &str, value: &str| {
        kiln_tests::kiln::answer(kiln.command(&["build", "--call=targets", text(&context)]).env(name, value))
    };
    for (name, value, words) in [
        ("BUILDX_BUILDER", "other", "no builder \"other\" found"),
        ("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "p.json", "does not enforce source policies"),
        ("BUILDKIT_PROGRESS", "loud", "invalid progress mode loud"),
        ("DOCKER_DEFAULT_PLATFORM", "no/such/platform/at/all", "invalid platform"),
        ("BUILDX_NO_DEFAULT_LOAD", "perhaps", "invalid BUILDX_NO_DEFAULT_LOAD"),
    ] {
        let answer = run(name, value);
        assert!(answer.code() == 1 && answer.stderr.contains(words), "{name}: {answer}");
    }
    let legacy = run("DOCKER_BUILDKIT", "0").succeeded();
    assert!(legacy.stderr.starts_with("WARNING: DOCKER_BUILDKIT=0"), "{legacy}");
}
