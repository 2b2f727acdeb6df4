//! Caches that travel: what one machine built, another one has; what nobody reads is not fetched; what is damaged or
//! gone elsewhere costs time, never a build.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_tests::counting_proxy::CountingProxy;
use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::is_root_for;
use kiln_tests::kiln::{Answer, Kiln, answer, tool};
use kiln_tests::running::Running;
use kiln_tests::s3::{BUCKET, S3Server};
use kiln_tests::steps::{executed, steps};
use kiln_tests::user::User;
use serde_json::Value;

/// Two stages: what the first one leaves behind is large and not part of the result.
const DOCKERFILE: &str = r#"FROM busybox AS build
WORKDIR /src
COPY input .
RUN --mount=type=cache,id=notes,target=/notes cat input >> /notes/seen && dd if=/dev/urandom of=large bs=1k count=300
RUN mkdir -p /out && cp input /out/made && date +%N >> /out/made
FROM busybox
RUN mkdir -p /data/old && echo first > /data/old/file
RUN rm -r /data/old && mkdir /data/old && date +%N > /data/stamp
COPY --link --from=build /out /out
RUN date +%N > /last
"#;

/// A project in a directory of its own; `epoch` are its files' times.
fn project(kiln: &Kiln, name: &str, dockerfile: &str, epoch: u64) -> PathBuf {
    let directory = kiln.scratch(name);
    for (file, text) in [("Dockerfile", dockerfile), ("input", "some input\n")] {
        let path = directory.join(file);
        fs::write(&path, text).expect("a file of the project");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(epoch);
        let file = fs::File::options().write(true).open(&path).expect("opened");
        file.set_modified(time).expect("its time");
    }
    directory
}

fn machine() -> Kiln {
    let kiln = Kiln::new();
    kiln.load("busybox");
    kiln
}

#[track_caller]
fn build(kiln: &Kiln, directory: &Path, flags: &[&str]) -> Answer {
    let mut args = vec!["build", "--progress", "plain"];
    args.extend(flags);
    args.push(directory.to_str().expect("path in UTF-8"));
    kiln.ok(&args)
}

#[track_caller]
fn ran(answer: &Answer) -> Vec<String> {
    executed(&steps(&answer.stderr)).into_iter().map(str::to_owned).collect()
}

#[track_caller]
fn image(kiln: &Kiln, name: &str) -> Value {
    let text = kiln.ok(&["inspect", name]).stdout;
    serde_json::from_str::<Value>(&text).expect("JSON")[0].clone()
}

/// One machine writes to `to`, another one has everything from `from`; the images are the same.
fn one_builds_and_the_other_has_it(to: &str, from: &str, environment: &[(&str, &str)]) {
    let run = |kiln: &Kiln, directory: &Path, flags: &[&str]| {
        let mut args = vec!["build", "--progress", "plain", "-t", "app"];
        args.extend(flags);
        args.push(directory.to_str().expect("path in UTF-8"));
        let mut command = kiln.command(&args);
        command.envs(environment.iter().copied());
        answer(&mut command).succeeded()
    };
    let (a, b) = (machine(), machine());
    let first = run(&a, &project(&a, "here", DOCKERFILE, 1_000_000_000), &["--cache-to", to]);
    assert_eq!(ran(&first).len(), 8, "{first}");
    let there = project(&b, "quite/elsewhere", DOCKERFILE, 1_500_000_000);
    let second = run(&b, &there, &["--cache-from", from]);
    assert_eq!(ran(&second), [""; 0], "{second}");
    assert!(second.stderr.contains("importing cache manifest from"), "{second}");
    assert_eq!(image(&a, "app")["Id"], image(&b, "app")["Id"]);
    // A last step that is another one runs, on what it needs, and the mount has what it had.
    let changed = DOCKERFILE
        .replace("cat input >> /notes/seen && dd", "cat input >> /notes/seen && cp /notes/seen /src/seen && dd");
    let changed = changed.replace("mkdir -p /out && cp input /out/made", "mkdir -p /out && cp seen /out/made");
    run(&b, &project(&b, "changed", &changed, 7), &["--cache-from", from]);
    let seen = b.ok(&["run", "--rm", "app", "cat", "/out/made"]).stdout;
    assert!(seen.starts_with("some input\nsome input\n"), "once on the first machine, once here: {seen:?}");
}

