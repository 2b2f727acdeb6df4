//! Asking a repository elsewhere what a ref is, and refusing what git could take for something else.

use std::ffi::OsStr;
use std::path::Path;

use super::Resolved;
use super::command::{Git, argument};
use crate::sources::SourceError;

impl Git<'_> {
    /// What `reference` is at `address` now; the default branch if it is empty.
    pub(super) fn resolve(&self, address: &str, reference: &str) -> Result<Resolved, SourceError> {
        if is_commit(reference) {
            return Ok(Resolved { commit: reference.to_ascii_lowercase(), name: None });
        }
        check_reference(reference)?;
        let address = argument(address);
        let wanted = if reference.is_empty() { "HEAD" } else { reference };
        let peeled = format!("{wanted}^{{}}");
        let mut args: Vec<&OsStr> = ["ls-remote", "--symref", "--", &address].map(OsStr::new).to_vec();
        args.extend([wanted, &peeled].map(OsStr::new));
        let answer = self.ask_elsewhere("ls-remote", Path::new("/"), &args)?;
        choose(&String::from_utf8_lossy(&answer), reference).ok_or_else(|| SourceError::NoSuchRef(wanted.into()))
    }
}

/// Whether a text is a whole commit hash.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Refuses addresses that git or ssh could take for an option or a command.
pub(super) fn check_address(address: &str) -> Result<(), SourceError> {
    let invalid = |reason| SourceError::Invalid {
        what: "invalid repository",
        value: kiln_dockerfile::without_credentials(address).into_owned(),
        reason,
    };
    if address.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(invalid("it has blanks or control characters"));
    }
    let host = match address.split_once("://") {
        Some(("http" | "https" | "ssh" | "git", rest)) => {
            let authority = rest.split('/').next().unwrap_or_default();
            authority.rsplit_once('@').map_or(authority, |(_, host)| host)
        }
        Some(("file", _)) => return Ok(()),
        Some(_) => return Err(invalid("this transport is not allowed")),
        None => address.split_once('@').and_then(|(_, rest)| Some(rest.split_once(':')?.0)).unwrap_or_default(),
    };
    if host.is_empty() || host.starts_with('-') || address.starts_with('-') {
        return Err(invalid("it names no host"));
    }
    Ok(())
}

/// Refuses what is no ref, above all what git could take for an option or a pattern.
fn check_reference(reference: &str) -> Result<(), SourceError> {
    let invalid = |reason| Err(SourceError::Invalid { what: "invalid git ref", value: reference.into(), reason });
    if reference.starts_with('-') {
        return invalid("it begins with a dash");
    }
    if reference.chars().any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c)) {
        return invalid("it has a character that no ref has");
    }
    if reference.contains("..") || reference.contains("@{") || reference.ends_with(".lock") {
        return invalid("no ref can be called so");
    }
    Ok(())
}

/// Picks the ref that is meant: the one of that very name, a branch, a tag, any other below `refs/`.
fn choose(answer: &str, reference: &str) -> Option<Resolved> {
    let refs: Vec<(&str, &str)> = answer.lines().filter_map(|line| line.split_once('\t')).collect();
    let commit_of = |name: &str| {
        let find = |name: &str| refs.iter().find(|(what, known)| *known == name && is_commit(what));
        find(&format!("{name}^{{}}")).or_else(|| find(name)).map(|(commit, _)| (*commit).to_owned())
    };
    if reference.is_empty() {
        let branch = refs.iter().find_map(|(what, name)| what.strip_prefix("ref: ").filter(|_| *name == "HEAD"));
        return Some(Resolved { commit: commit_of("HEAD")?, name: branch.map(str::to_owned) });
    }
    let plain = reference.strip_prefix("refs/").unwrap_or(reference);
    let names = if reference.starts_with("refs/") {
        vec![reference.to_owned()]
    } else {
        vec![format!("refs/heads/{plain}"), format!("refs/tags/{plain}"), format!("refs/{plain}"), reference.to_owned()]
    };
    names.into_iter().find_map(|name| Some(Resolved { commit: commit_of(&name)?, name: Some(name) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn check(answer: &str, reference: &str, want: Option<(&str, Option<&str>)>) {
        let want = want.map(|(commit, name)| Resolved { commit: commit.into(), name: name.map(Into::into) });
        assert_eq!(choose(answer, reference), want, "{reference}");
    }

    #[test]
    fn branches_win_over_tags_and_tags_are_peeled() {
        check(&format!("{A}\trefs/tags/v1\n{B}\trefs/tags/v1^{{}}\n"), "v1", Some((B, Some("refs/tags/v1"))));
        check(&format!("{A}\trefs/heads/x\n{B}\trefs/tags/x\n"), "x", Some((A, Some("refs/heads/x"))));
        check(&format!("{A}\trefs/pull/7/head\n"), "pull/7/head", Some((A, Some("refs/pull/7/head"))));
        check(&format!("{A}\trefs/heads/a/x\n"), "x", None);
        let head = format!("ref: refs/heads/main\tHEAD\n{A}\tHEAD\n");
        check(&head, "", Some((A, Some("refs/heads/main"))));
    }

    #[test]
    fn what_git_could_misunderstand_is_refused() {
        for reference in ["--upload-pack=id", "-x", "a b", "a..b", "x:y", "*", "a@{1}", "a\nb"] {
            assert!(check_reference(reference).is_err(), "{reference}");
        }
        for address in ["ext::sh -c id", "ext::sh", "ssh://-oProxyCommand=id/x", "-u@h:x", "git@-h:x", "fd::17", "/etc"]
        {
            assert!(check_address(address).is_err(), "{address}");
        }
        for address in ["https://u:p@h/x.git", "git@h.x:o/r", "ssh://git@h:22/r", "git://h/r", "file:///srv/r"] {
            check_address(address).unwrap();
        }
        check_reference("feature/x-1").unwrap();
    }
}
