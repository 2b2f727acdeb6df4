//! COPY and ADD.

use kiln_graph::{
    Chmod, Content, Copy as GraphCopy, FileAction, FileOp, GitSource, HttpSource, InputIndex, Meta, Op, SourceOp,
    Unpack, VertexId, WriteFile,
};
use kiln_oci::{Digest, Platform};

use crate::error::{Error, LowerProblem};
use crate::heredoc::Heredoc;
use crate::instruction::{Copy, Located};
use crate::path;
use crate::shell::{Options, Shell};
use crate::source_kind::{self, GitUrl, SourceKind};
use crate::text;

use super::inputs::Inputs;
use super::state::State;
use super::{Lowering, MAIN_CONTEXT, Place, source_span};

/// What all files of one instruction have in common, expanded.
struct Common {
    add: bool,
    /// As written, for the history.
    destination: String,
    /// Absolute.
    target: String,
    into_directory: bool,
    owner: Option<String>,
    written_chmod: Option<String>,
    chmod: Option<Chmod>,
    parents: bool,
    exclude: Vec<String>,
    checksum: Option<String>,
    unpack: Option<bool>,
    keep_git_directory: Option<bool>,
}

impl Lowering<'_> {
    pub(super) fn copy(
        &mut self,
        state: &mut State,
        place: &Place<'_>,
        copy: &Copy,
        located: &Located,
        add: bool,
    ) -> Result<(), Error> {
        let common = self.common(state, place, copy, add)?;
        let sources = copy.sources.iter().map(|source| self.word(state, place, source));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        check_flags(&common, &sources).map_err(|problem| Error::new(problem, Some(place.span.clone())))?;
        // With --chmod, --link has no effect, as in BuildKit.
        let link = copy.link && common.chmod.is_none();
        let mut inputs = Inputs::default();
        let base = state.root.filter(|_| !link).map(|root| inputs.add(root));
        let actions = self.actions(state, place, copy, &common, &sources, &mut inputs)?;
        let text = history_text(copy, &common, &sources);
        let display = source_kind::without_credentials(&self.display(state, located, "")).into_owned();
        let meta = self.meta(state, place, display, text.clone());
        let op = Op::File(FileOp { base, actions });
        let layer = self.add(op, inputs.into_vertices(), &state.platform, meta.clone())?;
        state.root = Some(match state.root.filter(|_| link) {
            Some(root) => {
                let meta = Meta { name: format!("{} (merge)", meta.name), ..meta };
                self.add(Op::Merge, vec![root, layer], &state.platform, meta)?
            }
            None => layer,
        });
        state.note_layer(text);
        Ok(())
    }

    fn common(&self, state: &State, place: &Place<'_>, copy: &Copy, add: bool) -> Result<Common, Error> {
        let word = |text: &Option<String>| text.as_ref().map(|text| self.word(state, place, text)).transpose();
        let destination = self.word(state, place, &copy.destination)?;
        let written_chmod = word(&copy.chmod)?.filter(|mode| !mode.is_empty());
        let chmod = written_chmod.as_deref().map(|mode| {
            parse_chmod(mode).ok_or_else(|| Error::new(LowerProblem::Chmod(mode.to_owned()), Some(place.span.clone())))
        });
        let exclude = copy.exclude.iter().map(|pattern| self.word(state, place, pattern));
        Ok(Common {
            add,
            target: path::resolve(&state.directory, &destination),
            into_directory: path::names_directory(&destination),
            destination,
            owner: word(&copy.chown)?.filter(|owner| !owner.is_empty()),
            chmod: chmod.transpose()?,
            written_chmod,
            parents: copy.parents,
            exclude: exclude.collect::<Result<_, _>>()?,
            checksum: word(&copy.checksum)?.filter(|checksum| !checksum.is_empty()),
            unpack: copy.unpack,
            keep_git_directory: copy.keep_git_directory,
        })
    }

    fn actions(
        &mut self,
        state: &State,
        place: &Place<'_>,
        copy: &Copy,
        common: &Common,
        sources: &[String],
        inputs: &mut Inputs,
    ) -> Result<Vec<FileAction>, Error> {
        let mut actions = Vec::new();
        let mut rest = sources;
        while let Some(source) = rest.first() {
            let kind = if common.add { source_kind::of(source) } else { SourceKind::Path };
            let taken = match kind {
                SourceKind::Path => {
                    let is_path = |source: &&String| !common.add || source_kind::of(source) == SourceKind::Path;
                    let paths: Vec<&String> = rest.iter().take_while(is_path).collect();
                    actions.push(self.copy_paths(state, place, copy, common, &paths, inputs)?);
                    paths.len()
                }
                SourceKind::Http => {
                    let (vertex, name) = self.download(state, place, common, source)?;
                    actions.push(downloaded(common, inputs.add(vertex), &name));
                    1
                }
                SourceKind::Git(url) => {
                    let vertex = self.repository(state, place, common, url)?;
                    let tree = vec!["/".to_owned()];
                    actions.push(FileAction::Copy(plain_copy(common, inputs.add(vertex), tree, Unpack::Never)));
                    1
                }
            };
            rest = &rest[taken..];
        }
        for heredoc in &copy.heredocs {
            actions.push(FileAction::WriteFile(self.written(state, place, common, heredoc)?));
        }
        Ok(actions)
    }

    /// Paths of the context, a stage or an image.
    fn copy_paths(
        &mut self,
        state: &State,
        place: &Place<'_>,
        copy: &Copy,
        common: &Common,
        paths: &[&String],
        inputs: &mut Inputs,
    ) -> Result<FileAction, Error> {
        let from = match copy.from.as_deref() {
            Some(from) => self.origin_named(state, place, from)?,
            None => self.context(MAIN_CONTEXT, &state.platform)?,
        };
        let paths = paths.iter().map(|path| clean_source(path, common.parents)).collect();
        let unpack = if common.add && common.unpack != Some(false) { Unpack::Detect } else { Unpack::Never };
        Ok(FileAction::Copy(plain_copy(common, inputs.add(from), paths, unpack)))
    }

    fn written(
        &self,
        state: &State,
        place: &Place<'_>,
        common: &Common,
        heredoc: &Heredoc,
    ) -> Result<WriteFile, Error> {
        let mut content = heredoc.content();
        if heredoc.expand {
            let options = Options { skip_quotes: true, ..Options::default() };
            let expansion = Shell::new('\\', options).expand(&content, &state.environment);
            content = expansion.map_err(|problem| Error::new(problem, Some(place.span.clone())))?.word;
        }
        Ok(WriteFile {
            name: heredoc.name.clone(),
            destination: common.target.clone(),
            into_directory: common.into_directory,
            content: Content(text::bytes_of(&content)),
            owner: common.owner.clone(),
            chmod: common.chmod.clone(),
        })
    }

    fn download(
        &mut self,
        state: &State,
        place: &Place<'_>,
        common: &Common,
        url: &str,
    ) -> Result<(VertexId, String), Error> {
        let fail = |problem: LowerProblem| Error::new(problem, Some(place.span.clone()));
        let named = source_kind::download_name(url);
        if named.is_empty() && common.into_directory {
            return Err(fail(LowerProblem::Flag("cannot determine filename from url")));
        }
        let file_name = if named.is_empty() { "__unnamed__" } else { named }.to_owned();
        let checksum = common.checksum.as_deref().map(|text| {
            text.parse::<Digest>().map_err(|error| fail(LowerProblem::Checksum(text.to_owned(), error.to_string())))
        });
        let source = HttpSource { url: url.to_owned(), checksum: checksum.transpose()?, file_name: file_name.clone() };
        let display = source_kind::without_credentials(url).into_owned();
        let vertex = self.source(SourceOp::Http(source), display, place, &state.platform)?;
        Ok((vertex, file_name))
    }

    fn repository(
        &mut self,
        state: &State,
        place: &Place<'_>,
        common: &Common,
        url: GitUrl,
    ) -> Result<VertexId, Error> {
        let shown = source_kind::without_credentials(&url.url);
        let display = match &url.reference {
            Some(reference) => format!("{shown}#{reference}"),
            None => shown.into_owned(),
        };
        let source = GitSource {
            url: url.url,
            reference: url.reference,
            subdirectory: url.subdirectory,
            keep_git_directory: common.keep_git_directory.or(url.keep_git_directory).unwrap_or(false),
            checksum: common.checksum.clone().or(url.checksum),
        };
        self.source(SourceOp::Git(source), display, place, &state.platform)
    }

    fn source(
        &mut self,
        source: SourceOp,
        display: String,
        place: &Place<'_>,
        platform: &Platform,
    ) -> Result<VertexId, Error> {
        let meta = Meta {
            name: display,
            span: Some(source_span(place.span)),
            ignore_cache: self.ignores_cache(place.stage),
            ..Meta::default()
        };
        self.add(Op::Source(source), Vec::new(), platform, meta)
    }
}

