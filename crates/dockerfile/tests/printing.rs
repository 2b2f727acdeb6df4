//! What is parsed and printed parses to the same, and formatting changes nothing that matters: on all Dockerfiles
//! that are at hand, on those with damage, and on what Dockerfiles are made of in any order.

use kiln_dockerfile::{Dockerfile, format, text_of};
use proptest::prelude::*;

#[allow(dead_code, reason = "each test takes some of it")]
mod inputs;

/// Prints and formats a text if it is a Dockerfile; says whether it is one.
fn comes_back(text: &str) -> Result<bool, TestCaseError> {
    let Ok(dockerfile) = Dockerfile::parse(text) else { return Ok(false) };
    let printed = dockerfile.to_string();
    match Dockerfile::parse(&printed) {
        Ok(again) => prop_assert_eq!(again.meaning(), dockerfile.meaning(), "printed as {:?}", printed),
        Err(error) => prop_assert!(false, "{} in {:?}", error, printed),
    }
    let formatted = match format(text) {
        Ok(formatted) => formatted,
        Err(error) => return Err(TestCaseError::fail(format!("{error}"))),
    };
    prop_assert_eq!(format(&formatted), Ok(formatted.clone()), "formatted twice");
    prop_assert!(only_white_space_and_case(text, &formatted), "{:?} became {:?}", text, formatted);
    Ok(true)
}

fn only_white_space_and_case(before: &str, after: &str) -> bool {
    let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase()).collect();
    let (before, after): (String, String) = (letters(before), letters(after));
    before == after
}

#[test]
fn all_dockerfiles_at_hand_come_back() {
    let mut count = 0;
    for file in inputs::real_dockerfiles() {
        if comes_back(file).unwrap_or_else(|error| panic!("{error}\n{file}")) {
            count += 1;
        }
    }
    assert!(count > 800, "only {count} of the files are Dockerfiles");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_dockerfiles_come_back(bytes in inputs::damaged()) {
        comes_back(&text_of(&bytes))?;
    }

    #[test]
    fn what_is_made_of_pieces_comes_back(bytes in inputs::from_pieces()) {
        let mut text = b"FROM a\n".to_vec();
        text.extend(bytes);
        comes_back(&text_of(&text))?;
    }
}