#[test]
fn a_directory_carries_a_cache() {
    let kiln = Kiln::new();
    let depot = kiln.scratch("depot");
    let (to, from) = (
        format!("type=local,dest={},mode=max,mounts=true", depot.display()),
        format!("type=local,src={},mounts=true", depot.display()),
    );
    one_builds_and_the_other_has_it(&to, &from, &[]);
}

#[test]
fn a_registry_carries_a_cache() {
    let registry = DockerRegistry::start();
    let name = format!("type=registry,ref={}/team/cache:main,mounts=true", registry.address());
    one_builds_and_the_other_has_it(&format!("{name},mode=max"), &name, &[]);
}

#[test]
fn a_bucket_carries_a_cache() {
    let server = S3Server::start();
    let bucket = format!("type=s3,bucket={BUCKET},region=us-east-1,prefix=team/,endpoint_url={}", server.url());
    // One writes with credentials of its environment, the other reads with those of the flag: any are right.
    let credentials = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
    let from = format!("{bucket},mounts=true,access_key_id=test,secret_access_key=test");
    one_builds_and_the_other_has_it(&format!("{bucket},mode=max,mounts=true"), &from, &credentials);
}

#[test]
fn only_what_is_read_is_fetched() {
    let registry = DockerRegistry::start();
    let proxy = CountingProxy::before(registry.address());
    let name = format!("{}/team/cache:main", proxy.address());
    let reference = format!("type=registry,ref={name}");
    let (a, b) = (machine(), machine());
    build(&a, &project(&a, "here", DOCKERFILE, 5), &["-t", "app", "--cache-to", &format!("{reference},mode=max")]);
    proxy.take();
    let there = project(&b, "there", DOCKERFILE, 6);
    let blobs = |asked: Vec<String>| -> BTreeSet<String> {
        asked.into_iter().filter(|line| line.starts_with("GET ") && line.contains("/blobs/")).collect()
    };
    let cached = build(&b, &there, &["--output", "type=cacheonly", "--cache-from", &reference]);
    assert_eq!(ran(&cached), [""; 0], "{cached}");
    let documents = blobs(proxy.take());
    assert_eq!(documents.len(), 1, "the list of records and nothing else: {documents:?}");
    // The last step is another one: of the layers only those below it come.
    let changed = DOCKERFILE.replace("> /last", "> /changed");
    let changed = build(&b, &project(&b, "changed", &changed, 7), &["-t", "app", "--cache-from", &reference]);
    assert_eq!(ran(&changed), ["RUN date +%N > /changed"], "{changed}");
    let fetched = blobs(proxy.take());
    assert_eq!(fetched.len(), 1 + 3, "the list, and three layers that busybox does not have: {fetched:?}");
    // The result as it was: one layer more.
    let whole = build(&b, &there, &["-t", "app", "--cache-from", &reference]);
    assert_eq!(ran(&whole), [""; 0], "{whole}");
    let fetched = blobs(proxy.take());
    assert_eq!(fetched.len(), 1 + 1, "the list, and the last step's layer: {fetched:?}");
    assert_eq!(image(&a, "app")["Id"], image(&b, "app")["Id"]);
    // What is here now needs no cache elsewhere.
    let again = build(&b, &there, &["-t", "app"]);
    assert_eq!(ran(&again).len(), 0, "{again}");
    // A second export finds everything there.
    proxy.take();
    let second = build(&b, &there, &["-t", "app", "--cache-from", &reference, "--cache-to", &reference]);
    assert!(second.stderr.contains("nothing new"), "{second}");
    assert!(!proxy.take().iter().any(|line| line.starts_with("PUT ") || line.starts_with("POST ")));
}

#[test]
fn of_eight_writers_at_once_all_are_read() {
    let registry = DockerRegistry::start();
    let reference = format!("type=registry,ref={}/team/cache", registry.address());
    let dockerfile = |number: usize| format!("FROM busybox\nRUN echo writer {number} > /number; date +%N >> /number\n");
    let writers: Vec<(Kiln, PathBuf)> = (0..8)
        .map(|number| {
            let kiln = machine();
            let directory = project(&kiln, "context", &dockerfile(number), 1);
            (kiln, directory)
        })
        .collect();
    let builds: Vec<Running> = writers
        .iter()
        .map(|(kiln, directory)| {
            let directory = directory.to_str().expect("path in UTF-8");
            Running::start(&mut kiln.command(&["build", "--progress", "plain", "--cache-to", &reference, directory]))
        })
        .collect();
    for build in builds {
        build.must_succeed();
    }
    let reader = machine();
    // One more, which takes over what all have left unless one of them, late enough to see the others, did already.
    let more = project(&reader, "more", "FROM busybox\nRUN echo more\n", 1);
    build(&reader, &more, &["--cache-to", &reference]);
    for number in 0..8 {
        let directory = project(&reader, &format!("context {number}"), &dockerfile(number), 2);
        let read = build(&reader, &directory, &["--cache-from", &reference, "-t", &format!("app:{number}")]);
        assert_eq!(ran(&read), [""; 0], "{number}: {read}");
    }
}

