//! Loading services again: after a reboot, and where the kernel lost what they had.

use std::collections::BTreeMap;

use skep_spec::{ServiceName, chain, life};

use crate::bring_up::BringUp;
use crate::error::RuntimeError;
use crate::failure::Failure;
use crate::recover::Recovery;
use crate::runtime::Runtime;
use crate::state::{Generation, Op};

impl Runtime {
    /// Loads the active generation of every service that has none in the kernel, or the one before it.
    pub(crate) fn start_all(&mut self, recovery: &mut Recovery) {
        for name in self.names() {
            if !self.is_idle(&name) {
                continue;
            }
            match self.start_first(&name) {
                Ok(()) => recovery.started.push(name),
                Err(why) => self.fail(&name, Failure::Down(why), recovery),
            }
        }
    }

    /// Whether the kernel has nothing of a service.
    pub(crate) fn is_idle(&self, name: &ServiceName) -> bool {
        let active = self.state.services.get(name).and_then(|service| service.active());
        active.is_none_or(|generation| generation.incarnation.is_none())
    }

    fn start_first(&mut self, name: &ServiceName) -> Result<(), String> {
        self.op = Op::Recover;
        // Another start of it, begun at an earlier start of ours and not ended: what it left is not to be built upon.
        if let Some(aside) = self.state.aside.get(name) {
            return Err(format!("its {} is half done: {}", aside.pending.op, aside.why));
        }
        // What is still attached of it would be doubled.
        self.converge(name).map_err(|error| chain(&error))?;
        let Some(service) = self.state.services.get(name).cloned() else { return Ok(()) };
        let mut began = false;
        let start = |number| {
            let Some(generation) = service.generations.get(&number) else {
                return Err(format!("generation {number} is not kept"));
            };
            if began && self.state.aside.contains_key(name) {
                return Err(format!("generation {number} waits for what was begun before it"));
            }
            began = true;
            self.start(name, generation).map_err(|error| {
                format!("generation {number} ({}): {}", generation.version, chain(&error))
            })
        };
        let lost = service.lost.iter().map(|why| format!("it was lost ({why})"));
        match life::after_reboot(service.active, service.previous, start) {
            Ok(_) => Ok(()),
            Err(reasons) => Err(lost.chain(reasons).collect::<Vec<_>>().join("; ")),
        }
    }

    fn start(
        &mut self,
        service: &ServiceName,
        generation: &Generation,
    ) -> Result<(), RuntimeError> {
        let package = self.package(&generation.index)?;
        let up = BringUp {
            op: Op::Activate,
            service: service.clone(),
            package: &package,
            generation: generation.clone(),
            from: None,
            changes: BTreeMap::new(),
        };
        self.bring_up(&up).map(drop)
    }
}
