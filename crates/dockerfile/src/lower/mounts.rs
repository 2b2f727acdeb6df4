//! The mounts of a RUN.

use kiln_graph::{
    BindMount, CacheMount, CacheSharing, Mount as GraphMount, MountKind, SecretMount, SshMount, TmpfsMount, VertexId,
};

use crate::error::{Error, LowerProblem};
use crate::instruction::Run;
use crate::mount::{Mount, MountSharing, MountType};
use crate::names::Origin;
use crate::path;
use crate::shell::{Options, Shell};

use super::inputs::Inputs;
use super::state::State;
use super::{Lowering, MAIN_CONTEXT, Place, describe};

/// The build argument that keeps the caches of one build apart from those of others.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

impl Lowering<'_> {
    pub(super) fn mounts(
        &mut self,
        state: &State,
        place: &Place<'_>,
        run: &Run,
        inputs: &mut Inputs,
    ) -> Result<Vec<GraphMount>, Error> {
        let shell = Shell::new(self.plan.dockerfile.directives.escape, Options::default());
        let expand = |word: &str| Ok(shell.expand(word, &state.environment)?.word);
        let mut mounts = Vec::new();
        let mut sockets = 0;
        for fields in &run.mounts {
            let located = |error: Error| Error { span: Some(place.span.clone()), ..error };
            let mount = fields.understand(&expand).map_err(located)?;
            if mount.kind == MountType::Ssh {
                sockets += 1;
            }
            mounts.push(self.mount(state, place, &mount, sockets, inputs)?);
        }
        Ok(mounts)
    }

    fn mount(
        &mut self,
        state: &State,
        place: &Place<'_>,
        mount: &Mount,
        sockets: usize,
        inputs: &mut Inputs,
    ) -> Result<GraphMount, Error> {
        match mount.kind {
            MountType::Secret => return Ok(secret(state, mount)),
            MountType::Ssh => return Ok(ssh(state, mount, sockets.saturating_sub(1))),
            MountType::Bind | MountType::Cache | MountType::Tmpfs => {}
        }
        let written = mount.target.clone().unwrap_or_default();
        let target = path::resolve(&state.directory, &written);
        if target == "/" {
            return Err(Error::new(LowerProblem::MountTarget(target), Some(place.span.clone())));
        }
        let source = path::clean_absolute(mount.source.as_deref().unwrap_or_default());
        let from = match mount.kind {
            MountType::Tmpfs => None,
            kind => self.mount_origin(state, place, mount, kind)?.map(|vertex| inputs.add(vertex)),
        };
        let kind = match (mount.kind, from) {
            (MountType::Bind, Some(from)) => MountKind::Bind(BindMount { from, source, read_write: !mount.read_only }),
            (MountType::Cache, seed) => MountKind::Cache(CacheMount {
                id: self.cache_id(mount, &target),
                sharing: match mount.sharing {
                    None | Some(MountSharing::Shared) => CacheSharing::Shared,
                    Some(MountSharing::Private) => CacheSharing::Private,
                    Some(MountSharing::Locked) => CacheSharing::Locked,
                },
                seed,
                source,
                uid: mount.uid.unwrap_or(0),
                gid: mount.gid.unwrap_or(0),
                mode: mount.mode.unwrap_or(0o755),
                read_only: mount.read_only,
            }),
            _ => MountKind::Tmpfs(TmpfsMount { size: mount.size }),
        };
        Ok(GraphMount { target, kind })
    }

    /// The id of a cache, in the name space that a build argument asks for.
    fn cache_id(&self, mount: &Mount, target: &str) -> String {
        let id = mount.id.as_deref().filter(|id| !id.is_empty()).unwrap_or(target);
        match self.plan.options.build_args.get(CACHE_NAMESPACE).filter(|namespace| !namespace.is_empty()) {
            Some(namespace) => format!("{namespace}/{id}"),
            None => id.to_owned(),
        }
    }

    /// What is mounted; for a cache what it starts with, if anything.
    fn mount_origin(
        &mut self,
        state: &State,
        place: &Place<'_>,
        mount: &Mount,
        kind: MountType,
    ) -> Result<Option<VertexId>, Error> {
        match mount.from.as_deref().filter(|from| !from.is_empty()) {
            Some(from) => self.origin_named(state, place, from).map(Some),
            None if kind == MountType::Bind => self.context(MAIN_CONTEXT, &state.platform).map(Some),
            None => Ok(None),
        }
    }

    /// The root file system that `from` means in this stage.
    pub(super) fn origin_named(&mut self, state: &State, place: &Place<'_>, from: &str) -> Result<VertexId, Error> {
        let root = match self.plan.stages.names.copied_from(place.stage, from, place.span)? {
            Origin::Scratch => None,
            Origin::Context(name) => Some(self.context(&name, &state.platform)?),
            Origin::Stage(index) => self.finished.root(index),
            Origin::Image(name) => {
                let display = format!("FROM {}", describe(&name));
                self.image(&name, &state.platform, place.span, display)?
            }
            Origin::Invalid { name, reason } => {
                return Err(Error::new(LowerProblem::BaseName { name, reason }, Some(place.span.clone())));
            }
        };
        match root {
            Some(root) => Ok(root),
            None => self.empty(&state.platform),
        }
    }
}

fn secret(state: &State, mount: &Mount) -> GraphMount {
    let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let target = text(&mount.target);
    let id = text(&mount.id)
        .or_else(|| text(&mount.source))
        .or_else(|| target.as_deref().map(|target| path::base_name(target).to_owned()))
        .unwrap_or_default();
    let as_file = mount.env.is_none() || target.is_some();
    let target = target.unwrap_or_else(|| format!("/run/secrets/{}", path::base_name(&id)));
    GraphMount {
        target: path::resolve(&state.directory, &target),
        kind: MountKind::Secret(SecretMount {
            id,
            variable: text(&mount.env),
            as_file,
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
            mode: mount.mode.unwrap_or(0o400),
            required: mount.required,
        }),
    }
}

fn ssh(state: &State, mount: &Mount, number: usize) -> GraphMount {
    let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let target = text(&mount.target).unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{number}"));
    GraphMount {
        target: path::resolve(&state.directory, &target),
        kind: MountKind::Ssh(SshMount {
            id: text(&mount.id).or_else(|| text(&mount.source)).unwrap_or_else(|| "default".to_owned()),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
            mode: mount.mode.unwrap_or(0o600),
            required: mount.required,
        }),
    }
}