#[test]
fn what_is_damaged_or_gone_elsewhere_is_made_again() {
    let a = machine();
    let depot = a.scratch("depot");
    let to = format!("type=local,dest={},mode=max", depot.display());
    let from = format!("type=local,src={}", depot.display());
    build(&a, &project(&a, "here", DOCKERFILE, 5), &["-t", "app", "--cache-to", &to]);
    let blobs = || fs::read_dir(depot.join("blobs/sha256")).expect("blobs").map(|entry| entry.expect("blob").path());
    // Layers whose bytes changed, then layers that are gone; documents are as they were.
    let layers: Vec<PathBuf> =
        blobs().filter(|path| fs::read(path).expect("blob").starts_with(&[0x1f, 0x8b])).collect();
    assert!(layers.len() >= 6, "{layers:?}");
    for layer in &layers {
        let mut bytes = fs::read(layer).expect("layer");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs::remove_file(layer).expect("removed");
        fs::write(layer, bytes).expect("layer");
    }
    for what in ["damaged", "gone"] {
        let b = machine();
        let answer = build(&b, &project(&b, "there", DOCKERFILE, 6), &["-t", "app", "--cache-from", &from]);
        assert!(!ran(&answer).is_empty(), "{what}: {answer}");
        assert!(answer.stderr.contains("of a cache cannot be had"), "{what}: {answer}");
        assert_eq!(b.ok(&["run", "--rm", "app", "cat", "/data/stamp"]).stdout.lines().count(), 1);
        b.ok(&["system", "check"]);
        layers.iter().for_each(|layer| fs::remove_file(layer).unwrap_or_default());
    }
    // A step that runs, and not the result, is the first to read what is gone.
    let b = machine();
    let changed = DOCKERFILE.replace("> /last", "> /changed");
    let answer = build(&b, &project(&b, "there", &changed, 6), &["-t", "app", "--cache-from", &from]);
    assert!(ran(&answer).len() > 1, "{answer}");
    assert_eq!(b.ok(&["run", "--rm", "app", "cat", "/changed"]).stdout.lines().count(), 1);
    // Everything else.
    for path in blobs() {
        fs::write(&path, "nonsense").expect("blob");
    }
    let c = machine();
    let answer = build(&c, &project(&c, "there", DOCKERFILE, 6), &["-t", "app", "--cache-from", &from]);
    assert_eq!(ran(&answer).len(), 8, "{answer}");
    assert!(answer.stderr.contains("WARNING"), "{answer}");
}

#[test]
fn a_fold_leaves_out_what_is_gone_and_keeps_the_rest() {
    let a = machine();
    let depot = a.scratch("depot");
    let (to, from) = (format!("type=local,dest={}", depot.display()), format!("type=local,src={}", depot.display()));
    let dockerfile = |number: usize| format!("FROM busybox\nRUN echo {number} > /number; date +%N >> /number\n");
    let blobs = || -> BTreeSet<PathBuf> {
        let Ok(entries) = fs::read_dir(depot.join("blobs/sha256")) else { return BTreeSet::new() };
        entries.map(|entry| entry.expect("blob").path()).collect()
    };
    let mut of_the_second = BTreeSet::new();
    for number in 0..4 {
        let before = blobs();
        build(&a, &project(&a, &format!("{number}"), &dockerfile(number), 1), &["--cache-to", &to]);
        if number == 1 {
            of_the_second = blobs().difference(&before).cloned().collect();
        }
    }
    let layers = of_the_second.iter().filter(|path| fs::read(path).expect("blob").starts_with(&[0x1f, 0x8b]));
    let layers: Vec<&PathBuf> = layers.collect();
    assert_eq!(layers.len(), 1, "{of_the_second:?}");
    fs::remove_file(layers[0]).expect("removed");
    let folded = build(&a, &project(&a, "4", &dockerfile(4), 1), &["--cache-to", &to]);
    assert!(folded.stderr.contains("4 older entries folded"), "{folded}");
    let b = machine();
    for number in 0..5 {
        let read = build(&b, &project(&b, &format!("{number}"), &dockerfile(number), 2), &["--cache-from", &from]);
        assert_eq!(ran(&read).len(), usize::from(number == 1), "{number}: {read}");
    }
}

