//! Sockets of `RUN --mount=type=ssh` while a step uses them: part of no key and no record.

use std::sync::Arc;

use kiln_graph::{ExecOp, MountKind, SshMount};
use kiln_sandbox::{Serve, Source};

use super::Steps;
use crate::error::StepProblem;

/// Where a process looks for an agent.
const VARIABLE: &str = "SSH_AUTH_SOCK";

impl Steps {
    /// A socket on which the caller's agent answers; `None` if there is none and the step can do without.
    pub(super) fn ssh_socket(&self, ssh: &SshMount) -> Result<Option<Source>, StepProblem> {
        let Some(agent) = self.client.ssh_agent(&ssh.id) else {
            return if ssh.required { Err(StepProblem::MissingSshAgent(ssh.id.clone())) } else { Ok(None) };
        };
        let serve = Serve(Arc::new(move |connection| agent.serve(connection)));
        Ok(Some(Source::Socket { serve, mode: ssh.mode, uid: ssh.uid, gid: ssh.gid }))
    }
}

/// The variable that names the first socket, as `NAME=VALUE`, whether there is an agent or not; none where the image
/// sets it.
pub(super) fn socket_variable(op: &ExecOp) -> Option<String> {
    let first = op.mounts.iter().find(|mount| matches!(mount.kind, MountKind::Ssh(_)))?;
    let is_set = op.env.iter().any(|variable| variable.split('=').next() == Some(VARIABLE));
    (!is_set).then(|| format!("{VARIABLE}={}", first.target))
}
