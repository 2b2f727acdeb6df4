//! Docker's registry passes these tests wherever it conforms, so what fails elsewhere is not the test's fault. Where it
//! is older than the specification, or leaves it, is named here; a line that is not true any more fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::peer::Peer;
use crate::{GROUPS, Level};

/// What docker's registry 2.8 fails, and why. A name that ends in `::` is a whole file of tests.
const KNOWN: &[(&str, &str)] = &[
    ("reference_is_a_tag_or_a_digest", "takes a broken digest for a tag, and fails with 500"),
    ("range_beyond_the_end_is_416", "breaks the connection after 416"),
    ("other_units_are_passed_over", "breaks the connection after 416"),
    ("first_chunk_begins_at_zero", "passes over Content-Range"),
    ("chunk_with_a_gap_is_416", "passes over Content-Range"),
    ("chunk_sent_twice_is_416", "passes over Content-Range"),
    ("closing_chunk_out_of_order_is_416", "passes over Content-Range"),
    ("range_of_a_chunk_follows_the_grammar", "passes over Content-Range"),
    ("range_of_a_chunk_is_as_long_as_the_chunk", "passes over Content-Range"),
    ("status_after_a_refused_chunk", "passes over Content-Range"),
    ("manifest_that_is_too_large_is_413", "answers 400"),
    ("answer_names_the_subject", "knows no subjects"),
    ("tags_are_in_order", "lists tags in the order of its directory"),
    ("case_does_not_count_in_the_order", "lists tags in the order of its directory"),
    ("repository_without_tags_has_an_empty_list", "answers 404"),
    ("n_limits_the_list", "has no pages of tags"),
    ("n_beyond_the_number_of_tags_gives_all", "lists tags in the order of its directory"),
    ("n_of_zero_gives_none", "has no pages of tags"),
    ("link_leads_to_the_rest", "has no pages of tags"),
    ("last_begins_after_a_tag", "has no pages of tags"),
    ("last_works_without_n", "has no pages of tags"),
    ("last_need_not_exist", "has no pages of tags"),
    ("referrers::", "knows no referrers"),
    ("blob_upload_unknown", "says BLOB_UPLOAD_INVALID"),
    ("name_invalid", "takes the path for none of its own"),
];

fn known(test: &str) -> Option<&'static (&'static str, &'static str)> {
    let fits =
        |name: &str| if name.ends_with("::") { test.contains(name) } else { test.ends_with(&format!("::{name}")) };
    KNOWN.iter().find(|(name, _)| fits(name))
}

#[test]
fn dockers_registry_passes_wherever_it_conforms() {
    // A trace of each of the known failures would take most of the time.
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
    let peer = Peer::docker();
    let mut wrong = Vec::new();
    let all = GROUPS.iter().flat_map(|(_, lists)| lists.iter().copied().flatten());
    for requirement in all.filter(|requirement| requirement.level != Level::Kiln) {
        let passes = catch_unwind(AssertUnwindSafe(|| (requirement.check)(&peer))).is_ok();
        match (passes, known(requirement.test)) {
            (true, None) | (false, Some(_)) => {}
            (true, Some((_, reason))) => wrong.push(format!("{} passes, but: {reason}", requirement.test)),
            (false, None) => wrong.push(format!("{} fails", requirement.test)),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