#[test]
fn what_is_no_cache_is_a_warning() {
    let kiln = machine();
    let directory = project(&kiln, "context", "FROM busybox\nRUN true\n", 1);
    let depot = kiln.scratch("buildkit");
    fs::write(depot.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("layout");
    let config = r#"{"layers":[],"records":[]}"#;
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"sha256:{}","size":{}}}]}}"#,
        "0".repeat(64),
        config.len()
    );
    fs::write(
        depot.join("index.json"),
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"latest"}}}}]}}"#,
            write_blob(&depot, index.as_bytes()),
            index.len()
        ),
    )
    .expect("index");
    let nowhere = "type=registry,ref=127.0.0.1:1/team/cache".to_owned();
    let empty = format!("type=local,src={}", kiln.scratch("empty").display());
    let buildkit = format!("type=local,src={}", depot.display());
    let flags = ["--cache-from", &nowhere, "--cache-from", &empty, "--cache-from", &buildkit];
    let answer = build(&kiln, &directory, &flags);
    for words in ["the cache 127.0.0.1:1/team/cache:latest is not used", "there is nothing", "BuildKit's own format"] {
        assert!(answer.stderr.contains(words), "{words:?}: {answer}");
    }
}

fn write_blob(depot: &Path, bytes: &[u8]) -> String {
    let directory = depot.join("blobs/sha256");
    fs::create_dir_all(&directory).expect("blobs");
    let temporary = directory.join("new");
    fs::write(&temporary, bytes).expect("blob");
    let digest = tool("sha256sum", &[temporary.to_str().expect("path in UTF-8")]);
    let digest = digest.split_whitespace().next().expect("a digest").to_owned();
    fs::rename(&temporary, directory.join(&digest)).expect("blob");
    format!("sha256:{digest}")
}

#[test]
fn a_cache_that_cannot_be_written_is_an_error_unless_it_may_be_ignored() {
    let kiln = machine();
    let directory = project(&kiln, "context", "FROM busybox\nRUN true\n", 1);
    let directory = directory.to_str().expect("path in UTF-8");
    let to = "type=registry,ref=127.0.0.1:1/team/cache";
    kiln.fails(&["build", "--cache-to", to, directory], &["cannot export the cache to 127.0.0.1:1/team/cache:latest"]);
    let answer = kiln.ok(&["build", "--cache-to", &format!("{to},ignore-error=true"), directory]);
    assert!(answer.stderr.contains("cannot export the cache"), "{answer}");
}

#[test]
fn an_image_carries_the_records_of_its_own_layers() {
    let registry = DockerRegistry::start();
    let name = format!("{}/team/app:1", registry.address());
    let (a, b) = (machine(), machine());
    build(&a, &project(&a, "here", DOCKERFILE, 5), &["-t", &name, "--push", "--cache-to", "type=inline"]);
    let there = project(&b, "there", DOCKERFILE, 6);
    let cached = build(&b, &there, &["-t", &name, "--cache-to", "type=inline", "--cache-from", &name]);
    assert_eq!(ran(&cached), [""; 0], "{cached}");
    assert_eq!(image(&a, &name)["Id"], image(&b, &name)["Id"]);
    // Without asking for it, the image has no records, and an image on top of it neither.
    let plain = build(&b, &there, &["-t", "plain", "--cache-from", &format!("type=registry,ref={name}")]);
    assert_eq!(ran(&plain).len(), 0, "{plain}");
    let member = "dev.kiln.cache.v1";
    let config = |name: &str| {
        let place = format!("docker://{name}");
        tool("skopeo", &["inspect", "--config", "--raw", "--tls-verify=false", &place])
    };
    assert!(config(&name).contains(member));
    let child = format!("FROM {name}\nLABEL a=b\n");
    let pushed = format!("{}/team/child:1", registry.address());
    build(&b, &project(&b, "child", &child, 1), &["-t", &pushed, "--push"]);
    assert!(!config(&pushed).contains(member));
}

