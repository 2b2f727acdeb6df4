//! What an ADD source is: a path, a download or a git repository.

/// A source of ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceKind {
    /// A path or pattern in the context.
    Path,
    /// A file from an HTTP server.
    Http,
    /// A repository.
    Git(GitUrl),
}

/// The address of a repository and what is wanted of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GitUrl {
    /// The repository, without fragment and without the query that is meant for the builder.
    pub(crate) url: String,
    /// A branch, tag, commit or other ref.
    pub(crate) reference: Option<String>,
    /// A directory in it.
    pub(crate) subdirectory: Option<String>,
    /// The commit that it must be.
    pub(crate) checksum: Option<String>,
    /// Whether `.git` stays, if the address says.
    pub(crate) keep_git_directory: Option<bool>,
}

/// Looks at a source as written.
pub(crate) fn of(source: &str) -> SourceKind {
    if let Some(git) = git_url(source) {
        return SourceKind::Git(git);
    }
    if source.starts_with("http://") || source.starts_with("https://") {
        return SourceKind::Http;
    }
    SourceKind::Path
}

/// The last segment of an address's path: the name that a download gets. Empty when there is none.
pub(crate) fn download_name(url: &str) -> &str {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    match after_scheme.split_once('/') {
        Some((_, path)) => path.rsplit('/').next().unwrap_or_default(),
        None => "",
    }
}

fn git_url(source: &str) -> Option<GitUrl> {
    let (address, fragment) = match source.split_once('#') {
        Some((address, fragment)) => (address, Some(fragment)),
        None => (source, None),
    };
    let (plain, query) = match address.split_once('?') {
        Some((plain, query)) => (plain, Some(query)),
        None => (address, None),
    };
    let is_http = plain.starts_with("http://") || plain.starts_with("https://");
    let is_git = plain.starts_with("git://") || plain.starts_with("ssh://") || is_scp_like(plain);
    let is_repository = is_git || (is_http && plain.ends_with(".git"));
    if !is_repository {
        return None;
    }
    let mut git = GitUrl { url: plain.to_owned(), ..GitUrl::default() };
    if let Some(fragment) = fragment {
        let (reference, subdirectory) = fragment.split_once(':').unwrap_or((fragment, ""));
        git.reference = non_empty(reference);
        git.subdirectory = non_empty(subdirectory);
    }
    let mut foreign = Vec::new();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "ref" => git.reference = non_empty(value),
            "branch" => git.reference = Some(format!("refs/heads/{value}")),
            "tag" => git.reference = Some(format!("refs/tags/{value}")),
            "subdir" => git.subdirectory = non_empty(value),
            "checksum" | "commit" => git.checksum = non_empty(value),
            "keep-git-dir" => git.keep_git_directory = Some(value.is_empty() || value == "1" || value == "true"),
            _ => foreign.push(pair),
        }
    }
    if !foreign.is_empty() {
        git.url = format!("{plain}?{}", foreign.join("&"));
    }
    Some(git)
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// `git@host:path`.
fn is_scp_like(text: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    match text.split_once('@') {
        Some((user, rest)) => match rest.split_once(':') {
            Some((host, path)) => plain(user) && plain(host) && !path.is_empty() && !path.starts_with("//"),
            None => false,
        },
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(url: &str, reference: Option<&str>, subdirectory: Option<&str>) -> SourceKind {
        SourceKind::Git(GitUrl {
            url: url.to_owned(),
            reference: reference.map(str::to_owned),
            subdirectory: subdirectory.map(str::to_owned),
            ..GitUrl::default()
        })
    }

    #[test]
    fn kinds_of_sources() {
        assert_eq!(of("a/b.git"), SourceKind::Path);
        assert_eq!(of("user@host"), SourceKind::Path);
        assert_eq!(of("https://h/a.tgz"), SourceKind::Http);
        assert_eq!(of("git://h/r"), git("git://h/r", None, None));
        assert_eq!(of("https://h/r.git#:sub"), git("https://h/r.git", None, Some("sub")));
        assert_eq!(of("git@h.x:o/r#v1"), git("git@h.x:o/r", Some("v1"), None));
        assert_eq!(
            of("https://h/r.git?tag=v1&x=y&subdir=s"),
            git("https://h/r.git?x=y", Some("refs/tags/v1"), Some("s"))
        );
    }

    #[test]
    fn downloads_are_named_by_their_path() {
        assert_eq!(download_name("https://h/a/b.txt?x=/c"), "b.txt");
        assert_eq!(download_name("https://h/a/"), "");
        assert_eq!(download_name("https://h"), "");
    }
}
