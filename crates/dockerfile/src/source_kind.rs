//! What an ADD source is: a path, a download or a git repository.

use std::borrow::Cow;

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
pub struct GitUrl {
    /// The repository, without fragment and without the query that is meant for the builder.
    pub url: String,
    /// A branch, tag, commit or other ref.
    pub reference: Option<String>,
    /// A directory in it.
    pub subdirectory: Option<String>,
    /// The commit that it must be.
    pub checksum: Option<String>,
    /// Whether `.git` stays, if the address says.
    pub keep_git_directory: Option<bool>,
}

impl GitUrl {
    /// The repository that a context on the command line names; `None` if it names none. Beside the forms that ADD
    /// takes, `github.com/OWNER/REPOSITORY` and `file://` mean repositories here.
    pub fn of_context(text: &str) -> Option<GitUrl> {
        if text.starts_with("github.com/") {
            let (path, rest) = text.split_at(text.find(['#', '?']).unwrap_or(text.len()));
            let suffix = if path.ends_with(".git") { "" } else { ".git" };
            return git_url(&format!("https://{path}{suffix}{rest}"));
        }
        if let Some(path) = text.strip_prefix("file://") {
            let git = git_url(&format!("git://file{path}"))?;
            let url = format!("file://{}", git.url.strip_prefix("git://file")?);
            return Some(GitUrl { url, ..git });
        }
        git_url(text)
    }
}

/// A text whose web addresses have no user and password any more, as it may be shown and kept.
pub fn without_credentials(text: &str) -> Cow<'_, str> {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let end = after.find(|c: char| "/?#\"'".contains(c) || c.is_whitespace()).unwrap_or(after.len());
        let is_web = before.ends_with("http://") || before.ends_with("https://");
        kept.push_str(before);
        match after[..end].rsplit_once('@').filter(|_| is_web) {
            Some((user, host)) => {
                kept.push_str(if user.contains(':') { "xxxxx:xxxxx@" } else { "xxxxx@" });
                kept.push_str(host);
            }
            None => kept.push_str(&after[..end]),
        }
        rest = &after[end..];
    }
    if kept.is_empty() {
        return Cow::Borrowed(text);
    }
    kept.push_str(rest);
    Cow::Owned(kept)
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
    fn contexts_name_repositories_in_more_ways() {
        let url = |text: &str| GitUrl::of_context(text).map(|git| (git.url, git.reference, git.subdirectory));
        let plain = |url: &str| Some((url.to_owned(), None, None));
        assert_eq!(url("github.com/o/r"), plain("https://github.com/o/r.git"));
        assert_eq!(url("file:///srv/r"), plain("file:///srv/r"));
        assert_eq!(
            url("github.com/o/r.git#main:sub"),
            Some(("https://github.com/o/r.git".into(), Some("main".into()), Some("sub".into())))
        );
        assert_eq!(url("file:///srv/r#v1"), Some(("file:///srv/r".into(), Some("v1".into()), None)));
        for none in ["dir", "./github.com/o/r", "https://h/c.tar.gz", "ext::sh -c id"] {
            assert_eq!(url(none), None, "{none}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        let check = |address: &str, want: &str| assert_eq!(without_credentials(address), want);
        check("https://u:p@ss@h/x@y?z", "https://xxxxx:xxxxx@h/x@y?z");
        check("http://token@h", "http://xxxxx@h");
        check("https://h/@", "https://h/@");
        check("ssh://git@h/r", "ssh://git@h/r");
        check("ADD http://a:b@h/x https://u@h /y", "ADD http://xxxxx:xxxxx@h/x https://xxxxx@h /y");
    }

    #[test]
    fn downloads_are_named_by_their_path() {
        assert_eq!(download_name("https://h/a/b.txt?x=/c"), "b.txt");
        assert_eq!(download_name("https://h/a/"), "");
        assert_eq!(download_name("https://h"), "");
    }
}
