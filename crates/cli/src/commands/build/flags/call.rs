//! `--call`, `--check`, `--print`: whether to build, or to tell something about the Dockerfile.

use super::pairs;
use crate::arguments;

/// What is done with the Dockerfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Build it.
    Build,
    /// Tell what is wrong with it.
    Check(CallOptions),
    /// Tell what can be given to its target.
    Outline(CallOptions),
    /// Tell its stages.
    Targets(CallOptions),
}

/// How it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallOptions {
    /// `format=json`
    pub(crate) json: bool,
    /// `ignorestatus=true`: findings are no failure.
    pub(crate) ignore_status: bool,
}

/// Understands the three flags together; `--check` is more particular than `--call`, that than its older name.
pub(super) fn call(check: bool, call: Option<&str>, print: Option<&str>) -> Result<Call, String> {
    let text = if check { "check" } else { call.filter(|text| !text.is_empty()).or(print).unwrap_or("build") };
    let (mut name, mut options) = (None, CallOptions::default());
    for field in pairs::fields(text)? {
        match field.split_once('=') {
            None if name.is_some() => return Err(format!("invalid print value: {text}")),
            None => name = Some(field),
            Some(("format", "json")) => options.json = true,
            Some(("format", "text" | "")) => options.json = false,
            Some(("format", other)) => return Err(format!("unknown format {other:?} for --call: use json or text")),
            Some(("ignorestatus", value)) => {
                let truth = arguments::truth(value);
                options.ignore_status = truth.ok_or_else(|| format!("invalid ignorestatus print value: {value}"))?;
            }
            Some(_) => return Err(format!("invalid print field: {field}")),
        }
    }
    match name.as_deref() {
        None | Some("" | "build") => Ok(Call::Build),
        Some("check" | "lint") => Ok(Call::Check(options)),
        Some("outline") => Ok(Call::Outline(options)),
        Some("targets") => Ok(Call::Targets(options)),
        Some(other) => Err(format!("unknown method {other:?} for --call: use build, check, outline or targets")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_formats() {
        let json = CallOptions { json: true, ignore_status: false };
        for (given, expected) in [
            ((false, None, None), Call::Build),
            ((false, Some("build"), None), Call::Build),
            ((false, Some(""), Some("outline")), Call::Outline(CallOptions::default())),
            ((true, None, None), Call::Check(CallOptions::default())),
            ((false, Some("lint,format=json"), None), Call::Check(json)),
            ((false, Some("format=json,targets"), None), Call::Targets(json)),
            ((false, None, Some("outline,format=json")), Call::Outline(json)),
            (
                (false, Some("check,ignorestatus=true"), None),
                Call::Check(CallOptions { json: false, ignore_status: true }),
            ),
        ] {
            assert_eq!(call(given.0, given.1, given.2), Ok(expected), "{given:?}");
        }
        for text in ["nonsense", "outline,targets", "outline,format=xml", "check,ignorestatus=x", "check,what=1"] {
            assert!(call(false, Some(text), None).is_err(), "{text}");
        }
    }
}
