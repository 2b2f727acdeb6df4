//! Lists in pages: tags and repositories.

use kiln_registry::Error;

use crate::image::{client, reference};
use crate::server::{Reply, Server};

#[tokio::test]
async fn tags_are_listed_page_by_page() {
    let server = Server::start(|request| match request.path.as_str() {
        "/v2/team/app/tags/list?n=1000" => {
            Reply::body(r#"{"tags":["a","b"]}"#).with("Link", r#"</v2/team/app/tags/list?last=b>; rel="next""#)
        }
        "/v2/team/app/tags/list?last=b" => Reply::body(r#"{"name":"team/app","tags":["c"]}"#),
        _ => Reply::new(404),
    })
    .await;
    assert_eq!(client().tags(&reference(&server)).await.unwrap(), ["a", "b", "c"]);

    let endless = Server::start(|request| {
        Reply::body(r#"{"tags":null}"#).with("Link", format!(r#"<{}>; rel="next""#, request.path))
    })
    .await;
    let error = client().tags(&reference(&endless)).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn a_list_is_continued_at_an_address_relative_to_its_own() {
    let server = Server::start(|request| match request.path.as_str() {
        "/v2/team/app/tags/list?n=1000" => Reply::body(r#"{"tags":["a"]}"#).with("Link", r#"<?last=a>; rel="next""#),
        "/v2/team/app/tags/list?last=a" => Reply::body(r#"{"tags":["b"]}"#),
        _ => Reply::new(404),
    })
    .await;
    assert_eq!(client().tags(&reference(&server)).await.unwrap(), ["a", "b"]);
}

#[tokio::test]
async fn a_list_that_grows_without_end_is_given_up() {
    let tag = "t".repeat(1 << 20);
    let mut page = 0;
    let server = Server::start(move |_| {
        page += 1;
        Reply::body(format!(r#"{{"tags":["{tag}","{tag}","{tag}"]}}"#))
            .with("Link", format!(r#"<?{page}>; rel="next""#))
    })
    .await;
    let error = client().tags(&reference(&server)).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(server.lines().len() < 30, "{}", server.lines().len());
}

#[tokio::test]
async fn repositories_are_listed_with_a_permission_of_their_own() {
    let server = Server::start(|request| match (request.path.as_str(), request.header("authorization")) {
        (path, _) if path.starts_with("/token") => Reply::body(r#"{"token":"t"}"#),
        (_, None) => {
            Reply::new(401).with("WWW-Authenticate", format!(r#"Bearer realm="{}/token",service="s""#, request.base))
        }
        ("/v2/_catalog?n=1000", _) => Reply::body(r#"{"repositories":["a","team/b"]}"#)
            .with("Link", r#"</v2/_catalog?last=team%2Fb&n=1000>; rel="next""#),
        ("/v2/_catalog?last=team%2Fb&n=1000", _) => Reply::body(r#"{"repositories":["z"]}"#),
        _ => Reply::new(404),
    })
    .await;
    assert_eq!(client().catalog(&server.host()).await.unwrap(), ["a", "team/b", "z"]);
    let asked = server.lines().into_iter().find(|line| line.contains("/token")).unwrap();
    assert!(asked.contains("scope=registry%3Acatalog%3A*"), "{asked}");
    let none = Server::start(|_| Reply::new(404)).await;
    assert!(matches!(client().catalog(&none.host()).await, Err(Error::NotFound { .. })));
}
