//! Registries that send the wrong thing, the right thing wrongly, or the same for ever: each pull and push ends soon
//! with an error that says what was wrong and where, and leaves nothing behind.

mod bytes;
mod circles;
mod documents;
mod pushes;

use kiln_tests::kiln::{Answer, Kiln};
use kiln_tests::misbehaving::{Content, Misbehaving, Reply, Request};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn busybox() -> Content {
    Content::of("busybox")
}

/// Whether a request asks for the bytes of the image's layer: its largest blob.
fn is_for_layer(request: &Request, reply: &Reply) -> bool {
    request.is_for_blob() && reply.body.len() > 10_000
}

/// Pulls, which must fail with all of `words` and the server's address, and leave no image.
#[track_caller]
fn refused(server: &Misbehaving, words: &[&str]) -> Answer {
    let kiln = Kiln::new();
    let answer = kiln.fails(&["pull", &server.image()], words);
    assert_eq!(answer.code(), 1, "{answer}");
    assert!(answer.stderr.contains(&server.address()), "{answer}");
    assert_eq!(kiln.ok(&["images", "--quiet", &server.image()]).stdout, "");
    answer
}

/// Pulls what such a registry serves.
#[track_caller]
fn refused_when(manner: impl FnMut(&Request, Reply) -> Reply + Send + 'static, words: &[&str]) -> Misbehaving {
    let server = Misbehaving::serve(busybox(), manner);
    refused(&server, words);
    server
}

/// Pulls this, served without fault.
#[track_caller]
fn refused_content(content: Content, words: &[&str]) -> Misbehaving {
    let server = Misbehaving::serve(content, |_, reply| reply);
    refused(&server, words);
    server
}

fn blobs_asked(server: &Misbehaving) -> usize {
    server.requests().iter().filter(|request| request.is_for_blob()).count()
}

#[test]
fn one_that_behaves_is_pulled_from() {
    let server = Misbehaving::serve(busybox(), |_, reply| reply);
    let kiln = Kiln::new();
    kiln.ok(&["pull", &server.image()]);
    assert_eq!(kiln.ok(&["images", "--quiet"]).stdout.lines().count(), 1);
}

#[test]
fn a_build_on_what_it_serves_fails_as_a_pull_does() {
    let server = Misbehaving::serve(busybox(), |request, mut reply| {
        if is_for_layer(request, &reply) {
            reply.body[20_000] ^= 1;
        }
        reply
    });
    let kiln = Kiln::new();
    let context = kiln.scratch("context");
    std::fs::write(context.join("Dockerfile"), format!("FROM {}\nRUN true\n", server.image())).expect("Dockerfile");
    let context = context.to_str().expect("UTF-8");
    let answer = kiln.fails(&["build", "--tag", "app", context], &["sent wrong bytes", &server.address()]);
    assert_eq!(answer.code(), 1, "{answer}");
    assert_eq!(kiln.ok(&["images", "--quiet", "app"]).stdout, "");
}
