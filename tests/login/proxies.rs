//! Proxies: those of the environment and of `hosts.toml`, and who gets to see their passwords.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use kiln_tests::front::{Authority, Front, open};
use kiln_tests::kiln::{Kiln, answer};
use kiln_tests::registry::Registry;

use crate::configured;

/// A proxy that leads every `CONNECT` to one address.
struct Tunnels {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Tunnels {
    fn to(target: String) -> Tunnels {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port on loopback");
        let address = listener.local_addr().expect("address").to_string();
        let heads = Arc::new(Mutex::default());
        let seen = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (target, seen) = (target.clone(), Arc::clone(&seen));
                std::thread::spawn(move || tunnel(&stream, &target, &seen).unwrap_or_default());
            }
        });
        Tunnels { address, heads }
    }

    /// What was asked for since this was asked last.
    fn heads(&self) -> Vec<String> {
        std::mem::take(&mut *self.heads.lock().expect("heads"))
    }
}

fn tunnel(client: &TcpStream, target: &str, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    seen.lock().expect("heads").push(head);
    let server = TcpStream::connect(target)?;
    (&*client).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let back = std::thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Write);
    });
    io::copy(&mut reader, &mut &server)?;
    let _ = server.shutdown(Shutdown::Write);
    back.join().map_err(|_| io::Error::other("the way back"))
}

#[test]
fn a_registry_is_reached_through_the_proxy() {
    let (kiln, registry, authority) = (Kiln::new(), Registry::serve(&["busybox"]), Authority::new("mine"));
    let front = Front::start(Some(&registry.address()), Some(authority.server(&["a.example"], None)), open());
    let proxy = Tunnels::to(front.address());
    let directory = kiln.scratch("certs.d/a.example");
    std::fs::write(directory.join("ca.crt"), &authority.pem).expect("authority");
    let parent = directory.parent().expect("certs.d").display();
    let settings = configured(&kiln, &format!("[registries]\ncertificates = \"{parent}\"\nhosts = []\n"));
    let pull = |variables: &[(&str, String)]| {
        let mut command = kiln.command(&["pull", "-q", "a.example/library/busybox"]);
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"] {
            command.env_remove(name);
        }
        let variables = variables.iter().map(|(name, value)| (*name, value));
        answer(command.env("KILN_CONFIG", &settings).envs(variables))
    };
    let with_password = format!("http://bob:sesame@{}", proxy.address);
    pull(&[("HTTPS_PROXY", with_password.clone())]).succeeded();
    let heads = proxy.heads();
    assert!(!heads.is_empty());
    for head in heads {
        assert!(head.starts_with("CONNECT a.example:443 "), "{head}");
        // bob:sesame
        assert!(
            head.to_lowercase().contains("proxy-authorization: basic ym9iOnNlc2FtZQ==".to_lowercase().as_str()),
            "{head}"
        );
    }
    assert!(!front.requests().iter().any(|request| request.header("proxy-authorization").is_some()));
    pull(&[("https_proxy", format!("http://{}", proxy.address))]).succeeded();
    proxy.heads();
    let around = pull(&[("HTTPS_PROXY", with_password), ("NO_PROXY", "a.example".into())]);
    assert_eq!((around.code(), proxy.heads()), (1, Vec::new()), "{around}");
    assert!(!around.stderr.contains("sesame"), "{around}");
    let gone = pull(&[("HTTPS_PROXY", "http://bob:sesame@127.0.0.1:1".into())]);
    assert!(gone.code() == 1 && !gone.stderr.contains("sesame"), "{gone}");
}

#[test]
fn plain_http_goes_by_its_own_proxy_and_this_machine_by_none() {
    let (kiln, registry) = (Kiln::new(), Registry::serve(&["busybox"]));
    // A proxy is asked for whole addresses.
    let proxy = Front::start(Some(&registry.address()), None, {
        Box::new(|request| {
            request.target = request.target.strip_prefix("http://a.example").map(str::to_owned)?;
            None
        })
    });
    let settings = configured(&kiln, "[registry.\"a.example\"]\nmirrors = [\"http://a.example\"]\n");
    let pull = |name: &str| {
        let mut command = kiln.command(&["pull", "-q", name]);
        command.env("HTTP_PROXY", format!("http://{}", proxy.address())).env("KILN_CONFIG", &settings);
        answer(command.env_remove("NO_PROXY").env_remove("no_proxy"))
    };
    pull("a.example/library/busybox").succeeded();
    let asked = proxy.lines();
    assert!(asked.iter().any(|line| line.starts_with("GET http://a.example/v2/library/busybox/blobs/")), "{asked:?}");
    pull(&format!("{}/library/busybox", registry.address())).succeeded();
    assert_eq!(proxy.lines(), Vec::<String>::new());
}

#[test]
fn a_host_may_have_a_proxy_of_its_own() {
    let (kiln, registry, authority) = (Kiln::new(), Registry::serve(&["busybox"]), Authority::new("mine"));
    let front = Front::start(Some(&registry.address()), Some(authority.server(&["a.example"], None)), open());
    let proxy = Tunnels::to(front.address());
    let directory = kiln.scratch("hosts/a.example");
    let text = format!("server = \"https://a.example\"\nca = \"ca.pem\"\nproxy = \"http://{}\"\n", proxy.address);
    std::fs::write(directory.join("hosts.toml"), text).expect("hosts.toml");
    std::fs::write(directory.join("ca.pem"), &authority.pem).expect("authority");
    let parent = directory.parent().expect("hosts").display();
    let settings = configured(&kiln, &format!("[registries]\ncertificates = []\nhosts = \"{parent}\"\n"));
    let mut command = kiln.command(&["pull", "-q", "a.example/library/busybox"]);
    let command = command.env("KILN_CONFIG", &settings).env("HTTPS_PROXY", "http://127.0.0.1:1");
    answer(command.env("NO_PROXY", "a.example")).succeeded();
    assert!(!proxy.heads().is_empty());
}