#[test]
fn what_comes_out_the_same_is_known_by_its_content() {
    let dockerfile = |comment: &str| {
        format!(
            "FROM busybox AS build\nRUN : {comment}; echo same > /made\nFROM busybox\nCOPY --from=build /made /made\n\
             RUN date +%N > /stamp\n"
        )
    };
    let (a, b) = (machine(), machine());
    let depot = a.scratch("depot");
    let to = format!("type=local,dest={},mode=max", depot.display());
    let from = format!("type=local,src={}", depot.display());
    build(&a, &project(&a, "here", &dockerfile("one"), 5), &["-t", "app", "--cache-to", &to]);
    let other = build(&b, &project(&b, "there", &dockerfile("two"), 6), &["-t", "app", "--cache-from", &from]);
    assert_eq!(ran(&other), ["RUN : two; echo same > /made"], "{other}");
    assert_eq!(image(&a, "app")["RootFS"], image(&b, "app")["RootFS"]);
    // What came from elsewhere is known by its content afterwards, too.
    let later = build(&b, &project(&b, "later", &dockerfile("three"), 7), &["-t", "app"]);
    assert_eq!(ran(&later), ["RUN : three; echo same > /made"], "{later}");
    b.ok(&["system", "check"]);
}

#[test]
fn a_store_goes_and_comes_as_a_whole() {
    let (a, b) = (machine(), machine());
    let depot = a.scratch("depot");
    let depot = depot.to_str().expect("path in UTF-8");
    build(&a, &project(&a, "here", DOCKERFILE, 5), &["-t", "app"]);
    let exported = a.ok(&["cache", "export", depot, "--mounts", "--quiet"]);
    assert!(exported.stdout.starts_with("Exported 8 records"), "{exported}");
    let imported = b.ok(&["cache", "import", depot, "--mounts", "--quiet"]);
    assert!(imported.stdout.starts_with("Imported 8 records"), "{imported}");
    assert!(imported.stdout.contains("1 cache mounts"), "{imported}");
    let cached = build(&b, &project(&b, "there", DOCKERFILE, 6), &["-t", "app"]);
    assert_eq!(ran(&cached), [""; 0], "{cached}");
    assert_eq!(image(&a, "app")["Id"], image(&b, "app")["Id"]);
    let again = b.ok(&["cache", "import", depot, "--quiet"]);
    assert!(again.stdout.starts_with("Imported 0 records"), "{again}");
    // A part of it.
    let part = a.scratch("part");
    let part = part.to_str().expect("path in UTF-8");
    let exported = a.ok(&["cache", "export", part, "--target", "build", "--quiet"]);
    assert!(exported.stdout.starts_with("Exported 4 records"), "{exported}");
    let exported = a.ok(&["cache", "export", part, "--image", "app", "--quiet"]);
    assert!(exported.stdout.starts_with("Exported 4 records"), "{exported}");
    b.fails(&["cache", "import", b.scratch("empty").to_str().expect("path in UTF-8")], &["no cache that kiln wrote"]);
}

#[test]
fn stores_of_root_and_of_others_read_each_others_caches() {
    if !is_root_for("stores_of_root_and_of_others_read_each_others_caches") {
        return;
    }
    let root = machine();
    let user = Kiln::of(User::with_subordinate_ids());
    user.load("busybox");
    let (of_root, of_user) = (user.scratch("of root"), user.scratch("of the user"));
    // Root's files are to be read by the user.
    let to = format!("type=local,dest={},mode=max", of_root.display());
    build(&root, &project(&root, "here", DOCKERFILE, 5), &["-t", "app", "--cache-to", &to]);
    tool("chmod", &["-R", "a+rX", of_root.to_str().expect("path in UTF-8")]);
    let from = format!("type=local,src={}", of_root.display());
    let cached = build(&user, &project(&user, "there", DOCKERFILE, 6), &["-t", "app", "--cache-from", &from]);
    assert_eq!(ran(&cached), [""; 0], "{cached}");
    assert_eq!(image(&root, "app")["Id"], image(&user, "app")["Id"]);
    let listed = user.ok(&["run", "--rm", "app", "ls", "-A", "/data/old"]).stdout;
    assert_eq!(listed, "", "the directory was made anew");
    let other = DOCKERFILE.replace("first", "second");
    let to = format!("type=local,dest={},mode=max", of_user.display());
    build(&user, &project(&user, "other", &other, 7), &["-t", "other", "--cache-to", &to]);
    let from = format!("type=local,src={}", of_user.display());
    let cached = build(&root, &project(&root, "other", &other, 8), &["-t", "other", "--cache-from", &from]);
    assert_eq!(ran(&cached), [""; 0], "{cached}");
    assert_eq!(image(&root, "other")["Id"], image(&user, "other")["Id"]);
}

