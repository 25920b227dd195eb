//! Whether a new version's programs may take the place of those that run: what objects say of it before anything is loaded, and
//! what the kernel says after.

use skep_kernel::Program;
use skep_object::ProgramFacts;
use skep_spec::ServiceName;

use crate::at_map::interface;
use crate::choose::Objects;
use crate::error::RuntimeError;
use crate::hooks::Placed;
use crate::runtime::Runtime;
use crate::state::{Hook, Mechanism};

const OTHER_KIND: &str = "is of another kind than the one that runs there";

impl Runtime {
    /// Refuses an upgrade of hooks whose program can't be replaced, or not by the new version's. On the way `back` a hook that has
    /// none any more goes with the newer version.
    pub(crate) fn can_switch(
        &self,
        name: &ServiceName,
        placed: &[Placed],
        objects: &Objects,
        back: bool,
    ) -> Result<(), RuntimeError> {
        let Some(service) = self.state.services.get(name) else { return Ok(()) };
        for (hook_name, hook) in &service.hooks {
            let coming = placed.iter().find(|one| one.hook.as_ref() == Some(hook_name));
            let runs = service.program_on(service.active, hook_name).is_some();
            let target = &hook.target;
            let why = match coming {
                Some(_) if hook.mechanism == Mechanism::Fixed => {
                    format!("the kernel can't replace the program at {target} without a gap")
                }
                None if is_fixed(hook) && runs && !back => format!(
                    "the new version has no program at {target}, and the kernel can't stop the one that runs there at the \
                     moment of the switch"
                ),
                Some(one) => match misfit(hook, one, objects) {
                    Some(why) => format!("program '{}' at {target} {why}", one.chosen.function),
                    None => continue,
                },
                None => continue,
            };
            return Err(refusal(name, &why));
        }
        Ok(())
    }

    /// Whether a program may take the place of the one that a hook was attached for, now that the kernel has it.
    pub(crate) fn check_program(
        service: &ServiceName,
        hook: &Hook,
        program: &Program,
    ) -> Result<(), RuntimeError> {
        if hook.kind.takes(program.kind()) {
            return Ok(());
        }
        let why = format!("program '{}' at {} {OTHER_KIND}", program.name(), hook.target);
        Err(refusal(service, &why))
    }
}

/// Whether nothing stops a hook's program at the moment of a switch.
fn is_fixed(hook: &Hook) -> bool {
    hook.mechanism == Mechanism::Fixed || interface(&hook.target).is_some()
}

/// Why a program does not fit a hook with a stub, by what its object says.
fn misfit(hook: &Hook, one: &Placed, objects: &Objects) -> Option<&'static str> {
    let facts = objects.get(&one.chosen.object)?.program(&one.chosen.function)?;
    if (hook.kind.sleepable, hook.kind.xdp_frags) != (is_sleepable(facts), takes_frags(facts)) {
        Some(OTHER_KIND)
    } else if asks_func_ip(facts) && !hook.func_ip && hook.mechanism == Mechanism::Stub {
        Some(
            "asks for the address of its function (bpf_get_func_ip), which the hook was not attached for",
        )
    } else {
        None
    }
}

/// Whether a program asks for the address of its function, which a stub must then pass on.
pub(crate) fn asks_func_ip(program: &ProgramFacts) -> bool {
    program.helpers.contains("get_func_ip")
}

/// The word of a section before its target.
fn word(program: &ProgramFacts) -> &str {
    let section = program.section.trim_start_matches('?');
    section.split('/').next().unwrap_or(section)
}

fn is_sleepable(program: &ProgramFacts) -> bool {
    word(program).ends_with(".s")
}

fn takes_frags(program: &ProgramFacts) -> bool {
    word(program) == "xdp.frags"
}

fn refusal(service: &ServiceName, why: &str) -> RuntimeError {
    let why = format!("{why}; remove the service and install it again");
    RuntimeError::Hooks { service: service.clone(), why }
}
