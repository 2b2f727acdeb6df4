//! A registry that takes blobs and manifests, as the distribution specification has it, and counts what it is sent.
//! A request that breaks off leaves what came of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use kiln_oci::Digest;

use crate::server::{Reply, Request};

/// What is stored; clones are the same storage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Storage(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) blobs: HashMap<String, Vec<u8>>,
    /// By their names in the path: digests and tags.
    pub(crate) manifests: HashMap<String, (String, Vec<u8>)>,
    /// The uploads under way, by number.
    pub(crate) uploads: HashMap<usize, Vec<u8>>,
    pub(crate) begun: usize,
    /// Bytes of blobs that came, whatever became of them.
    pub(crate) received: usize,
}

impl Storage {
    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap()
    }

    pub(crate) fn reply(&self, request: &Request) -> Reply {
        self.content().reply(request)
    }
}

impl Content {
    fn reply(&mut self, request: &Request) -> Reply {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let Some(rest) = path.strip_prefix("/v2/team/app/") else { return Reply::new(404) };
        match rest.split('/').collect::<Vec<_>>()[..] {
            ["blobs", "uploads", ""] => self.begin(),
            ["blobs", "uploads", number] => self.proceed(request, number.parse().unwrap(), query),
            ["blobs", digest] => match self.blobs.get(digest) {
                Some(bytes) => Reply::body(bytes.clone()),
                None => Reply::new(404),
            },
            ["manifests", name] => self.manifest(request, name),
            _ => Reply::new(404),
        }
    }

    fn begin(&mut self) -> Reply {
        self.begun += 1;
        self.uploads.insert(self.begun, Vec::new());
        self.status(202, self.begun)
    }

    fn status(&self, status: u16, number: usize) -> Reply {
        let last = self.uploads[&number].len().saturating_sub(1);
        let place = format!("/v2/team/app/blobs/uploads/{number}?state={last}");
        Reply::new(status).with("Location", place).with("Range", format!("0-{last}"))
    }

    fn proceed(&mut self, request: &Request, number: usize, query: &str) -> Reply {
        let Some(upload) = self.uploads.get_mut(&number) else { return Reply::new(404) };
        let out_of_order = request
            .header("content-range")
            .is_some_and(|range| range.split_once('-').unwrap().0.parse::<usize>().unwrap() != upload.len());
        if out_of_order {
            return self.status(416, number);
        }
        upload.extend_from_slice(&request.body);
        self.received += request.body.len();
        match request.method.as_str() {
            "GET" => self.status(204, number),
            "PATCH" => self.status(202, number),
            "DELETE" => {
                self.uploads.remove(&number);
                Reply::new(204)
            }
            _ if request.is_cut => Reply::nothing(),
            _ => self.finish(number, query),
        }
    }

    fn finish(&mut self, number: usize, query: &str) -> Reply {
        let bytes = self.uploads.remove(&number).unwrap();
        let digest = Digest::of(&bytes).to_string();
        if !query.replace("%3A", ":").contains(&format!("digest={digest}")) {
            return Reply::body(r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#).status(400);
        }
        self.blobs.insert(digest, bytes);
        Reply::new(201)
    }

    fn manifest(&mut self, request: &Request, name: &str) -> Reply {
        match request.method.as_str() {
            "PUT" => {
                let kept = (request.header("content-type").unwrap().to_owned(), request.body.clone());
                self.manifests.insert(Digest::of(&request.body).to_string(), kept.clone());
                self.manifests.insert(name.to_owned(), kept);
                Reply::new(201)
            }
            "DELETE" => Reply::new(if self.manifests.remove(name).is_some() { 202 } else { 404 }),
            _ => match self.manifests.get(name) {
                Some((kind, raw)) => Reply::body(raw.clone()).with("Content-Type", kind),
                None => Reply::new(404),
            },
        }
    }
}
