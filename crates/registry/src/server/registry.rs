//! A registry: from a request to an answer.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, EXPECT};
use http::request::Parts;
use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::Semaphore;

use super::answer::{Answer, Body, With};
use super::hooks::{Gate, Upstream, Wanted};
use super::names::Repository;
use super::refusal::{Code, Refusal};
use super::route::Route;
use super::storage::{Storage, StorageError};
use super::turns::Turns;
use super::{blobs, listing, manifests, referrers, uploads};

/// How much of a request that was refused is read all the same, in bytes: many clients look for the answer only when
/// they have sent everything.
const REST: usize = 1 << 20;

/// How long that may take.
const REST_TIME: Duration = Duration::from_secs(2);

/// How many manifests that are not small may be in memory at once.
const LARGE_MANIFESTS: usize = 16;

/// Told of every failure of the storage.
pub type Report = dyn Fn(&StorageError) + Send + Sync;

/// A registry over a storage.
pub struct Registry {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) turns: Turns,
    /// For manifests that are not small.
    pub(super) places: Arc<Semaphore>,
    gates: Vec<Arc<dyn Gate>>,
    upstream: Option<Arc<dyn Upstream>>,
    report: Box<Report>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({} gates)", self.gates.len())
    }
}

/// Why a request gets no usual answer.
pub(super) enum Stop {
    Refused(Refusal),
    Failed(StorageError),
    /// Somebody else answered.
    Answered(Box<Answer>),
}

pub(super) type Handled = Result<Answer, Stop>;

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Stop::Failed(error)
    }
}

/// A request whose path was read.
pub(super) struct Asked {
    pub(super) head: Parts,
    /// Nobody took it as long as it is there.
    pub(super) body: Option<Body>,
}

impl Asked {
    pub(super) fn take_body(&mut self) -> Body {
        self.body.take().unwrap_or_default()
    }

    pub(super) fn query(&self) -> Option<&str> {
        self.head.uri.query()
    }
}

impl Registry {
    /// A registry without gates and without an upstream, which tells nobody of failures.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        let (turns, places) = (Turns::default(), Arc::new(Semaphore::new(LARGE_MANIFESTS)));
        Registry { storage, turns, places, gates: Vec::new(), upstream: None, report: Box::new(|_| {}) }
    }

    /// The same behind a further gate; requests pass gates in the order in which they were added.
    pub fn with_gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gates.push(gate);
        self
    }

    /// The same with a place where what it lacks comes from.
    pub fn with_upstream(mut self, upstream: Arc<dyn Upstream>) -> Self {
        self.upstream = Some(upstream);
        self
    }

    /// The same with somebody who is told of the storage's failures.
    pub fn with_report(mut self, report: Box<Report>) -> Self {
        self.report = report;
        self
    }

    /// Answers a request. What it changes is changed even if the returned future is dropped.
    pub async fn answer(self: &Arc<Self>, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        let mut asked = Asked { head, body: Some(body) };
        let handled = self.handle(&mut asked).await;
        let answer = handled.unwrap_or_else(|stop| match stop {
            Stop::Refused(refusal) => refusal.into_answer(),
            Stop::Answered(answer) => *answer,
            Stop::Failed(error) => {
                self.tell(&error);
                Refusal::from(&error).into_answer()
            }
        });
        drain(asked).await;
        answer.with(http::HeaderName::from_static("docker-distribution-api-version"), "registry/2.0")
    }

    async fn handle(self: &Arc<Self>, asked: &mut Asked) -> Handled {
        for gate in &self.gates {
            gate.admit(&asked.head).await.map_err(|answer| Stop::Answered(Box::new(answer)))?;
        }
        let route = Route::parse(asked.head.uri.path())?;
        let method = asked.head.method.clone();
        let reads = method == Method::GET || method == Method::HEAD;
        match &route {
            Route::Base if reads => Ok(super::answer::json(http::StatusCode::OK, &serde_json::json!({}))),
            Route::Catalog if reads => listing::catalog(self, &asked.head).await,
            Route::Tags(repository) if reads => listing::tags(self, &asked.head, repository).await,
            Route::Referrers(repository, digest) if reads => {
                referrers::list(self, &asked.head, repository, digest).await
            }
            Route::Blob(repository, digest) if reads => blobs::get(self, &asked.head, repository, digest).await,
            Route::Blob(repository, digest) if method == Method::DELETE => {
                blobs::delete(self, repository, digest).await
            }
            Route::Manifest(repository, name) if reads => manifests::get(self, &asked.head, repository, name).await,
            Route::Manifest(repository, name) if method == Method::PUT => {
                manifests::put(self, asked, repository, name).await
            }
            Route::Manifest(repository, name) if method == Method::DELETE => {
                manifests::delete(self, repository, name).await
            }
            Route::Uploads(repository) if method == Method::POST => uploads::begin(self, asked, repository).await,
            Route::Upload(repository, id) => match method {
                Method::GET | Method::HEAD => uploads::status(self, repository, id).await,
                Method::PATCH => uploads::append(self, asked, repository, id).await,
                Method::PUT => uploads::finish(self, asked, repository, id).await,
                Method::DELETE => uploads::cancel(self, repository, id).await,
                _ => Ok(not_allowed(&route)),
            },
            _ => Ok(not_allowed(&route)),
        }
    }

    /// Tells of a failure of the storage.
    pub(super) fn tell(&self, error: &StorageError) {
        (self.report)(error);
    }

    /// Lets the upstream bring something, if there is one.
    pub(super) async fn bring(&self, head: &Parts, repository: &Repository, wanted: Wanted<'_>) -> Result<(), Stop> {
        let Some(upstream) = &self.upstream else { return Ok(()) };
        upstream.bring(head, repository, wanted).await.map_err(|answer| Stop::Answered(Box::new(answer)))
    }

    /// The tags that the upstream tells, if there is one and it does.
    pub(super) async fn tags_elsewhere(&self, repository: &Repository) -> Result<Option<Vec<String>>, Stop> {
        let Some(upstream) = &self.upstream else { return Ok(None) };
        upstream.tags(repository).await.map_err(|answer| Stop::Answered(Box::new(answer)))
    }
}

fn not_allowed(route: &Route) -> Answer {
    let methods = match route {
        Route::Base | Route::Catalog | Route::Tags(_) | Route::Referrers(..) => "GET, HEAD",
        Route::Manifest(..) => "GET, HEAD, PUT, DELETE",
        Route::Blob(..) => "GET, HEAD, DELETE",
        Route::Uploads(_) => "POST",
        Route::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
    };
    Refusal::new(Code::Unsupported, "the method is not supported here").into_answer().with(ALLOW, methods)
}

/// Reads what is left of a request, unless its sender waits to be asked for it, or it is much.
async fn drain(asked: Asked) {
    let Some(mut body) = asked.body.filter(|_| !asked.head.headers.contains_key(EXPECT)) else { return };
    let read = async {
        let mut left = REST;
        while !body.is_end_stream()
            && let Some(Ok(frame)) = body.frame().await
        {
            let length = frame.data_ref().map_or(0, bytes::Bytes::len);
            left = match left.checked_sub(length) {
                Some(left) => left,
                None => return,
            };
        }
    };
    // Who is slower must look for the answer while it sends.
    let _ = tokio::time::timeout(REST_TIME, read).await;
}
