//! `--htpasswd`.

use std::fs;
use std::path::PathBuf;

use kiln_tests::http::{Request, Response};
use kiln_tests::kiln::{Kiln, answer, fixture, tool};

use crate::peer::{Content, Peer, codes};

/// `ada` with the password `correct horse`: `htpasswd -nbB -C 4 ada 'correct horse'`.
const ADA: &str = "ada:$2y$04$cNu7dqca45d8llP.SLMm2OsdXuPx.EYM0355IKW/WAOe/y0uWSFlq\n";

/// `ada:correct horse`.
const RIGHT: &str = "Basic YWRhOmNvcnJlY3QgaG9yc2U=";

/// An htpasswd file.
pub(super) struct Users {
    directory: tempfile::TempDir,
}

impl Users {
    fn new(text: &str) -> Users {
        let users = Users { directory: tempfile::tempdir().expect("temporary directory") };
        fs::write(users.file(), text).expect("htpasswd");
        users
    }

    /// With `ada`, whose password is `correct horse`.
    pub(super) fn ada() -> Users {
        Users::new(ADA)
    }

    pub(super) fn flags(&self) -> [String; 2] {
        ["--htpasswd".to_owned(), self.file().to_str().expect("path in UTF-8").to_owned()]
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("htpasswd")
    }

    fn serve(&self) -> Peer {
        Peer::kiln_with(&self.flags().each_ref().map(String::as_str))
    }
}

#[track_caller]
fn assert_challenged(answer: &Response) {
    assert_eq!(answer.status, 401, "{answer}");
    let challenge = answer.header("www-authenticate").unwrap_or_else(|| panic!("no challenge: {answer}"));
    assert!(challenge.starts_with("Basic realm=\""), "{answer}");
}

#[test]
fn nothing_is_told_without_a_password() {
    let users = Users::new(ADA);
    let peer = users.serve();
    let repository = peer.repository();
    let digest = Content::layer(b"x").digest;
    let asked = [
        Request::new("GET", "/v2/"),
        Request::new("GET", "/v2/_catalog"),
        Request::new("GET", "/nothing"),
        repository.get_manifest("latest"),
        repository.get_blob(&digest),
        repository.request("GET", "tags/list"),
        repository.request("GET", &format!("referrers/{digest}")),
        repository.request("POST", "blobs/uploads/"),
        repository.request("PUT", "manifests/latest").body(b"{}"),
        repository.request("DELETE", "manifests/latest"),
    ];
    for request in asked {
        let answer = peer.send(&request);
        assert_challenged(&answer);
        assert_eq!(codes(&answer), ["UNAUTHORIZED"], "{answer}");
    }
    for wrong in ["Basic YWRhOndyb25n", "Basic Ym9iOmNvcnJlY3QgaG9yc2U=", "Bearer x", "Basic", "Basic %"] {
        assert_challenged(&peer.send(&Request::new("GET", "/v2/").header("Authorization", wrong)));
    }
}

#[test]
fn who_knows_the_password_pushes_and_pulls() {
    let users = Users::new(ADA);
    let peer = users.serve().authorized(RIGHT);
    let repository = peer.repository();
    let image = repository.push_image("latest", "a");
    assert!(peer.expect(200, &repository.get_manifest("latest")).body == image.bytes);
}

#[test]
fn skopeo_shows_its_credentials() {
    let users = Users::new(ADA);
    let peer = users.serve();
    let place = format!("docker://{}/library/busybox:1", peer.server().address);
    let source = format!("oci:{}", fixture("busybox").display());
    let copy = |credentials: &str| {
        let args = ["copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", credentials, &source, &place];
        answer(std::process::Command::new("skopeo").args(args))
    };
    assert!(!copy("ada:wrong").status.success());
    copy("ada:correct horse").succeeded();
    let raw = tool("skopeo", &["inspect", "--raw", "--tls-verify=false", "--creds", "ada:correct horse", &place]);
    assert!(raw.contains("layers"), "{raw}");
}

#[test]
fn a_changed_file_counts_from_the_next_request_on() {
    let users = Users::new(ADA);
    let peer = users.serve();
    let right = Request::new("GET", "/v2/").header("Authorization", RIGHT);
    peer.expect(200, &right);
    fs::write(users.file(), ADA.replace("ada", "bob")).expect("htpasswd");
    peer.expect(401, &right);
    fs::write(users.file(), ADA).expect("htpasswd");
    peer.expect(200, &right);
}

#[test]
fn files_that_are_no_use_are_refused_with_their_line() {
    let start = |text: &str, said: &[&str]| {
        let users = Users::new(text);
        let file = users.file();
        let file = file.to_str().expect("path in UTF-8");
        let said = Kiln::new().fails(&["registry", "serve", "--listen", "127.0.0.1:0", "--htpasswd", file], said);
        assert!(!said.stderr.contains("W6ph5Mm5"), "{said}");
    };
    start(&format!("{ADA}bob:{{SHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n"), &["htpasswd:2:", "bcrypt", "htpasswd -B"]);
    start("# nobody\n", &["has no users"]);
    Kiln::new().fails(&["registry", "serve", "--htpasswd", "/nowhere/users"], &["/nowhere/users"]);
}