fn plain_copy(common: &Common, from: InputIndex, sources: Vec<String>, unpack: Unpack) -> GraphCopy {
    GraphCopy {
        from,
        sources,
        destination: common.target.clone(),
        into_directory: common.into_directory,
        owner: common.owner.clone(),
        chmod: common.chmod.clone(),
        parents: common.parents,
        exclude: common.exclude.clone(),
        unpack,
    }
}

fn downloaded(common: &Common, from: InputIndex, name: &str) -> FileAction {
    FileAction::Copy(GraphCopy {
        from,
        sources: vec![format!("/{name}")],
        destination: common.target.clone(),
        into_directory: common.into_directory,
        owner: common.owner.clone(),
        chmod: common.chmod.clone(),
        parents: false,
        exclude: Vec::new(),
        unpack: if common.unpack == Some(true) { Unpack::Detect } else { Unpack::Never },
    })
}

/// `--checksum` speaks of a single download or repository; `--keep-git-dir` says the same as a repository's URL.
fn check_flags(common: &Common, sources: &[String]) -> Result<(), LowerProblem> {
    let kinds: Vec<SourceKind> = sources.iter().map(|source| source_kind::of(source)).collect();
    if common.checksum.is_some() {
        if kinds.len() != 1 {
            return Err(LowerProblem::Flag("--checksum can only be given for a single source"));
        }
        if kinds.contains(&SourceKind::Path) {
            return Err(LowerProblem::Flag("--checksum can only be given for a download or a git repository"));
        }
    }
    let contradicts =
        |url: &GitUrl| matches!((common.keep_git_directory, url.keep_git_directory), (Some(a), Some(b)) if a != b);
    if kinds.iter().any(|kind| matches!(kind, SourceKind::Git(url) if contradicts(url))) {
        return Err(LowerProblem::Flag("inconsistent keep-git-dir configuration"));
    }
    Ok(())
}

