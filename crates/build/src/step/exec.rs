//! Executing a process: RUN.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_graph::{BindMount, ExecOp, InputIndex, Mount, MountKind, NetworkMode, SecurityMode, VertexId};
use kiln_oci::Platform;
use kiln_progress::{Stream, Warning};
use kiln_runtime::Memory;
use kiln_sandbox::{
    Cancellation, Execution, Finished, Host, Limit, Network, Process, Resource, Secret, Security, Source, Upper,
    emulation,
};
use kiln_solver::Product;
use kiln_store::{Key, Kind, LockGuard, StagedLayer, Union};

use super::file::{CopiedTree, root_metadata};
use super::handover::Announced;
use super::identify::known_digest;
use super::secret::{secret_variable, set_variables};
use super::ssh::socket_variable;
use super::{Cancelled, Held, HeldCache, Made, Rootfs, Steps, device};
use crate::diagnosis::{self, OutOfMemory, Tail};
use crate::error::{Entitlement, StepProblem};
use crate::tree::Node;

/// What a step needs around its process while it runs.
struct Surroundings {
    mounts: Vec<kiln_sandbox::Mount>,
    /// What was mounted from contexts, and from which input each.
    contexts: Vec<(InputIndex, CopiedTree)>,
    /// Variables that hold secrets, name sockets or belong to devices, as `NAME=VALUE`.
    variables: Vec<String>,
    /// Groups that devices ask for.
    groups: Vec<u32>,
}

impl Steps {
    /// Runs a process and makes a layer of what it left.
    pub(super) fn execute_process(
        &self,
        id: VertexId,
        op: &ExecOp,
        inputs: &[Made],
        held: Held<'_>,
        cancellation: &Cancellation,
    ) -> Result<Product<Key, Made>, StepProblem> {
        self.check_allowed(op)?;
        let cancelled = || cancellation.is_cancelled();
        let base_layers = op.root.map_or(&[][..], |root| inputs[root.0 as usize].layers());
        let base = Union::new(base_layers.to_vec())?;
        let mut surroundings = self.surroundings(op, inputs, held.caches, &cancelled)?;
        let copied = std::mem::take(&mut surroundings.contexts);
        let staged = self.store.layers().stage(&root_metadata(&base))?;
        let whole = self.run_process(id, op, &base, &staged, surroundings, held, cancellation)?;
        let layer = staged.commit_upper(&base)?;
        let layer = self.interned(id, layer)?;
        let made = op.root.and_then(|root| inputs[root.0 as usize].rootfs()).cloned().unwrap_or_default().with(layer);
        let contexts = copied.iter().map(|(_, tree)| tree.digest()).collect::<Result<Vec<_>, _>>()?;
        let taken: Vec<_> = copied.iter().map(|(input, tree)| tree.taken(*input)).collect();
        if whole { self.record(id, inputs, contexts, made, &taken) } else { self.unrecorded(id, &contexts, made) }
    }

    /// What a step made that another run of it would not make: nothing finds it later, nor what is built on it.
    fn unrecorded(&self, id: VertexId, contexts: &[[u8; 32]], made: Rootfs) -> Result<Product<Key, Made>, StepProblem> {
        let recipe = self.recipe_of_landed(id, contexts)?;
        let mut hasher = blake3::Hasher::new_derive_key("kiln result of one build only 1");
        hasher.update(&recipe.0).update(self.build_id.as_bytes());
        let recipe = Key(*hasher.finalize().as_bytes());
        Ok(Product { recipe, output: Made::Rootfs(Arc::new(made)), anew: true })
    }

    fn check_allowed(&self, op: &ExecOp) -> Result<(), StepProblem> {
        let refuse = |entitlement| Err(StepProblem::NotAllowed(entitlement));
        match (op.network, op.security) {
            (NetworkMode::Host, _) if !self.allow.host_network => refuse(Entitlement::HostNetwork),
            (_, SecurityMode::Insecure) if !self.allow.insecure => refuse(Entitlement::Insecure),
            _ => Ok(()),
        }
    }

    /// Runs the process of a step. False where it ended well, but not by itself: it may have lost a part to a limit.
    #[expect(clippy::too_many_arguments, reason = "all that a process is made of")]
    fn run_process(
        &self,
        id: VertexId,
        op: &ExecOp,
        base: &Union,
        staged: &StagedLayer,
        surroundings: Surroundings,
        held: Held<'_>,
        cancellation: &Cancellation,
    ) -> Result<bool, StepProblem> {
        let mut execution = self.execution(op, base, staged)?;
        execution.mounts = surroundings.mounts;
        execution.process.identity.additional_gids.extend(surroundings.groups);
        set_variables(&mut execution.process.env, surroundings.variables);
        execution.cancellation = cancellation.clone();
        let locks = held.locks.iter().chain(held.caches.iter().map(|cache| &cache.lock));
        let locks: Result<Vec<_>, _> = locks.map(LockGuard::duplicate).collect();
        execution.held_locks = locks?;
        self.note_tier();
        let mut output = self.step_output(id)?;
        let announced = Announced::new(self, held.key, output.log.path().to_owned());
        let kills = Memory::now().kills;
        let mut tail = Tail::default();
        let finished = self.sandbox.run(execution, &mut |stream, bytes| {
            tail.add(bytes);
            output.write(stream, bytes);
        });
        let architecture = &self.vertex(id).platform.architecture;
        let step = diagnosis::Step { op, rootfs: base, architecture, store: self.store.root() };
        let result = match finished {
            Ok(finished) => {
                finished.notes.iter().for_each(|note| self.note(&note.0));
                self.ending(id, &step, &finished, kills, &tail)
            }
            Err(kiln_sandbox::Error::Cancelled) => Err(StepProblem::Cancelled),
            Err(error) => Err(start_problem(&step, &self.vertex(id).platform, error)),
        };
        announced.ended(&result);
        result
    }

