//! Token servers: logging in by them, identity tokens in place of passwords, tokens that run out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_tests::front::{Front, Guard, Reply, Request};
use kiln_tests::kiln::Kiln;
use kiln_tests::registry::Registry;

use crate::{ANN, docker_config, login, write_docker_config};

/// What a registry with a token server of its own at `/token` answers; `served` tokens were given out.
struct Issuer {
    /// Whether it gives identity tokens.
    lasting: bool,
    /// How many requests a token is good for.
    uses: usize,
    served: Arc<AtomicUsize>,
}

impl Issuer {
    fn guard(self) -> Guard {
        let used = AtomicUsize::new(0);
        Box::new(move |request| {
            if request.target.starts_with("/token") {
                return Some(self.token(request, &used));
            }
            let number = self.served.load(Ordering::SeqCst);
            let is_good = request.header("authorization") == Some(&format!("Bearer t{number}"));
            if is_good && used.fetch_add(1, Ordering::SeqCst) < self.uses {
                return (request.target == "/v2/").then(|| Reply::new(200));
            }
            let host = request.header("host").unwrap_or_default();
            let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"the registry\"");
            Some(Reply::new(401).header("WWW-Authenticate", &challenge))
        })
    }

    fn token(&self, request: &Request, used: &AtomicUsize) -> Reply {
        let form = String::from_utf8_lossy(&request.body);
        let by_password = request.header("authorization") == Some(&format!("Basic {ANN}"));
        let by_token = form.contains("grant_type=refresh_token") && form.contains("refresh_token=r1");
        if !by_password && !by_token {
            let said = r#"{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}"#;
            return Reply::new(401).body(said);
        }
        used.store(0, Ordering::SeqCst);
        let number = self.served.fetch_add(1, Ordering::SeqCst) + 1;
        let lasting = self.lasting && request.target.contains("offline_token=true");
        let refresh = if lasting { r#","refresh_token":"r1""# } else { "" };
        Reply::new(200).body(&format!(r#"{{"token":"t{number}","expires_in":3600{refresh}}}"#))
    }
}

fn issuer(lasting: bool, uses: usize) -> (Issuer, Arc<AtomicUsize>) {
    let served = Arc::new(AtomicUsize::new(0));
    (Issuer { lasting, uses, served: Arc::clone(&served) }, served)
}

#[test]
fn a_token_server_says_who_may_log_in() {
    let (kiln, front) = (Kiln::new(), Front::start(None, None, issuer(false, 9).0.guard()));
    let address = front.address();
    let refused = login(&kiln, &address, "wrong");
    let words = format!(
        "Error response from daemon: Get \"http://{address}/v2/\": unauthorized: incorrect username or password\n"
    );
    assert_eq!((refused.code(), refused.stderr), (1, words));
    login(&kiln, &address, "hunter2").succeeded();
    let token = front.lines().into_iter().rfind(|line| line.contains("/token")).expect("a token was asked for");
    assert_eq!(token, "GET /token?service=the+registry&offline_token=true&client_id=kiln&account=ann");
    assert!(docker_config(&kiln).contains(ANN));
}

#[test]
fn an_identity_token_takes_the_place_of_the_password() {
    let (kiln, registry) = (Kiln::new(), Registry::serve(&["busybox"]));
    let front = Front::start(Some(&registry.address()), None, issuer(true, 99).0.guard());
    let address = front.address();
    let answer = login(&kiln, &address, "hunter2").succeeded();
    assert_eq!(answer.stderr, "", "a token may lie in a file");
    let config = docker_config(&kiln);
    assert!(config.contains("\"auth\": \"YW5uOg==\"") && config.contains("\"identitytoken\": \"r1\""), "{config}");
    front.requests();
    kiln.ok(&["pull", "-q", &format!("{address}/library/busybox")]);
    let requests = front.requests();
    let tokens: Vec<&Request> = requests.iter().filter(|request| request.target.starts_with("/token")).collect();
    assert!(!tokens.is_empty());
    for token in tokens {
        let form = String::from_utf8_lossy(&token.body);
        assert_eq!((token.method.as_str(), token.header("authorization")), ("POST", None));
        assert!(form.contains("scope=repository%3Alibrary%2Fbusybox%3Apull"), "{form}");
    }
    assert!(!requests.iter().any(|request| format!("{request:?}").contains("hunter2")));
    let answer = kiln.fails(&["login", &address], &["non TTY device"]);
    assert_eq!(answer.code(), 1, "an identity token is no password to log in with again");
}

#[test]
fn tokens_that_run_out_are_asked_for_again() {
    let (kiln, registry) = (Kiln::new(), Registry::serve(&["busybox"]));
    let (issuer, served) = issuer(false, 1);
    let front = Front::start(Some(&registry.address()), None, issuer.guard());
    write_docker_config(&kiln, &format!(r#"{{"auths":{{"{}":{{"auth":"{ANN}"}}}}}}"#, front.address()));
    kiln.ok(&["pull", "-q", &format!("{}/library/busybox", front.address())]);
    assert!(served.load(Ordering::SeqCst) > 1, "each token was good for one request");
}
