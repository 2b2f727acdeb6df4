//! Which registry a command means, and under which name its credentials are kept.

/// Under which name the public registry's credentials are kept.
const PUBLIC_KEY: &str = "https://index.docker.io/v1/";

/// The domain of the public registry in references.
const PUBLIC: &str = "docker.io";

/// A registry as `login` and `logout` name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    key: String,
}

impl Server {
    /// The registry that a user named, perhaps by an address; the public one if none.
    pub(crate) fn named(word: Option<&str>) -> Server {
        match word.filter(|word| !word.is_empty() && *word != PUBLIC && *word != PUBLIC_KEY) {
            Some(word) => Server { key: host_of(word).to_owned() },
            None => Server { key: PUBLIC_KEY.to_owned() },
        }
    }

    /// The name under which credentials are kept.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The domain of references to its images.
    pub(crate) fn domain(&self) -> &str {
        if self.is_public() || self.key == "index.docker.io" { PUBLIC } else { &self.key }
    }

    /// Whether nobody named another one.
    pub(crate) fn is_public(&self) -> bool {
        self.key == PUBLIC_KEY
    }
}

/// `host[:port]` of an address, or of what stands before the first slash.
pub(crate) fn host_of(word: &str) -> &str {
    let rest = word.split_once("://").map_or(word, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_known_by_its_host() {
        let check = |word: Option<&str>, key: &str, domain: &str| {
            let server = Server::named(word);
            assert_eq!((server.key(), server.domain()), (key, domain), "{word:?}");
        };
        check(None, PUBLIC_KEY, PUBLIC);
        check(Some("docker.io"), PUBLIC_KEY, PUBLIC);
        check(Some(PUBLIC_KEY), PUBLIC_KEY, PUBLIC);
        check(Some("index.docker.io"), "index.docker.io", PUBLIC);
        check(Some("localhost:5000"), "localhost:5000", "localhost:5000");
        check(Some("http://localhost:5000/foo/bar"), "localhost:5000", "localhost:5000");
        check(Some("a.example/team/app"), "a.example", "a.example");
    }
}