#[test]
fn a_cache_is_passed_on_without_being_used() {
    let (a, b, c) = (machine(), machine(), machine());
    let (first, second) = (a.scratch("depot"), b.scratch("depot"));
    let to = |depot: &Path| format!("type=local,dest={},mode=max", depot.display());
    let from = |depot: &Path| format!("type=local,src={}", depot.display());
    build(&a, &project(&a, "here", DOCKERFILE, 5), &["-t", "app", "--cache-to", &to(&first)]);
    let flags = ["--output", "type=cacheonly", "--cache-from", &from(&first), "--cache-to", &to(&second)];
    let passed = build(&b, &project(&b, "there", DOCKERFILE, 6), &flags);
    assert_eq!(ran(&passed), [""; 0], "{passed}");
    let flags = ["-t", "app", "--cache-from", &from(&second)];
    let read = build(&c, &project(&c, "third", DOCKERFILE, 7), &flags);
    assert_eq!(ran(&read), [""; 0], "{read}");
    assert_eq!(image(&a, "app")["Id"], image(&c, "app")["Id"]);
}

#[test]
fn what_one_cache_lost_another_one_gives() {
    let (a, b) = (machine(), machine());
    let (first, second) = (a.scratch("first"), a.scratch("second"));
    let here = project(&a, "here", DOCKERFILE, 5);
    let to = |depot: &Path| format!("type=local,dest={},mode=max", depot.display());
    build(&a, &here, &["-t", "app", "--cache-to", &to(&first), "--cache-to", &to(&second)]);
    for entry in fs::read_dir(first.join("blobs/sha256")).expect("blobs") {
        let path = entry.expect("blob").path();
        if fs::read(&path).expect("blob").starts_with(&[0x1f, 0x8b]) {
            fs::remove_file(path).expect("removed");
        }
    }
    let from = |depot: &Path| format!("type=local,src={}", depot.display());
    let flags = ["-t", "app", "--cache-from", &from(&first), "--cache-from", &from(&second)];
    let read = build(&b, &project(&b, "there", DOCKERFILE, 6), &flags);
    assert_eq!(ran(&read), [""; 0], "{read}");
    assert_eq!(image(&a, "app")["Id"], image(&b, "app")["Id"]);
}

#[test]
fn neither_secrets_nor_paths_travel() {
    let kiln = machine();
    let depot = kiln.scratch("depot");
    let dockerfile = "FROM busybox\nARG API_TOKEN\nCOPY input /\n\
        RUN --mount=type=secret,id=key --mount=type=cache,target=/cache grep -q h.sh-h.sh /run/secrets/key && touch /cache/x\n";
    let directory = project(&kiln, "a-place-of-its-own", dockerfile, 1);
    let secret = kiln.scratch("elsewhere").join("key");
    fs::write(&secret, "hush-hush\n").expect("secret");
    let flags = [
        "--secret",
        &format!("id=key,src={}", secret.display()),
        "--build-arg",
        "API_TOKEN=whisper-whisper",
        "--cache-to",
        &format!("type=local,dest={},mode=max,mounts=true", depot.display()),
    ];
    build(&kiln, &directory, &flags);
    let mut looked_at = 0;
    for entry in fs::read_dir(depot.join("blobs/sha256")).expect("blobs") {
        let blob = fs::File::open(entry.expect("blob").path()).expect("opened");
        let mut plain = Vec::new();
        let mut reader = kiln_images::compression::decompress(blob).expect("a known compression");
        std::io::Read::read_to_end(&mut reader, &mut plain).expect("bytes");
        let text = String::from_utf8_lossy(&plain);
        looked_at += usize::from(text.contains("\"recipes\""));
        for word in ["hush-hush", "whisper-whisper", "a-place-of-its-own", "elsewhere"] {
            assert!(!text.contains(word), "{word:?} is in {text}");
        }
    }
    assert_eq!(looked_at, 1, "the list of records");
}
