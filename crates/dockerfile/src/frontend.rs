//! Which frontend a file asks for. Found before anything is parsed, for a file for another frontend need not be
//! a Dockerfile: the request may stand in a `//` comment or be a member of a JSON object.

use kiln_oci::Reference;

use crate::directive;
use crate::error::{Error, ParseProblem};
use crate::span::Span;
use crate::text;

/// What `# syntax=` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syntax {
    /// The image of the frontend.
    pub image: String,
    /// The line, counted from 1.
    pub line: u32,
}

/// The frontend that a file asks for: in the first lines as `# syntax=IMAGE`, else as `// syntax=IMAGE`, else by
/// the member `syntax` of a JSON object. A byte order mark and a `#!` line may stand before.
pub fn detect_syntax(source: &str) -> Option<Syntax> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let (source, before) = match source.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => (rest, 1),
        _ => (source, 0),
    };
    ["#", "//"].iter().find_map(|comment| in_comments(source, comment, before)).or_else(|| in_object(source, before))
}

fn in_comments(source: &str, comment: &str, before: u32) -> Option<Syntax> {
    for (line, number) in source.lines().zip(before + 1..) {
        let (name, value) = directive::split_comment(line.strip_prefix(comment)?)?;
        match name.to_ascii_lowercase().as_str() {
            "syntax" => {
                let image = value.split(' ').next().unwrap_or_default();
                return Some(Syntax { image: text::lossy(image), line: number });
            }
            "escape" | "check" => {}
            _ => return None,
        }
    }
    None
}

fn in_object(source: &str, before: u32) -> Option<Syntax> {
    if !source.trim_start().starts_with('{') {
        return None;
    }
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(source).ok()?;
    Some(Syntax { image: object.get("syntax")?.as_str()?.to_owned(), line: before + 1 })
}

/// Refuses a file that asks for another frontend than the Dockerfile syntax of this crate, which is that of any
/// tag or digest of `docker/dockerfile` and `docker/dockerfile-upstream`. `instead` is what the user wants
/// whatever the file says (the build argument `BUILDKIT_SYNTAX`); so a copy of the image elsewhere can be named.
///
/// # Errors
/// [`ParseProblem::ForeignFrontend`].
pub fn check_frontend(source: &str, instead: Option<&str>) -> Result<(), Error> {
    let asked = match instead.and_then(|image| image.split(' ').next()).filter(|image| !image.is_empty()) {
        Some(image) => Syntax { image: image.to_owned(), line: 0 },
        None => match detect_syntax(source) {
            Some(syntax) => syntax,
            None => return Ok(()),
        },
    };
    if is_ours(&asked.image) {
        return Ok(());
    }
    let span = (asked.line > 0).then(|| Span::lines(asked.line, asked.line));
    let mut error = Error::new(ParseProblem::ForeignFrontend(asked.image), span);
    error.find_focus(source);
    Err(error)
}

pub(crate) fn is_ours(image: &str) -> bool {
    image.parse::<Reference>().is_ok_and(|reference| {
        reference.domain() == "docker.io"
            && matches!(reference.path(), "docker/dockerfile" | "docker/dockerfile-upstream")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(source: &str) -> Option<(String, u32)> {
        detect_syntax(source).map(|syntax| (syntax.image, syntax.line))
    }

    #[test]
    fn a_frontend_is_found_in_comments_and_objects() {
        let found = |image: &str, line| Some((image.to_owned(), line));
        assert_eq!(detected("# syntax=a/b:1\nFROM x"), found("a/b:1", 1));
        assert_eq!(detected("\u{feff}#!/usr/bin/env x\n#  SyntaX = a/b  more \r\n"), found("a/b", 2));
        assert_eq!(detected("# escape=`\n# check=skip=all\n# syntax=a/b"), found("a/b", 3));
        assert_eq!(detected("// syntax=a/b\nx {}"), found("a/b", 1));
        assert_eq!(detected("{\"syntax\": \"a/b\", \"x\": [1]}"), found("a/b", 1));
        for none in ["", "FROM x", "# a comment\n# syntax=a/b", "# x=1\n# syntax=a/b", "\n# syntax=a/b", " # syntax=a"]
        {
            assert_eq!(detected(none), None, "{none:?}");
        }
        assert_eq!(detected("{\"syntax\": 1}"), None);
    }

    #[test]
    fn only_other_frontends_are_refused() {
        let check = |image: &str| check_frontend(&format!("# syntax={image}\n"), None);
        let digest = "0".repeat(64);
        for ours in ["docker/dockerfile", "docker/dockerfile:1.7-labs", "docker.io/docker/dockerfile-upstream:master"] {
            assert_eq!(check(ours), Ok(()), "{ours}");
        }
        assert_eq!(check(&format!("docker/dockerfile:1@sha256:{digest}")), Ok(()));
        for other in ["docker/dockerfile2", "mirror.example.com/docker/dockerfile:1", "dockerfile", "Docker/dockerfile"]
        {
            assert!(check(other).is_err(), "{other}");
        }
        let error = check("ghcr.io/x/frontend:2").unwrap_err();
        assert_eq!(error.problem, ParseProblem::ForeignFrontend("ghcr.io/x/frontend:2".to_owned()).into());
    }

    #[test]
    fn the_build_argument_decides() {
        let foreign = "# syntax=mirror.example.com/docker/dockerfile:1\n";
        assert_eq!(check_frontend(foreign, Some("docker/dockerfile:1")), Ok(()));
        assert!(check_frontend(foreign, Some("")).is_err());
        assert!(check_frontend("FROM x", Some("a/b")).is_err());
    }
}
