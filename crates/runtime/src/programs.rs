//! Programs as the kernel has them, whoever loaded them.

use std::collections::BTreeMap;

use skep_kernel::program::ProgramInfo;
use skep_kernel::{Program, loaded};
use skep_spec::ServiceName;

use crate::error::RuntimeError;
use crate::runtime::Runtime;

/// A program of this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramLine {
    /// What the kernel says.
    pub info: ProgramInfo,
    /// Its whole name: of a service's program as the manifest has it.
    pub name: String,
    /// Whose program it is.
    pub service: Option<ServiceName>,
    /// The generation of the service that it is of.
    pub generation: Option<u64>,
}

impl Runtime {
    /// The programs of services' generations, or every program of this kernel; those that go meanwhile are left out.
    ///
    /// # Errors
    /// The kernel does not list them.
    pub fn kernel_programs(&self, all: bool) -> Result<Vec<ProgramLine>, RuntimeError> {
        let mut owners = BTreeMap::new();
        for (service, state) in &self.state.services {
            for generation in state.generations.values() {
                let programs = generation.incarnation.iter().flat_map(|i| &i.programs);
                let owned =
                    programs.map(|(name, record)| (record.id, (service, name, generation.number)));
                owners.extend(owned);
            }
        }
        let ids = if all { loaded::programs()? } else { owners.keys().copied().collect() };
        let line = |id: u32| {
            let info = Program::by_id(id).and_then(|program| program.info()).ok()?;
            let owner = owners.get(&id);
            Some(ProgramLine {
                name: owner.map_or_else(|| info.name.clone(), |(_, name, _)| (*name).clone()),
                service: owner.map(|(service, ..)| (*service).clone()),
                generation: owner.map(|(.., generation)| *generation),
                info,
            })
        };
        Ok(ids.into_iter().filter_map(line).collect())
    }
}

/// A program by the number that this kernel has of it.
///
/// # Errors
/// There is none.
pub fn by_id(id: u32) -> Result<Program, RuntimeError> {
    Program::by_id(id).map_err(|error| match error.is_not_found() {
        true => RuntimeError::NoId { what: "program", id },
        false => error.into(),
    })
}
