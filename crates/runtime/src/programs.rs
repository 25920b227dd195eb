//! Programs as the kernel has them, whoever loaded them.

use std::collections::BTreeMap;

use skep_kernel::program::{ProgramInfo, RunStats, TestRun};
use skep_kernel::{MapHandle, Program, loaded};
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

/// Programs of services' generations by their numbers.
#[derive(Debug)]
pub struct OwnedPrograms(BTreeMap<u32, (ServiceName, String, u64)>);

impl Runtime {
    /// Whose each program of services is.
    #[must_use]
    pub fn owned_programs(&self) -> OwnedPrograms {
        let mut owners = BTreeMap::new();
        for (service, state) in &self.state.services {
            for generation in state.generations.values() {
                let programs = generation.incarnation.iter().flat_map(|i| &i.programs);
                let owner = |name: &String| (service.clone(), name.clone(), generation.number);
                owners.extend(programs.map(|(name, record)| (record.id, owner(name))));
            }
        }
        OwnedPrograms(owners)
    }
}

impl OwnedPrograms {
    /// They, or every program of this kernel; those that went meanwhile are left out.
    ///
    /// # Errors
    /// The kernel does not list them.
    pub fn lines(&self, all: bool) -> Result<Vec<ProgramLine>, RuntimeError> {
        let ids = if all { loaded::programs()? } else { self.0.keys().copied().collect() };
        let line = |id: u32| {
            let info = Program::by_id(id).and_then(|program| program.info()).ok()?;
            let owner = self.0.get(&id);
            Some(ProgramLine {
                name: owner.map_or_else(|| info.name.clone(), |(_, name, _)| name.clone()),
                service: owner.map(|(service, ..)| service.clone()),
                generation: owner.map(|(.., generation)| *generation),
                info,
            })
        };
        Ok(ids.into_iter().filter_map(line).collect())
    }
}

/// Has the kernel count the runs of all programs until it goes.
#[derive(Debug)]
pub struct Counting {
    _on: RunStats,
}

impl Counting {
    /// Begins.
    ///
    /// # Errors
    /// The kernel has no such counts.
    pub fn begin() -> Result<Self, RuntimeError> {
        Ok(Self { _on: RunStats::begin()? })
    }
}

/// A program's instructions, as the kernel runs or compiles them.
///
/// # Errors
/// There is no such program, or the kernel does not show it.
pub fn instructions(id: u32) -> Result<Vec<u8>, RuntimeError> {
    Ok(by_id(id)?.translated()?)
}

/// The name of a map that instructions name by its number, while it is there.
#[must_use]
pub fn map_name(id: u32) -> Option<String> {
    MapHandle::by_id(id).ok().map(|map| map.name().to_owned())
}

/// Runs a program `repeat` times on `data`, which no hook has anything to do with.
///
/// # Errors
/// There is no such program, or the kernel runs none of its type.
pub fn test_run(id: u32, data: &[u8], repeat: u32) -> Result<TestRun, RuntimeError> {
    Ok(by_id(id)?.test_run(data, repeat)?)
}

fn by_id(id: u32) -> Result<Program, RuntimeError> {
    Program::by_id(id).map_err(|error| match error.is_not_found() {
        true => RuntimeError::NoId { what: "program", id },
        false => error.into(),
    })
}
