//! The manifests that say something about another: signatures, bills of materials.

use std::sync::Arc;

use http::StatusCode;
use http::header::HeaderName;
use http::request::Parts;
use kiln_oci::{Digest, MediaType};
use serde_json::{Value, json};

use super::answer::With;
use super::answer::whole;
use super::flow::blocking;
use super::hooks::Wanted;
use super::listing::linked;
use super::names::Repository;
use super::registry::{Handled, Registry};
use super::route::{parameter, parse_digest};
use super::storage::{Referrer, WantedReferrers};

/// The most manifests in one answer.
const MOST: usize = 1000;

/// The most bytes of descriptors in one answer, as far as one more does not exceed it.
const LARGEST: usize = 2 << 20;

/// Tells the client that it need not filter.
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

/// `GET /v2/<repository>/referrers/<digest>`
pub(super) async fn list(registry: &Arc<Registry>, head: &Parts, repository: &Repository, subject: &Digest) -> Handled {
    registry.bring(head, repository, Wanted::Referrers(subject)).await?;
    let artifact_type = parameter(head.uri.query(), "artifactType").filter(|text| !text.is_empty());
    let after = parameter(head.uri.query(), "last").map(|text| parse_digest(&text)).transpose()?;
    let (storage, of, about, kind) =
        (Arc::clone(&registry.storage), repository.clone(), subject.clone(), artifact_type.clone());
    let found = blocking(move || {
        let wanted =
            WantedReferrers { repository: &of, subject: &about, artifact_type: kind.as_deref(), after: after.as_ref() };
        storage.referrers(&wanted, MOST + 1)
    });
    let (descriptors, last) = page(&found.await?);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciIndex.as_str(),
        "manifests": descriptors,
    });
    let answer = whole(StatusCode::OK, MediaType::OciIndex.as_str(), index.to_string().into_bytes());
    let link = last.map(|last| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("last", &last.to_string());
        query.extend_pairs(artifact_type.as_deref().map(|kind| ("artifactType", kind)));
        format!("</v2/{repository}/referrers/{subject}?{}>; rel=\"next\"", query.finish())
    });
    let answer = linked(answer, link);
    Ok(match artifact_type {
        Some(_) => answer.with(FILTERS, "artifactType"),
        None => answer,
    })
}

/// As many descriptors as fit, and where the next page begins.
fn page(found: &[Referrer]) -> (Vec<Value>, Option<Digest>) {
    let (mut descriptors, mut size) = (Vec::new(), 0);
    for referrer in found {
        if descriptors.len() == MOST || size >= LARGEST {
            break;
        }
        let descriptor = descriptor(referrer);
        size += descriptor.to_string().len();
        descriptors.push(descriptor);
    }
    let is_all = descriptors.len() == found.len();
    let last = descriptors.len().checked_sub(1).and_then(|at| found.get(at)).map(|each| each.facts.digest.clone());
    (descriptors, last.filter(|_| !is_all))
}

fn descriptor(referrer: &Referrer) -> Value {
    let Referrer { facts, artifact_type, annotations } = referrer;
    let mut value = json!({"mediaType": facts.media_type, "digest": facts.digest, "size": facts.size});
    if let Some(artifact_type) = artifact_type {
        value["artifactType"] = json!(artifact_type);
    }
    if !annotations.is_empty() {
        value["annotations"] = json!(annotations);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::storage::ManifestFacts;

    #[test]
    fn a_page_ends_where_it_is_full() {
        let referrer = |number: usize, annotation: usize| Referrer {
            facts: ManifestFacts { digest: Digest::of(&number.to_le_bytes()), media_type: "a/b".into(), size: 1 },
            artifact_type: None,
            annotations: [("k".to_owned(), "v".repeat(annotation))].into(),
        };
        let many: Vec<Referrer> = (0..=MOST).map(|number| referrer(number, 1)).collect();
        let (descriptors, last) = page(&many);
        assert_eq!((descriptors.len(), last), (MOST, Some(many[MOST - 1].facts.digest.clone())));
        assert_eq!(page(&many[..5]).1, None);
        assert_eq!(page(&[]), (vec![], None));
        let large: Vec<Referrer> = (0..4).map(|number| referrer(number, LARGEST - 1)).collect();
        let (descriptors, last) = page(&large);
        assert_eq!((descriptors.len(), last), (1, Some(large[0].facts.digest.clone())));
    }
}
