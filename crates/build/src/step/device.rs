//! Devices of `RUN --device` while a step uses them: nodes and files of this machine, bound into the root file system.

use kiln_graph::ExecOp;
use kiln_sandbox::{Mount, Source};

use super::Steps;
use crate::devices::{Described, Devices};
use crate::error::{Entitlement, StepProblem};

/// What a process gets for its devices.
#[derive(Default)]
pub(super) struct Attached {
    pub(super) mounts: Vec<Mount>,
    /// Variables, as `NAME=VALUE`.
    pub(super) variables: Vec<String>,
    /// Groups of the process.
    pub(super) groups: Vec<u32>,
}

impl Steps {
    /// Finds the devices of a step. One that is missing and not required is left out, and said.
    pub(super) fn devices(&self, op: &ExecOp) -> Result<Attached, StepProblem> {
        let mut attached = Attached::default();
        if op.devices.is_empty() {
            return Ok(attached);
        }
        let known = Devices::of_this_machine();
        let mut names: Vec<&str> = Vec::new();
        for wanted in &op.devices {
            let found = known.find(&wanted.name);
            if found.is_empty() && wanted.required {
                return Err(StepProblem::MissingDevice { name: wanted.name.clone(), faults: known.faults });
            }
            if found.is_empty() {
                self.note(&format!("optional device {:?} is not registered", wanted.name));
            }
            for device in found {
                if !names.contains(&device.name.as_str()) {
                    names.push(&device.name);
                    self.attach(device, &mut attached)?;
                }
            }
        }
        Ok(attached)
    }

    fn attach(&self, device: &Described, attached: &mut Attached) -> Result<(), StepProblem> {
        if !device.is_free() && !self.allow.devices.permit(&device.name) {
            return Err(StepProblem::NotAllowed(Entitlement::Device(device.name.clone())));
        }
        let edits = &device.edits;
        if let Some(what) = edits.unsupported() {
            return Err(StepProblem::Unsupported(format!("device {}: it asks for {what}; that", device.name)));
        }
        let nodes = edits.device_nodes.iter().map(|node| Mount {
            target: node.path.clone(),
            source: Source::Host(node.source().to_owned()),
            read_only: false,
        });
        let files = edits.mounts.iter().map(|mount| Mount {
            target: mount.container_path.clone(),
            source: Source::Host(mount.host_path.clone()),
            read_only: mount.is_read_only(),
        });
        attached.mounts.extend(nodes.chain(files));
        attached.variables.extend(edits.env.iter().cloned());
        attached.groups.extend(&edits.additional_gids);
        Ok(())
    }
}
