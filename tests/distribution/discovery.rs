//! Listing tags.

use kiln_tests::http::{Request, Response};
use serde_json::json;

use crate::peer::{Peer, Repository};
use crate::requirements;

requirements! {
    (Must, tags_are_listed, "A GET of `tags/list` answers 200 with a JSON body of `name` and `tags`."),
    (Must, tags_are_in_order, "The tags are in lexical order."),
    (Must, case_does_not_count_in_the_order, "Lexical order means: whether letters are capitals does not count."),
    (Must, tags_of_an_unknown_repository_are_404, "The tags of a repository that does not exist answer 404."),
    (May, repository_without_tags_has_an_empty_list, "A repository without tags answers 200 with an empty list."),
    (Must, n_limits_the_list, "With `n` the answer has so many tags, from the first."),
    (Must, n_beyond_the_number_of_tags_gives_all, "With `n` larger than the number of tags the answer has all, and no `Link`."),
    (Must, n_of_zero_gives_none, "With `n=0` the answer is an empty list, without `Link`."),
    (Must, link_leads_to_the_rest, "`Link`, where there is one, is as RFC 5988 has it, with `rel=\"next\"`; following it gives every tag once, in order."),
    (Kiln, link_is_there_when_more_tags_are, "`Link` is there exactly when there are more tags."),
    (Must, last_begins_after_a_tag, "With `last` the list begins after this tag."),
    (Must, last_works_without_n, "With `last` and no `n` the answer has the tags after it."),
    (Must, last_need_not_exist, "`last` may be a tag that is not there: the list begins where it would be."),
    (Kiln, n_that_is_no_number_is_refused, "An `n` that is no number answers 400."),
}

/// A repository with these tags, pushed in this order.
fn tagged<'a>(peer: &'a Peer, tags: &[&str]) -> Repository<'a> {
    let repository = peer.repository();
    let image = repository.image("a");
    for tag in tags {
        repository.push(tag, &image);
    }
    repository
}

const SOME: &[&str] = &["delta", "alpha", "echo", "charlie", "bravo"];

fn list(repository: &Repository<'_>, query: &str) -> Response {
    repository.peer.expect(200, &repository.request("GET", &format!("tags/list{query}")))
}

#[track_caller]
fn assert_tags(answer: &Response, expected: &[&str]) {
    assert_eq!(answer.json()["tags"], json!(expected), "{answer}");
}

/// Where `Link` leads: `<URL>; rel="next"`.
#[track_caller]
pub(crate) fn next(peer: &Peer, answer: &Response) -> Option<String> {
    let link = answer.header("link")?;
    let (url, parameters) = link.strip_prefix('<').and_then(|rest| rest.split_once('>')).unwrap_or_default();
    assert!(parameters.trim_start_matches([';', ' ']).replace('"', "") == "rel=next", "{answer}");
    let host = format!("http://{}", peer.server().address);
    let path = url.strip_prefix(&host).unwrap_or(url);
    assert!(path.starts_with('/'), "{answer}");
    Some(path.to_owned())
}

fn tags_are_listed(peer: &Peer) {
    let repository = tagged(peer, &["one"]);
    let answer = list(&repository, "");
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json")), "{answer}");
    assert_eq!(answer.json(), json!({"name": repository.name, "tags": ["one"]}), "{answer}");
}

fn tags_are_in_order(peer: &Peer) {
    let repository = tagged(peer, SOME);
    assert_tags(&list(&repository, ""), &["alpha", "bravo", "charlie", "delta", "echo"]);
    let repository = tagged(peer, &["v2", "v10", "v1"]);
    assert_tags(&list(&repository, ""), &["v1", "v10", "v2"]);
}

fn case_does_not_count_in_the_order(peer: &Peer) {
    let repository = tagged(peer, &["b", "D", "A", "c"]);
    assert_tags(&list(&repository, ""), &["A", "b", "c", "D"]);
    assert_tags(&list(&repository, "?n=2&last=A"), &["b", "c"]);
    assert_tags(&list(&repository, "?last=c"), &["D"]);
}

fn tags_of_an_unknown_repository_are_404(peer: &Peer) {
    peer.expect(404, &peer.repository().request("GET", "tags/list"));
}

fn repository_without_tags_has_an_empty_list(peer: &Peer) {
    let repository = peer.repository();
    let image = repository.image("a");
    repository.push(&image.digest, &image);
    assert_tags(&list(&repository, ""), &[]);
}

fn n_limits_the_list(peer: &Peer) {
    let repository = tagged(peer, SOME);
    assert_tags(&list(&repository, "?n=2"), &["alpha", "bravo"]);
    assert_tags(&list(&repository, "?n=5"), &["alpha", "bravo", "charlie", "delta", "echo"]);
}

fn n_beyond_the_number_of_tags_gives_all(peer: &Peer) {
    let repository = tagged(peer, SOME);
    let answer = list(&repository, "?n=100");
    assert_tags(&answer, &["alpha", "bravo", "charlie", "delta", "echo"]);
    assert_eq!(answer.header("link"), None, "{answer}");
}

fn n_of_zero_gives_none(peer: &Peer) {
    let repository = tagged(peer, SOME);
    let answer = list(&repository, "?n=0");
    assert_tags(&answer, &[]);
    assert_eq!(answer.header("link"), None, "{answer}");
}

fn link_leads_to_the_rest(peer: &Peer) {
    let repository = tagged(peer, SOME);
    let mut found = Vec::new();
    let mut page = Some(repository.path("tags/list?n=2"));
    while let Some(path) = page {
        let answer = peer.expect(200, &Request::new("GET", &path));
        let tags = answer.json()["tags"].as_array().expect("tags").clone();
        assert!(tags.len() <= 2, "{answer}");
        page = next(peer, &answer);
        // Without a Link, the next page is known by its last tag.
        if page.is_none() && tags.len() == 2 {
            page = Some(repository.path(&format!("tags/list?n=2&last={}", tags[1].as_str().expect("a tag"))));
        }
        found.extend(tags);
    }
    assert_eq!(json!(found), json!(["alpha", "bravo", "charlie", "delta", "echo"]));
}

fn link_is_there_when_more_tags_are(peer: &Peer) {
    let repository = tagged(peer, SOME);
    for (query, more) in [("?n=2", true), ("?n=4", true), ("?n=5", false), ("?n=2&last=charlie", false), ("", false)] {
        let answer = list(&repository, query);
        assert_eq!(next(peer, &answer).is_some(), more, "{answer}");
    }
}

fn last_begins_after_a_tag(peer: &Peer) {
    let repository = tagged(peer, SOME);
    assert_tags(&list(&repository, "?n=2&last=bravo"), &["charlie", "delta"]);
    assert_tags(&list(&repository, "?n=2&last=delta"), &["echo"]);
    assert_tags(&list(&repository, "?n=2&last=echo"), &[]);
}

fn last_works_without_n(peer: &Peer) {
    let repository = tagged(peer, SOME);
    assert_tags(&list(&repository, "?last=bravo"), &["charlie", "delta", "echo"]);
}

fn last_need_not_exist(peer: &Peer) {
    let repository = tagged(peer, SOME);
    assert_tags(&list(&repository, "?n=2&last=bz"), &["charlie", "delta"]);
}

fn n_that_is_no_number_is_refused(peer: &Peer) {
    let repository = tagged(peer, SOME);
    for n in ["-1", "x"] {
        peer.expect(400, &repository.request("GET", &format!("tags/list?n={n}")));
    }
}
