//! Whether there is a registry at all.

use kiln_tests::http::Request;

use crate::peer::Peer;
use crate::requirements;

requirements! {
    (Must, base_is_answered_by_200, "`GET /v2/` of a registry that implements the specification answers 200."),
}

fn base_is_answered_by_200(peer: &Peer) {
    peer.expect(200, &Request::new("GET", "/v2/"));
}
