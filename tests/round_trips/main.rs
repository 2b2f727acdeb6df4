//! Images on their way between kiln and other tools: what one pushes or saves, the other pulls or loads, with the same
//! digest. The others are docker's registry, skopeo, podman, buildah and umoci.

mod archives;
mod peers;
mod registries;

use kiln_tests::kiln::Kiln;

/// An image with everything that a config holds, in three layers, and its name in the store.
const APP: &str = "FROM busybox\nRUN mkdir -p /data/sub && echo one > /data/one && ln /data/one /data/sub/same && \
    ln -s ../one /data/sub/link && chown 7:8 /data/one && chmod 4755 /data/one && rm /bin/vi\n\
    COPY Dockerfile /copied\nENV A=b\nLABEL l=\"x y\"\nEXPOSE 80/tcp\nVOLUME /vol\nUSER 7\nWORKDIR /data\n\
    STOPSIGNAL SIGUSR1\nHEALTHCHECK --interval=5s CMD true\nONBUILD RUN true\nENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [\"cat one\"]\n";

/// A store with the image under `name`; its id.
fn with_app(kiln: &Kiln, name: &str) -> String {
    kiln.load("busybox");
    let context = kiln.scratch("app");
    std::fs::write(context.join("Dockerfile"), APP).expect("Dockerfile");
    kiln.build(&context, &["-t", name]);
    id(kiln, name)
}

/// The id of an image in kiln's store.
#[track_caller]
fn id(kiln: &Kiln, name: &str) -> String {
    kiln.ok(&["image", "inspect", name, "--format", "{{.Id}}"]).stdout.trim().to_owned()
}

/// The digest of an image's manifest or index in kiln's store, as pulled into this repository.
#[track_caller]
fn digest(kiln: &Kiln, name: &str) -> String {
    let digests = kiln.ok(&["image", "inspect", name, "--format", "{{join .RepoDigests \"\\n\"}}"]).stdout;
    let (repository, _) = name.rsplit_once(':').expect("a name with a tag");
    let mut lines = digests.lines().filter_map(|line| line.strip_prefix(repository)?.strip_prefix('@'));
    lines.next().unwrap_or_else(|| panic!("{name} is not among {digests:?}")).to_owned()
}