    /// What the end of a process means; `kills` is how often the kernel had killed for want of memory before.
    fn ending(
        &self,
        id: VertexId,
        step: &diagnosis::Step<'_>,
        finished: &Finished,
        kills: Option<u64>,
        tail: &Tail,
    ) -> Result<bool, StepProblem> {
        if let (true, Some(limit)) = (finished.timed_out, self.bounds.time) {
            let diagnosis = Box::new(diagnosis::of_timeout(tail));
            return Err(StepProblem::TimedOut { command: step.op.args.join(" "), limit, diagnosis });
        }
        let code = i32::from(finished.status.exit_code());
        let out_of_memory = out_of_memory(finished, self.bounds.memory, kills);
        if code == 0 {
            if finished.out_of_memory {
                let short = "the kernel killed a process of this step for want of memory, yet the step ended well: \
                             its result is not kept for later builds";
                self.task(id).warn(Warning { short: short.to_owned(), detail: Vec::new() });
            }
            return Ok(!finished.out_of_memory);
        }
        let diagnosis = Box::new(diagnosis::of_exit(step, code, out_of_memory, tail));
        Err(StepProblem::Exit { command: step.op.args.join(" "), code, note: None, diagnosis })
    }

    fn execution(&self, op: &ExecOp, base: &Union, staged: &StagedLayer) -> Result<Execution, StepProblem> {
        let upper = Upper { fs: staged.fs_path().to_owned(), work: staged.work_path().to_owned(), volatile: true };
        let env = op.env.iter().chain(&op.proxy_env).cloned().collect();
        let process = Process::new(op.args.clone(), env, &op.cwd, self.sandbox.identity(&op.user, base)?);
        let mut execution = Execution::build_step(base.layers().to_vec(), upper, process);
        if let Some(hostname) = &op.hostname {
            execution.hostname.clone_from(hostname);
        }
        execution.network = match op.network {
            NetworkMode::Default => Network::Default,
            NetworkMode::None => Network::None,
            NetworkMode::Host => Network::Host,
        };
        execution.security = match op.security {
            SecurityMode::Sandbox => Security::Sandbox,
            SecurityMode::Insecure => Security::Insecure,
        };
        execution.extra_hosts = op.extra_hosts.iter().map(host).collect::<Result<_, _>>()?;
        execution.limits = op.ulimits.iter().map(limit).collect::<Result<_, _>>()?;
        execution.shm_size = op.shm_size;
        execution.cgroup_parent.clone_from(&op.cgroup_parent);
        execution.bounds = self.bounds;
        Ok(execution)
    }

    /// Prepares the mounts of a step.
    fn surroundings(
        &self,
        op: &ExecOp,
        inputs: &[Made],
        caches: &[HeldCache],
        cancelled: Cancelled<'_>,
    ) -> Result<Surroundings, StepProblem> {
        let device::Attached { mut mounts, mut variables, groups } = self.devices(op)?;
        let mut contexts = Vec::new();
        for mount in &op.mounts {
            let source = match &mount.kind {
                MountKind::Bind(bind) => {
                    self.bind_source(bind, &inputs[bind.from.0 as usize], &mut contexts, cancelled)?
                }
                MountKind::Cache(cache) => match caches.iter().find(|held| held.id == cache.id) {
                    Some(held) => Source::Host(held.directory.clone()),
                    None => continue,
                },
                MountKind::Tmpfs(tmpfs) => Source::Tmpfs { size: tmpfs.size, mode: None },
                MountKind::Secret(secret) => {
                    let Some(value) = self.secret_value(secret)? else { continue };
                    variables.extend(secret_variable(secret, &value)?);
                    if !secret.as_file {
                        continue;
                    }
                    Source::Content { bytes: value, mode: secret.mode, uid: secret.uid, gid: secret.gid }
                }
                MountKind::Ssh(ssh) => match self.ssh_socket(ssh)? {
                    Some(source) => source,
                    None => continue,
                },
            };
            mounts.push(kiln_sandbox::Mount {
                target: PathBuf::from(&mount.target),
                source,
                read_only: read_only(mount),
            });
        }
        variables.extend(socket_variable(op));
        mounts.extend(op.scripts.iter().map(|(path, content)| script(path, content)));
        Ok(Surroundings { mounts, contexts, variables, groups })
    }

