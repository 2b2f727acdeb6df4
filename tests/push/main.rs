//! `kiln push`: what is said, what is sent, and what other tools find in the registry.

mod gate;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_tests::counting_proxy::CountingProxy;
use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::kiln::{Kiln, answer, tool};

use gate::Gate;

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}

/// A context of as many layers as there are files.
fn context(kiln: &Kiln, files: &[&str]) -> PathBuf {
    let context = kiln.scratch("context");
    let mut dockerfile = "FROM scratch\n".to_owned();
    for file in files {
        fs::write(context.join(file), format!("content of {file}\n")).expect("file");
        dockerfile += &format!("COPY {file} /\n");
    }
    fs::write(context.join("Dockerfile"), dockerfile).expect("Dockerfile");
    context
}

/// What is said of the layers, without their digests.
fn outcomes(said: &str) -> Vec<&str> {
    let layers = said.lines().filter_map(|line| line.split_once(": "));
    let is_short = |word: &str| word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    layers.filter(|(word, _)| is_short(word)).map(|(_, outcome)| outcome).collect()
}

/// The names of all blobs of a store.
fn blobs(kiln: &Kiln) -> BTreeSet<String> {
    let listing = tool("find", &[text(&kiln.root().join("blobs")), "-type", "f", "-printf", "%f\n"]);
    listing.lines().map(str::to_owned).collect()
}

#[test]
fn what_a_registry_has_is_not_sent_and_no_layer_is_compressed_twice() {
    let kiln = Kiln::new();
    let registry = DockerRegistry::start();
    let proxy = CountingProxy::before(registry.address());
    let context = context(&kiln, &["one", "two", "three"]);
    let name = |name: &str| format!("{}/{name}", proxy.address());
    let uploads =
        || proxy.take().iter().filter(|asked| asked.starts_with("PUT /v2/") && asked.contains("/blobs/")).count();
    kiln.build(&context, &["-t", &name("app:1")]);

    let said = kiln.ok(&["push", &name("app:1")]).stdout;
    assert!(said.starts_with(&format!("The push refers to repository [{}]\n", name("app"))), "{said}");
    assert_eq!(outcomes(&said), ["Pushed"; 3]);
    // Three layers and the config.
    assert_eq!(uploads(), 4);
    let held = blobs(&kiln);

    assert_eq!(outcomes(&kiln.ok(&["push", &name("app:1")]).stdout), ["Layer already exists"; 3]);
    assert_eq!(uploads(), 0);
    kiln.ok(&["tag", &name("app:1"), &name("other/app")]);
    let mounted = kiln.ok(&["push", &name("other/app")]).stdout;
    assert!(mounted.starts_with("Using default tag: latest\n"), "{mounted}");
    assert_eq!(outcomes(&mounted), ["Mounted from app"; 3]);
    assert_eq!(uploads(), 1, "only the config");
    assert_eq!(registry.manifest("other/app"), registry.manifest("app:1"));
    assert_eq!(blobs(&kiln), held, "nothing was compressed again");

    // One layer more: of the new image only that is packed and sent.
    let context = context_with_more(&kiln, &context);
    kiln.build(&context, &["-t", &name("more:1")]);
    let mut more =
        outcomes(&kiln.ok(&["push", &name("more:1")]).stdout).into_iter().map(str::to_owned).collect::<Vec<_>>();
    more.sort();
    assert_eq!(more.pop().as_deref(), Some("Pushed"), "{more:?}");
    assert!(more.iter().all(|outcome| outcome.starts_with("Mounted from ")) && more.len() == 3, "{more:?}");
    assert_eq!(uploads(), 2, "a layer and a config");
}

fn context_with_more(kiln: &Kiln, context: &Path) -> PathBuf {
    let dockerfile = fs::read_to_string(context.join("Dockerfile")).expect("Dockerfile");
    fs::write(context.join("Dockerfile"), dockerfile + "COPY four /\n").expect("Dockerfile");
    fs::write(context.join("four"), "four").expect("file");
    kiln.scratch("context")
}

#[test]
fn layers_are_uploaded_at_the_same_time() {
    let kiln = Kiln::new();
    // No upload ends before three of them have begun.
    let gate = Gate::start(3);
    let name = format!("{}/app:1", gate.address());
    kiln.build(&context(&kiln, &["one", "two", "three"]), &["-t", &name]);
    let said = kiln.ok(&["push", &name]).stdout;
    assert_eq!(outcomes(&said), ["Pushed"; 3]);
}

