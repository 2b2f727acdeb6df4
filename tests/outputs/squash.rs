//! `--squash`.

use std::path::Path;

use kiln_tests::docker_registry::DockerRegistry;
use kiln_tests::is_root_for;
use kiln_tests::kiln::{Kiln, tool};
use serde_json::Value;

use super::{context, text};

const DOCKERFILE: &str = "\
FROM busybox
RUN echo secret > /secret && echo first > /kept && chmod 640 /kept
RUN rm /secret /bin/ash && mkdir -p /new/below && echo second > /new/below/file
COPY file /new/file
RUN ln /new/file /new/link && rm -r /new/below
ENV A=b
";

/// Every path with kind, mode, size and links, and what files hold.
fn listing(tree: &Path) -> String {
    let list = format!("cd '{0}' && find . -mindepth 1 -printf '%P %y %m %s %n %l\\n' | LC_ALL=C sort", text(tree));
    let sums = format!("cd '{0}' && find . -type f -exec sha256sum {{}} + | LC_ALL=C sort -k2", text(tree));
    tool("sh", &["-c", &list]) + &tool("sh", &["-c", &sums])
}

#[test]
fn layers_of_a_build_become_one_and_the_files_stay() {
    if !is_root_for("squashing") {
        return;
    }
    let kiln = Kiln::on_fresh_disk();
    kiln.load("busybox");
    let registry = DockerRegistry::start();
    let context = context(&kiln, DOCKERFILE);
    let name = |tag: &str| format!("{}/app:{tag}", registry.address());
    kiln.build(&context, &["-t", &name("all"), "--push"]);
    kiln.build(&context, &["-t", &name("one"), "--push", "--squash"]);
    let digests = |tag: &str| -> Vec<Value> {
        let manifest = registry.manifest(&format!("app:{tag}"));
        manifest["layers"].as_array().expect("layers").iter().map(|layer| layer["digest"].clone()).collect()
    };
    let (all, one) = (digests("all"), digests("one"));
    assert_eq!((all.len(), one.len()), (5, 2));
    assert_eq!(all[0], one[0], "the base's layer is the same");
    let config = registry.config("app:one");
    assert_eq!(config["config"]["Env"][1], "A=b");
    let history = config["history"].as_array().expect("history");
    let made_layers = |entries: &[Value]| entries.iter().filter(|entry| entry["empty_layer"] != true).count();
    assert_eq!(made_layers(history), 2, "{history:#?}");
    assert_eq!(history.last().expect("history")["comment"], "4 layers squashed into one");

    // As another tool unpacks them; times of directories apart, the trees are equal.
    let place = kiln.scratch("place");
    let [tree_of_all, tree_of_one] = ["all", "one"].map(|tag| {
        let (layout, bundle) = (place.join(format!("layout-{tag}")), place.join(format!("bundle-{tag}")));
        let target = format!("oci:{}:{tag}", text(&layout));
        let source = format!("docker://{}", name(tag));
        tool("skopeo", &["copy", "--quiet", "--src-tls-verify=false", &source, &target]);
        tool("umoci", &["unpack", "--image", &format!("{}:{tag}", text(&layout)), text(&bundle)]);
        bundle.join("rootfs")
    });
    assert_eq!(listing(&tree_of_one), listing(&tree_of_all));
    assert!(tree_of_one.join("new/link").exists() && !tree_of_one.join("bin/ash").exists());
    // What was deleted again is in no layer.
    let blob =
        place.join("layout-one/blobs/sha256").join(one[1].as_str().expect("digest").trim_start_matches("sha256:"));
    let names = tool("tar", &["-tzf", text(&blob)]);
    assert!(!names.contains("secret") && !names.contains("below") && names.contains("bin/.wh.ash"), "{names}");

    // It is made once: the same again is the same image, and runs nothing.
    let id = |tag: &str| kiln.ok(&["image", "inspect", "-f", "{{.Id}}", &name(tag)]).stdout;
    let first = id("one");
    let again = kiln.build(&context, &["-t", &name("one"), "--squash"]);
    assert_eq!(kiln_tests::steps::executed(&again), Vec::<&str>::new());
    assert_eq!(id("one"), first);
    assert_eq!(kiln.ok(&["run", "--rm", &name("one"), "cat", "/kept"]).stdout, "first\n");
}
