//! How the server ends: requests come to their end, those that do not are cut off, and what they sent is kept.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use kiln_tests::http::{Request, Server};
use kiln_tests::kiln::Kiln;
use kiln_tests::kiln_registry::KilnRegistry;
use kiln_tests::running::wait_until;
use rustix::process::{Pid, Signal, kill_process};

use crate::script::digest;

fn begin(server: &Server) -> String {
    let begun = server.send(&Request::new("POST", "/v2/a/blobs/uploads/"));
    begun.header("location").expect("a location").to_owned()
}

/// A request on its way: its head and this much of its body were sent.
fn start(server: &Server, request: &str, length: usize, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let head = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("the request's beginning");
    stream
}

/// Waits until the server took connections and bytes: the file of the upload has them once the sender stops.
fn size(kiln: &Kiln, location: &str) -> u64 {
    let id = location.rsplit('/').next().expect("an id");
    std::fs::metadata(kiln.root().join("uploads").join(id)).map_or(0, |found| found.len())
}

fn refuses(server: &Server) -> bool {
    TcpStream::connect(&server.address).is_err()
}

#[test]
fn a_request_that_was_begun_comes_to_its_end() {
    let kiln = Kiln::new();
    let served = KilnRegistry::start(&kiln, &["--grace", "60s"]);
    let (server, pid) = (served.server().clone(), served.pid());
    let location = begin(&server);
    // More than is gathered before it is written: when it is in the file, the server is at it.
    let large = vec![b'x'; 1 << 20];
    let whole = [large.as_slice(), b"abcdef"].concat();
    let target = format!("PUT {location}?digest={}", digest(&whole));
    let mut stream = start(&server, &target, whole.len(), &large);
    wait_until("the upload's first bytes", || size(&kiln, &location) > 0);
    kill_process(Pid::from_raw(pid as i32).expect("a process"), Signal::TERM).expect("a signal");
    wait_until("the end of listening", || refuses(&server));
    stream.write_all(b"abcdef").expect("the rest");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(served.wait().success(), "it ended otherwise");
}

#[test]
fn a_request_that_does_not_end_is_cut_off_and_goes_on_with_the_next_server() {
    let kiln = Kiln::new();
    let served = KilnRegistry::start(&kiln, &["--grace", "0"]);
    let location = begin(served.server());
    let large = vec![b'x'; 1 << 20];
    let stream = start(served.server(), &format!("PATCH {location}"), 2 << 20, &large);
    wait_until("the upload's first bytes", || size(&kiln, &location) > 0);
    assert!(served.signal(Signal::INT).success(), "it ended otherwise");
    drop(stream);

    let served = KilnRegistry::start(&kiln, &[]);
    let status = served.server().send(&Request::new("GET", &location));
    let range = status.header("range").expect("a range").to_owned();
    let end: usize = range.strip_prefix("0-").and_then(|end| end.parse().ok()).expect("an end");
    let rest = &large[end + 1..];
    let target = format!("{location}?digest={}", digest(&large));
    let put = Request::new("PUT", &target).header("Content-Range", &format!("{}-{}", end + 1, large.len() - 1));
    let put = if rest.is_empty() { Request::new("PUT", &target) } else { put.body(rest) };
    assert_eq!(served.server().send(&put).status, 201);
}

#[test]
fn a_port_that_is_taken_is_told() {
    let kiln = Kiln::new();
    let served = KilnRegistry::start(&kiln, &[]);
    let address = served.address().to_owned();
    let other = Kiln::new();
    other.fails(&["registry", "serve", "--listen", &address], &["cannot listen on", &address]);
}