#[test]
fn all_tags_of_a_repository_are_pushed() {
    let kiln = Kiln::new();
    let registry = DockerRegistry::start();
    let context = context(&kiln, &["one"]);
    let name = |name: &str| format!("{}/{name}", registry.address());
    for tag in ["b", "a"] {
        kiln.build(&context, &["-o", &format!("type=image,name={},name-canonical=true", name(&format!("app:{tag}")))]);
    }
    kiln.ok(&["tag", &name("app:a"), &name("another:c")]);
    let said = kiln.ok(&["push", "-a", &name("app")]).stdout;
    let tags: Vec<&str> = said.lines().filter_map(|line| line.split_once(": digest: ")).map(|(tag, _)| tag).collect();
    assert_eq!(tags, ["a", "b"], "{said}");
    assert!(!said.contains("Using default tag"), "{said}");
    assert_eq!(registry.manifest("app:a"), registry.manifest("app:b"));
    assert_eq!(kiln.ok(&["push", "--quiet", "--all-tags", &name("app")]).stdout, name("app\n"));
    assert_eq!(kiln.ok(&["push", "--quiet", &name("app:a")]).stdout, name("app:a\n"));
    let listed = tool("skopeo", &["list-tags", "--tls-verify=false", &format!("docker://{}", name("app"))]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let mut listed: Vec<&str> =
        listed["Tags"].as_array().expect("tags").iter().filter_map(|tag| tag.as_str()).collect();
    listed.sort_unstable();
    assert_eq!(listed, ["a", "b"]);
}

#[test]
fn what_is_pushed_can_be_pulled_by_others_and_is_known_by_its_digest() {
    let (kiln, other) = (Kiln::new(), Kiln::new());
    let registry = DockerRegistry::start();
    let name = format!("{}/app:1", registry.address());
    kiln.build(&context(&kiln, &["one", "two"]), &["-t", &name]);
    let digests = |kiln: &Kiln| kiln.ok(&["image", "inspect", "-f", "{{json .RepoDigests}}", &name]).stdout;
    assert_eq!(digests(&kiln).trim(), "[]");
    let said = kiln.ok(&["push", &name]).stdout;
    let digest = said.split("digest: ").nth(1).and_then(|rest| rest.split(' ').next()).expect("digest").to_owned();
    assert_eq!(digests(&kiln).trim(), format!("[\"{}/app@{digest}\"]", registry.address()));
    let theirs =
        tool("skopeo", &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &format!("docker://{name}")]);
    assert_eq!(theirs.trim(), digest);
    other.ok(&["pull", "-q", &name]);
    let id = |kiln: &Kiln| kiln.ok(&["image", "inspect", "-f", "{{.Id}}", &name]).stdout;
    assert_eq!(id(&other), id(&kiln));
    // It goes on from there as it came.
    let on = format!("{}/on:1", registry.address());
    other.ok(&["tag", &name, &on]);
    assert!(other.ok(&["push", &on]).stdout.contains(&digest));
}

#[test]
fn an_index_that_is_here_with_all_its_platforms_goes_on_as_it_came() {
    let (kiln, other) = (Kiln::new(), Kiln::new());
    let registry = DockerRegistry::start();
    let name = |name: &str| format!("{}/{name}", registry.address());
    let both = ["--platform", "linux/amd64,linux/arm64", "--annotation", "index:a=b"];
    kiln.build(&context(&kiln, &["one"]), &[&["-t", &name("app:1"), "--push"][..], &both].concat());
    let index = registry.manifest("app:1");
    other.ok(&["pull", "-q", "--platform", "linux/arm64", &name("app:1")]);
    other.ok(&["tag", &name("app:1"), &name("half:1")]);
    let said = other.ok(&["push", &name("half:1")]).stderr;
    assert!(said.contains("only the available single-platform image was pushed"), "{said}");
    let arm = index["manifests"][1]["digest"].as_str().expect("digest");
    assert_eq!(registry.manifest("half:1"), registry.manifest(&format!("app@{arm}")));
    other.ok(&["pull", "-q", "--platform", "linux/amd64", &name("app:1")]);
    other.ok(&["tag", &name("app:1"), &name("whole:1")]);
    let said = other.ok(&["push", &name("whole:1")]).stderr;
    assert_eq!((registry.manifest("whole:1"), said.as_str()), (index.clone(), ""));
    // Through an archive, too.
    let (archive, last) = (other.scratch("archive").join("saved.tar"), Kiln::new());
    other.ok(&["save", "-o", text(&archive), &name("whole:1")]);
    last.ok(&["load", "-i", text(&archive)]);
    last.ok(&["tag", &name("whole:1"), &name("again:1")]);
    last.ok(&["push", "-q", &name("again:1")]);
    assert_eq!(registry.manifest("again:1"), index);
}

#[test]
fn a_registry_that_is_declared_insecure_may_do_without_tls() {
    let kiln = Kiln::new();
    // It is this name's only address, and knows no TLS.
    let gate = Gate::start(1);
    let proxy = format!("http://{}", gate.address());
    let context = context(&kiln, &["one"]);
    let build = |options: &str| {
        let output = format!("type=registry,name=registry.example/app:1{options}");
        let mut command = kiln.command(&["build", "-o", &output, text(&context)]);
        for variable in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            command.env(variable, &proxy);
        }
        answer(command.env("NO_PROXY", "").env("no_proxy", ""))
    };
    let refused = build("");
    assert!(!refused.status.success() && refused.stderr.contains("failed to push registry.example/app:1"), "{refused}");
    build(",registry.insecure=true").succeeded();
}