    /// A bind mount's source; a context is copied into a layer first, as it counts: ignore rules applied, owned by
    /// root, never the user's directory itself.
    fn bind_source(
        &self,
        bind: &BindMount,
        input: &Made,
        contexts: &mut Vec<(InputIndex, CopiedTree)>,
        cancelled: Cancelled<'_>,
    ) -> Result<Source, StepProblem> {
        let open = match input {
            Made::Rootfs(rootfs) => {
                return Ok(Source::Layers { layers: rootfs.layers().to_vec(), path: PathBuf::from(&bind.source) });
            }
            Made::Elsewhere(distant) => return Err(distant.not_here()),
            Made::Context(open) => open,
        };
        let known = |node: &Node| known_digest(open, node);
        let copied = self.copy_of(open.tree(), (bind.from, &bind.source), &known, cancelled)?;
        let single = copied.selection().sources.first().filter(|one| one.root.kind != Kind::Directory);
        let path = single.map(|one| PathBuf::from(OsStr::from_bytes(&one.name))).unwrap_or_default();
        let layers = vec![copied.layer.clone()];
        contexts.push((bind.from, copied));
        Ok(Source::Layers { layers, path })
    }
}

fn read_only(mount: &Mount) -> bool {
    match &mount.kind {
        MountKind::Bind(bind) => !bind.read_write,
        MountKind::Cache(cache) => cache.read_only,
        MountKind::Tmpfs(_) | MountKind::Secret(_) | MountKind::Ssh(_) => false,
    }
}

fn script(path: &str, content: &kiln_graph::Content) -> kiln_sandbox::Mount {
    let source = Source::Content { bytes: Secret(content.0.clone()), mode: 0o755, uid: 0, gid: 0 };
    kiln_sandbox::Mount { target: PathBuf::from(path), source, read_only: true }
}

fn host(host: &kiln_graph::ExtraHost) -> Result<Host, StepProblem> {
    let address = host.address.trim_matches(['[', ']']).parse();
    let bad = |_| StepProblem::Other(format!("--add-host {}: {:?} is no address", host.name, host.address));
    Ok(Host { name: host.name.clone(), address: address.map_err(bad)? })
}

fn limit(ulimit: &kiln_graph::Ulimit) -> Result<Limit, StepProblem> {
    let resource = match ulimit.name.as_str() {
        "core" => Resource::RlimitCore,
        "cpu" => Resource::RlimitCpu,
        "data" => Resource::RlimitData,
        "fsize" => Resource::RlimitFsize,
        "locks" => Resource::RlimitLocks,
        "memlock" => Resource::RlimitMemlock,
        "msgqueue" => Resource::RlimitMsgqueue,
        "nice" => Resource::RlimitNice,
        "nofile" => Resource::RlimitNofile,
        "nproc" => Resource::RlimitNproc,
        "rss" => Resource::RlimitRss,
        "rtprio" => Resource::RlimitRtprio,
        "rttime" => Resource::RlimitRttime,
        "sigpending" => Resource::RlimitSigpending,
        "stack" => Resource::RlimitStack,
        other => return Err(StepProblem::Other(format!("invalid ulimit type: {other}"))),
    };
    let value = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
    Ok(Limit { resource, soft: value(ulimit.soft), hard: value(ulimit.hard) })
}

/// Whether a process that failed did so for want of memory: within its own control group, or as the kernel killed
/// something meanwhile and this was killed.
fn out_of_memory(finished: &Finished, limit: Option<u64>, kills_before: Option<u64>) -> Option<OutOfMemory> {
    if finished.out_of_memory {
        return Some(OutOfMemory { limit });
    }
    let killed = finished.status.exit_code() == 137 && kills_before.is_some() && Memory::now().kills > kills_before;
    killed.then_some(OutOfMemory { limit: None })
}

fn start_problem(step: &diagnosis::Step<'_>, platform: &Platform, error: kiln_sandbox::Error) -> StepProblem {
    match error {
        kiln_sandbox::Error::Start(start) => {
            let diagnosis = Box::new(diagnosis::of_start(step));
            let mut note = crate::error::chain(&start);
            if let (None, Some(reason)) = (&diagnosis.cause, emulation::explain(platform, &start)) {
                note.push_str(&format!("\nhint: {reason}"));
            }
            let note = Some(note);
            StepProblem::Exit { command: step.op.args.join(" "), code: i32::from(start.exit_code()), note, diagnosis }
        }
        other => StepProblem::from(other),
    }
}

/// Where the output of a step goes: to those who watch, and to its log.
pub(crate) struct StepOutput {
    pub(super) task: kiln_progress::Task,
    pub(super) log: kiln_store::LogWriter,
}

impl StepOutput {
    /// A full disk must not end the step: its log is then shorter, and what is shown is whole.
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let _ = std::io::Write::write_all(&mut self.log, bytes);
        self.task.log(stream, bytes);
    }
}
