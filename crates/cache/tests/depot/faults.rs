//! A bad line to a good server: busy answers and connections that break. What is asked arrives all the same.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use kiln_cache::depot::Depot;

use crate::place::{UnderTest, layer, read, unite, write, writers_of};
use crate::registry::Place as Registry;
use crate::s3::S3Server;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    Pass,
    /// It never arrives; the answer has this status and asks to come again at once.
    Busy(u16),
    /// It arrives, and the answer breaks off after so many bytes.
    Cut(u64),
}

type Plan = Box<dyn FnMut(&str) -> Fate + Send>;

/// A relay to a server that treats requests as a plan says. Its threads end with the connections.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    /// The heads of all requests, and what became of them.
    heads: Arc<Mutex<Vec<(String, Fate)>>>,
}

impl Line {
    /// To `server` (`HOST:PORT`).
    pub(crate) fn to(server: &str, plan: impl FnMut(&str) -> Fate + Send + 'static) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (server, seen) = (server.to_owned(), Arc::clone(&heads));
        let plan = Arc::new(Mutex::new(Box::new(plan) as Plan));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (server, seen, plan) = (server.clone(), Arc::clone(&seen), Arc::clone(&plan));
                // A client that goes away in the middle is no fault of the test.
                std::thread::spawn(move || relay(stream, &server, &seen, &plan).unwrap_or_default());
            }
        });
        Line { address, heads }
    }

    pub(crate) fn heads(&self) -> Vec<(String, Fate)> {
        self.heads.lock().unwrap().clone()
    }
}

/// One request and its answer.
fn relay(mut client: TcpStream, server: &str, seen: &Mutex<Vec<(String, Fate)>>, plan: &Mutex<Plan>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let fate = (plan.lock().unwrap())(&head);
    seen.lock().unwrap().push((head.clone(), fate));
    let length = head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = (&client).take(length.unwrap_or(0));
    if let Fate::Busy(status) = fate {
        io::copy(&mut body, &mut io::sink())?;
        let head = format!("HTTP/1.1 {status} X\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        client.write_all(head.as_bytes())?;
        return client.shutdown(Shutdown::Both);
    }
    let mut upstream = TcpStream::connect(server)?;
    let (first, rest) = head.split_once("\r\n").unwrap();
    upstream.write_all(format!("{first}\r\nConnection: close\r\n{rest}").as_bytes())?;
    io::copy(&mut body, &mut upstream)?;
    let mut answer = upstream.take(if let Fate::Cut(after) = fate { after } else { u64::MAX });
    io::copy(&mut answer, &mut client)?;
    client.shutdown(Shutdown::Both)
}

/// Every third request is refused, in turn with the statuses of too many requests and of a server without time.
fn busy() -> impl FnMut(&str) -> Fate + Send {
    let mut count = 0;
    move |_| {
        count += 1;
        match count % 6 {
            0 => Fate::Busy(503),
            3 => Fate::Busy(429),
            _ => Fate::Pass,
        }
    }
}

async fn a_busy_server_is_asked_again(line: &Line, depot: &Depot) {
    let large = vec![9; 10 << 20];
    let entry = write(depot, "a", &[b"1", b"2", &large]).await;
    let united = unite(depot).await;
    assert_eq!((writers_of(&united), united.damaged.len()), (vec!["a".to_owned()], 0));
    assert_eq!(read(depot, &entry.blobs[2]).await.unwrap(), large);
    let refused = |status| line.heads().iter().filter(|(_, fate)| *fate == Fate::Busy(status)).count();
    assert!(refused(429) > 2 && refused(503) > 2, "{:?}", line.heads());
}

/// The answers to the first two requests for the large blob break off.
fn breaking() -> impl FnMut(&str) -> Fate + Send {
    let mut count = 0;
    move |head| {
        let is_blob = head.starts_with("GET") && head.contains("/blobs/") && !head.contains("uploads");
        count += u32::from(is_blob);
        if is_blob && count <= 2 { Fate::Cut(2 << 20) } else { Fate::Pass }
    }
}

async fn a_broken_download_is_taken_up_where_it_broke(line: &Line, depot: &Depot) {
    let large: Vec<u8> = (0..8u32 << 20).map(|number| (number >> 8) as u8).collect();
    let parcel = layer(&large);
    depot.put(&parcel).await.unwrap();
    assert!(read(depot, &parcel.descriptor).await.unwrap() == large);
    let heads = line.heads();
    let gets =
        heads.iter().filter(|(head, _)| head.starts_with("GET") && head.contains(parcel.descriptor.digest.hex()));
    let ranges = gets.map(|(head, _)| head.to_ascii_lowercase().contains("range: bytes="));
    assert_eq!(ranges.collect::<Vec<_>>(), [false, true, true], "{heads:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_over_a_bad_line() {
    let place = Registry::start(true);
    let line = Line::to(&place.address, busy());
    a_busy_server_is_asked_again(&line, &Registry::at(&line.address.to_string())).await;
    let line = Line::to(&place.address, breaking());
    a_broken_download_is_taken_up_where_it_broke(&line, &Registry::at(&line.address.to_string())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_over_a_bad_line() {
    let server = S3Server::start();
    let host = server.url().trim_start_matches("http://").to_owned();
    let depot = |line: &Line, prefix: &str| crate::bucket::Place::at(&format!("http://{} {prefix}", line.address));
    let line = Line::to(&host, busy());
    a_busy_server_is_asked_again(&line, &depot(&line, "busy/")).await;
    let line = Line::to(&host, breaking());
    a_broken_download_is_taken_up_where_it_broke(&line, &depot(&line, "breaking/")).await;
}
