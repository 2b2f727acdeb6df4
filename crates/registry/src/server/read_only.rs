//! A gate that lets nothing be changed.

use http::Method;
use http::header::ALLOW;
use http::request::Parts;

use super::answer::{Answer, With};
use super::hooks::{Gate, Hooked};
use super::refusal::{Code, Refusal};

/// Lets pass what only reads.
#[derive(Debug, Clone, Copy)]
pub struct ReadOnly;

impl Gate for ReadOnly {
    fn admit<'a>(&'a self, request: &'a Parts) -> Hooked<'a, Result<(), Answer>> {
        let reads = request.method == Method::GET || request.method == Method::HEAD;
        let refused = || Refusal::new(Code::Unsupported, "this registry can only be read");
        Box::pin(async move { if reads { Ok(()) } else { Err(refused().into_answer().with(ALLOW, "GET, HEAD")) } })
    }
}
