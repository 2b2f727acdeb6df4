//! Connections: taking them, serving HTTP on them, ending them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::registry::Registry;
use super::stalled::Impatient;

/// How long a client may take to send the head of a request, or to send another.
const HEAD_TIME: Duration = Duration::from_secs(60);

/// How long a client may take to greet in TLS.
const GREETING_TIME: Duration = Duration::from_secs(10);

/// How long a client may read nothing of an answer.
const STALL_TIME: Duration = Duration::from_secs(60);

/// How long to wait when no connection can be taken, for instance for lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Bytes of a connection that are read ahead.
const BUFFER: usize = 64 * 1024;

/// How a registry is served.
#[derive(Clone)]
pub struct Serving {
    /// What makes connections secure; `None` for plain HTTP.
    pub tls: Option<TlsAcceptor>,
    /// How many connections there may be at once; more wait.
    pub connections: usize,
    /// How long requests may go on after the end was asked for.
    pub grace: Duration,
}

impl Default for Serving {
    fn default() -> Self {
        Serving { tls: None, connections: 1024, grace: Duration::from_secs(10) }
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Serving(TLS: {}, {} connections)", self.tls.is_some(), self.connections)
    }
}

/// Serves a registry until `end` returns; then requests that were begun may come to their end.
pub async fn serve(registry: Arc<Registry>, listener: TcpListener, serving: Serving, end: impl Future<Output = ()>) {
    let (ending, _) = watch::channel(false);
    let places = Arc::new(Semaphore::new(serving.connections));
    let mut connections = JoinSet::new();
    let mut end = std::pin::pin!(end);
    loop {
        let taken = tokio::select! {
            () = &mut end => break,
            taken = take(&listener, &places) => taken,
        };
        while connections.try_join_next().is_some() {}
        match taken {
            Ok((stream, place)) => {
                let (registry, tls, ending) = (Arc::clone(&registry), serving.tls.clone(), ending.subscribe());
                connections.spawn(async move {
                    connection(registry, stream, tls, ending).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    drop(listener);
    ending.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(serving.grace, all).await.is_err() {
        connections.shutdown().await;
    }
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn take(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<(TcpStream, Place)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _): (TcpStream, SocketAddr) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

async fn connection(
    registry: Arc<Registry>,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    ending: watch::Receiver<bool>,
) {
    match tls {
        None => requests(registry, stream, ending).await,
        Some(tls) => {
            // Who does not greet, or not in TLS, is not told why.
            if let Ok(Ok(stream)) = tokio::time::timeout(GREETING_TIME, tls.accept(stream)).await {
                requests(registry, stream, ending).await;
            }
        }
    }
}

async fn requests(
    registry: Arc<Registry>,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    mut ending: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let registry = Arc::clone(&registry);
        async move {
            let request = request.map(|body| body.map_err(io::Error::other).boxed_unsync());
            Ok::<_, std::convert::Infallible>(registry.answer(request).await)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(BUFFER);
    let connection = http.serve_connection(TokioIo::new(Impatient::new(stream, STALL_TIME)), service);
    let mut connection = std::pin::pin!(connection);
    // How a connection ends is the client's business.
    tokio::select! {
        _ = &mut connection => return,
        _ = ending.wait_for(|ending| *ending) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
