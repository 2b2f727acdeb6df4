//! The submodules of a commit: where they lie, which commits, from where. Read from the commit, never by git's own
//! submodule commands, which would write configuration that the repository chose.

use std::collections::BTreeMap;

use super::command::Git;
use super::repository::Repository;
use crate::sources::SourceError;

/// A submodule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Submodule {
    /// Where it lies in the repository.
    pub(super) path: String,
    /// The commit.
    pub(super) commit: String,
    /// The address, resolved; why there is none otherwise.
    pub(super) address: Result<String, &'static str>,
}

/// The submodules of `commit` in the repository of `address`.
pub(super) fn list(
    repository: &Repository,
    git: &Git<'_>,
    commit: &str,
    address: &str,
) -> Result<Vec<Submodule>, SourceError> {
    let tree = repository.ask(git, "ls-tree", &["ls-tree", "-r", "-z", "--full-tree", commit])?;
    let links = links(&String::from_utf8_lossy(&tree));
    if links.is_empty() {
        return Ok(Vec::new());
    }
    let blob = format!("--blob={commit}:.gitmodules");
    let asked = repository.ask(git, "config", &["config", "-z", &blob, "--get-regexp", r"^submodule\..*\.(path|url)$"]);
    // Without a readable .gitmodules the links are empty directories, as with git itself.
    let addresses = addresses(&String::from_utf8_lossy(&asked.unwrap_or_default()));
    let known = links.into_iter().filter_map(|(path, commit)| {
        let url = addresses.get(&path)?;
        Some(Submodule { commit, address: resolve(address, url), path })
    });
    Ok(known.collect())
}

/// Paths and commits of links to other repositories.
fn links(tree: &str) -> Vec<(String, String)> {
    let entries = tree.split('\0').filter_map(|entry| entry.split_once('\t'));
    let link = |(what, path): (&str, &str)| {
        let mut words = what.split(' ');
        let (mode, _, commit) = (words.next()?, words.next(), words.next()?);
        (mode == "160000").then(|| (path.to_owned(), commit.to_owned()))
    };
    entries.filter_map(link).collect()
}

/// The addresses in `.gitmodules`, by path.
fn addresses(settings: &str) -> BTreeMap<String, String> {
    let mut modules: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for setting in settings.split('\0') {
        let Some((key, value)) = setting.split_once('\n') else { continue };
        let Some((name, field)) = key.rsplit_once('.') else { continue };
        let module = modules.entry(name).or_default();
        match field {
            "path" => module.0 = Some(value),
            "url" => module.1 = Some(value),
            _ => {}
        }
    }
    modules.into_values().filter_map(|(path, url)| Some((path?.to_owned(), url?.to_owned()))).collect()
}

/// The address that `url` means in a repository of `parent`.
fn resolve(parent: &str, url: &str) -> Result<String, &'static str> {
    if !(url.starts_with("./") || url.starts_with("../")) {
        let remote = ["http://", "https://", "ssh://", "git://"].iter().any(|scheme| url.starts_with(scheme));
        let scp_like = !url.contains("://")
            && !url.contains("::")
            && url.split_once(':').is_some_and(|(host, _)| host.contains('@'));
        return if remote || scp_like { Ok(url.to_owned()) } else { Err("this kind of address is not allowed there") };
    }
    let mut base = parent.trim_end_matches('/').to_owned();
    let root = base.find("://").map_or_else(|| base.find(':').map_or(0, |at| at + 1), |at| at + 3);
    let mut rest = url;
    loop {
        if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("../") {
            rest = after;
            let end =
                base[root..].rfind('/').map(|at| at + root).ok_or("its relative address leads out of the host")?;
            base.truncate(end);
        } else {
            return Ok(format!("{base}/{rest}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_addresses_stay_on_the_host() {
        assert_eq!(resolve("https://h/o/r.git", "../x.git").unwrap(), "https://h/o/x.git");
        assert_eq!(resolve("https://h/o/r.git", "./x.git").unwrap(), "https://h/o/r.git/x.git");
        assert_eq!(resolve("git://h:9/r", "../x").unwrap(), "git://h:9/x");
        assert_eq!(resolve("git@h:o/r", "../x").unwrap(), "git@h:o/x");
        assert!(resolve("https://h/r", "../../../x").is_err());
    }

    #[test]
    fn addresses_that_reach_into_this_machine_are_refused() {
        for url in ["/etc", "file:///etc", "ext::sh -c id", "-u", "ext::a@b:c", "relative"] {
            assert!(resolve("https://h/o/r.git", url).is_err(), "{url}");
        }
        assert!(resolve("https://h/o/r.git", "git@h:x").is_ok());
    }

    #[test]
    fn links_and_addresses_are_read() {
        let tree = "100644 blob aa\tREADME\x00160000 commit bb\tlib/sub dir\0";
        assert_eq!(links(tree), [("lib/sub dir".to_owned(), "bb".to_owned())]);
        let settings = "submodule.a.b.path\nlib/sub dir\0submodule.a.b.url\n../x\0submodule.c.url\ny\0";
        assert_eq!(addresses(settings), BTreeMap::from([("lib/sub dir".into(), "../x".into())]));
    }
}
