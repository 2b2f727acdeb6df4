//! Whatever the input: no panic, and an answer in a bounded time.

use kiln_dockerfile::ignore::{IgnoreMatcher, Inherited};
use kiln_dockerfile::shell::{Options, Shell};
use kiln_dockerfile::{Bases, Dockerfile, Emphasis, Plan, PlanOptions, render_error, text_of};
use kiln_oci::Platform;
use proptest::prelude::*;

#[allow(dead_code, reason = "each test takes some of it")]
mod inputs;

/// Lines made of what Dockerfiles are made of, in any order.
fn dockerfile_text() -> impl Strategy<Value = String> {
    inputs::from_pieces().prop_map(|bytes| text_of(&bytes))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parsing_and_lowering_never_panic(text in dockerfile_text()) {
        match Dockerfile::parse(&text) {
            Ok(dockerfile) => {
                let options = PlanOptions::new(Platform::new("linux", "amd64"));
                if let Ok(plan) = Plan::new(dockerfile, options) {
                    let missing = plan.missing_bases(&Bases::new());
                    let lowered = plan.lower(&Bases::new());
                    prop_assert!(lowered.is_err() || missing.is_ok_and(|missing| missing.is_empty()));
                }
            }
            Err(error) => {
                let shown = render_error("Dockerfile", &text, &error, Emphasis::default());
                prop_assert!(shown.ends_with(&error.to_string()));
            }
        }
    }

    #[test]
    fn any_text_parses_or_fails(text in any::<String>()) {
        let _ = Dockerfile::parse(&text);
    }

    #[test]
    fn spans_lie_within_the_text(text in dockerfile_text()) {
        if let Ok(dockerfile) = Dockerfile::parse(&text) {
            let lines = text.split('\n').count() as u32;
            let mut after = 0;
            for stage in &dockerfile.stages {
                prop_assert!(stage.span.first_line > after);
                after = stage.span.last_line;
                for located in &stage.instructions {
                    prop_assert!(located.span.first_line > after && located.span.last_line >= located.span.first_line);
                    after = located.span.last_line;
                }
            }
            prop_assert!(after <= lines);
        }
    }

    #[test]
    fn expansion_never_panics(text in "[ -~é]{0,40}", escape in prop::sample::select(vec!['\\', '`'])) {
        for bits in 0..16 {
            let flag = |bit: u32| bits & (1 << bit) != 0;
            let options =
                Options { raw_quotes: flag(0), raw_escapes: flag(1), skip_quotes: flag(2), skip_unset: flag(3) };
            let variables = std::collections::BTreeMap::from([("a".to_owned(), text.clone())]);
            let _ = Shell::new(escape, options).expand(&text, &variables);
        }
    }

    /// What is pruned is excluded, whatever is below.
    #[test]
    fn pruning_loses_nothing(
        patterns in prop::collection::vec("!?/?[ab*?]{1,2}(/[ab*]{1,2}){0,2}", 1..6),
        path in "[ab]{1,2}/[ab]{1,2}/[ab]{1,2}",
    ) {
        let Ok(matcher) = IgnoreMatcher::new(&patterns) else { return Ok(()) };
        let mut inherited = Inherited::default();
        let mut pruned = false;
        for (slash, _) in path.match_indices('/') {
            let verdict = matcher.check(&path[..slash], &inherited).unwrap();
            pruned |= verdict.excluded && matcher.can_prune(&path[..slash]);
            inherited = verdict.inherited;
        }
        let verdict = matcher.check(&path, &inherited).unwrap();
        prop_assert!(verdict.excluded || !pruned, "{patterns:?} {path}");
    }

    #[test]
    fn patterns_never_panic(patterns in prop::collection::vec("[ -~é]{0,12}", 0..6), path in "[ -~]{1,12}") {
        if let Ok(matcher) = IgnoreMatcher::new(&patterns) {
            let _ = matcher.excludes(&path);
        }
    }
}

#[test]
fn deep_nesting_is_refused_without_exhausting_the_stack() {
    let braces = "${a:-".repeat(100_000);
    assert!(Shell::new('\\', Options::default()).expand(&braces, &()).is_err());
    let triggers = format!("FROM a\n{}RUN x\n", "ONBUILD ".repeat(100_000));
    assert!(Dockerfile::parse(&triggers).is_err());
    let arrays = format!("FROM a\nRUN {}\n", "[".repeat(100_000));
    assert!(Dockerfile::parse(&arrays).is_ok());
}

#[test]
fn a_long_line_is_read_in_one_go() {
    let text = format!("FROM a\nRUN echo {}\n", "x ".repeat(500_000));
    assert!(Dockerfile::parse(&text).is_ok());
}
