//! What a 401 asks for: the `WWW-Authenticate` header (RFC 9110, 11.6.1; RFC 6750 for `Bearer`).

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// One way to authenticate that a registry accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token of the server at `realm`.
    Bearer {
        /// The token server's address.
        realm: String,
        /// How the registry is called there.
        service: Option<String>,
        /// What the token must allow.
        scope: Option<String>,
        /// Why a token that was sent is not enough.
        error: Option<String>,
    },
    /// A user name and a password in each request.
    Basic,
}

/// The challenges in `headers` that are known here, in their order.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(parse).filter_map(|raw| raw.known()).collect()
}

/// A scheme and its parameters.
#[derive(Debug, Default)]
struct Raw {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Raw {
    fn known(mut self) -> Option<Challenge> {
        if self.scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !self.scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        Some(Challenge::Bearer {
            realm: self.take("realm")?,
            service: self.take("service"),
            scope: self.take("scope"),
            error: self.take("error"),
        })
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.parameters.iter().position(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(self.parameters.swap_remove(at).1)
    }
}

fn parse(text: &str) -> Vec<Raw> {
    let mut found: Vec<Raw> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = split_token(rest);
        if word.is_empty() {
            return found;
        }
        match (found.last_mut(), after.trim_start().strip_prefix('=')) {
            (Some(challenge), Some(value)) => {
                let (value, after) = split_value(value.trim_start());
                challenge.parameters.push((word.to_owned(), value));
                rest = after;
            }
            // A parameter before any scheme: not a challenge.
            (None, Some(_)) => return found,
            (_, None) => {
                found.push(Raw { scheme: word.to_owned(), parameters: Vec::new() });
                rest = after;
            }
        }
    }
}

fn split_token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_whitespace() || "=,\"".contains(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// A token or a quoted string, and what follows it.
fn split_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = split_token(text);
        return (token.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => break,
            '\\' => value.extend(characters.next()),
            c => value.push(c),
        }
    }
    (value, characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, line.parse().unwrap());
        }
        challenges(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.into(), service: owned(service), scope: owned(scope), error: None }
    }

    #[test]
    fn a_token_challenge_is_read() {
        let line = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let want = bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push"));
        assert_eq!(of(&[line]), [want]);
    }

    #[test]
    fn several_challenges_come_in_one_line_or_in_several() {
        let want = [Challenge::Basic, bearer("r", None, None)];
        assert_eq!(of(&[r#"Basic realm="x, \"y\"", bearer Realm = r"#]), want);
        assert_eq!(of(&["basic", "BEARER realm=r"]), want);
    }

    #[test]
    fn what_is_no_challenge_is_passed_over() {
        for line in ["", ",,,", "Negotiate", "Bearer", "Bearer service=\"s\"", "realm=\"x\"", "Bearer realm"] {
            assert_eq!(of(&[line]), [], "{line}");
        }
        assert_eq!(of(&["Bearer realm=\"never closed"]), [bearer("never closed", None, None)]);
    }
}
