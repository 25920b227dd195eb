//! Programs as the kernel has them, whoever loaded them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use skep_kernel::maps::{kind, prog_array};
use skep_kernel::program::{LoadKind, ProgramInfo, RunStats, TestRun};
use skep_kernel::{MapHandle, Program, loaded};
use skep_spec::ServiceName;

use crate::error::RuntimeError;
use crate::runtime::Runtime;
use crate::state::Mechanism;

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
    /// Whose runs the kernel counts for it.
    pub counted: Counted,
}

/// The kernel counts a run for the program that is attached, and none for those that it goes on to: of a tail call, or where an
/// extension stands for a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Its own.
    Itself,
    /// Those of the stub on its hook, which calls it each time while its generation is the active one.
    Stub {
        /// The stub's number.
        id: u32,
        /// Of the stub, since it is on the hook.
        runs: u64,
        /// Nanoseconds that these took, with all that the stub calls.
        run_ns: u64,
    },
    /// None.
    Nothing(Uncounted),
}

/// Why no runs are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncounted {
    /// Its generation is not the active one: the stub on its hook calls another one.
    NotActive,
    /// Others call it, by an entry of a program array.
    Called,
    /// It stands for a function of another program.
    Extension,
}

/// Programs of services' generations by their numbers.
#[derive(Debug)]
pub struct OwnedPrograms(BTreeMap<u32, Owner>);

#[derive(Debug)]
struct Owner {
    service: ServiceName,
    name: String,
    generation: u64,
    behind: Option<Behind>,
}

/// The stub that a program stands behind.
#[derive(Debug)]
struct Behind {
    stub: PathBuf,
    active: bool,
}

impl Runtime {
    /// Whose each program of services is.
    #[must_use]
    pub fn owned_programs(&self) -> OwnedPrograms {
        let mut owners = BTreeMap::new();
        for (service, state) in &self.state.services {
            let stub = |hook: &String| {
                let is_stub = state.hooks.get(hook)?.mechanism == Mechanism::Stub;
                is_stub.then(|| self.pins(service).stub(hook))
            };
            for generation in state.generations.values() {
                let active = generation.number == state.active;
                for (name, record) in generation.incarnation.iter().flat_map(|i| &i.programs) {
                    let stub = record.hook.as_ref().and_then(stub);
                    let owner = Owner {
                        service: service.clone(),
                        name: name.clone(),
                        generation: generation.number,
                        behind: stub.map(|stub| Behind { stub, active }),
                    };
                    owners.insert(record.id, owner);
                }
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
        let called = called()?;
        let line = |id: u32| {
            let info = Program::by_id(id).and_then(|program| program.info()).ok()?;
            let owner = self.0.get(&id);
            Some(ProgramLine {
                name: owner.map_or_else(|| info.name.clone(), |owner| owner.name.clone()),
                service: owner.map(|owner| owner.service.clone()),
                generation: owner.map(|owner| owner.generation),
                counted: counted(&info, owner.and_then(|owner| owner.behind.as_ref()), &called),
                info,
            })
        };
        Ok(ids.into_iter().filter_map(line).collect())
    }
}

fn counted(info: &ProgramInfo, behind: Option<&Behind>, called: &BTreeSet<u32>) -> Counted {
    const EXTENSION: u32 = 28; // BPF_PROG_TYPE_EXT, include/uapi/linux/bpf.h
    match behind {
        Some(Behind { active: false, .. }) => return Counted::Nothing(Uncounted::NotActive),
        Some(Behind { stub, .. }) => {
            let stub = Program::open_pinned(stub, LoadKind::default());
            if let Ok(ProgramInfo { id, runs, run_ns, .. }) = stub.and_then(|stub| stub.info()) {
                return Counted::Stub { id, runs, run_ns };
            }
        }
        None => {}
    }
    // What is attached too has runs of its own.
    match info.runs {
        0 if info.prog_type == EXTENSION => Counted::Nothing(Uncounted::Extension),
        0 if called.contains(&info.id) => Counted::Nothing(Uncounted::Called),
        _ => Counted::Itself,
    }
}

/// The programs that stand in an entry of a program array; what went meanwhile is left out.
fn called() -> Result<BTreeSet<u32>, RuntimeError> {
    let arrays = loaded::maps()?.into_iter().filter_map(|id| MapHandle::by_id(id).ok());
    let arrays = arrays.filter(|map| map.info().kind == kind::PROG_ARRAY);
    let programs = |array: MapHandle| -> Vec<u32> {
        let slot = |slot| prog_array::program_id(&array, slot).ok().flatten();
        (0..array.info().max_entries).filter_map(slot).collect()
    };
    Ok(arrays.flat_map(programs).collect())
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

/// The machine code that the kernel made of a program; empty where there is none, or it is hidden.
///
/// # Errors
/// There is no such program, or the kernel does not show it.
pub fn machine_code(id: u32) -> Result<Vec<u8>, RuntimeError> {
    Ok(by_id(id)?.machine_code()?)
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