/// A source from the root of its file system. With `--parents`, `/./` marks where the kept parents start.
fn clean_source(source: &str, parents: bool) -> String {
    match source.split_once("/./").filter(|_| parents) {
        Some((before, after)) => {
            let before = path::clean_absolute(before);
            let after = path::clean_absolute(after);
            format!("{}/.{after}", before.trim_end_matches('/'))
        }
        None => path::clean_absolute(source),
    }
}

fn history_text(copy: &Copy, common: &Common, sources: &[String]) -> String {
    let mut text = if common.add { "ADD" } else { "COPY" }.to_owned();
    let mut push = |word: &str| {
        text.push(' ');
        text.push_str(word);
    };
    if common.parents {
        push("--parents");
    }
    if let Some(owner) = &common.owner {
        push(&format!("--chown={owner}"));
    }
    if let Some(mode) = &common.written_chmod {
        push(&format!("--chmod={mode}"));
    }
    sources.iter().for_each(|source| push(&source_kind::without_credentials(source)));
    copy.heredocs.iter().for_each(|heredoc| push(&format!("<<{}", heredoc.name)));
    push(&common.destination);
    push("# buildkit");
    text
}

/// An octal mode up to 07777, or clauses such as `u+x,go=rX`.
fn parse_chmod(text: &str) -> Option<Chmod> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)?;
        return Some(Chmod::Octal(mode));
    }
    text.split(',').all(is_clause).then(|| Chmod::Symbolic(text.to_owned()))
}

/// `[ugoa]*([-+=][rwxXst]*)+` or `[-+=][ugo]`.
fn is_clause(clause: &str) -> bool {
    let rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    let mut parts = rest.split(['+', '-', '=']);
    rest.starts_with(['+', '-', '='])
        && parts.next() == Some("")
        && parts.all(|permissions| {
            permissions.chars().all(|c| "rwxXst".contains(c)) || matches!(permissions, "u" | "g" | "o")
        })
}
