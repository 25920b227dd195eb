//! What calls do: helpers, kernel functions, other functions of the program, and callbacks.

use std::collections::btree_map::Entry;

use super::super::Writers;
use super::super::helpers::{
    ADDS, BPF_NOEXIST, FOR_EACH, LOOKUP_PERCPU, LOOKUPS, LOOP, REMOVES, STORAGES,
    TIMER_SET_CALLBACK, UPDATE, filled_argument,
};
use super::super::state::{Address, Held, State};
use super::{Known, Walk};
use crate::calls::Reference;
use crate::helper;

/// Kernel functions that are given a program's context and do not change it.
const READ_CONTEXT: [&str; 3] =
    ["bpf_cast_to_kern_ctx", "bpf_session_cookie", "bpf_session_is_return"];

impl Walk<'_> {
    pub(super) fn call(
        &mut self,
        index: usize,
        reference: Reference<'_>,
        flags: Option<i32>,
        state: &mut State,
    ) -> Option<()> {
        let arguments: [Held; 5] = std::array::from_fn(|n| state.reg(n as u8 + 1));
        let (result, escapes) = match reference {
            Reference::Helper(id) => self.helper(id, arguments, flags)?,
            Reference::Function(callee) => {
                let known = self.pass(callee, arguments);
                (known.result.somewhere(), known.escapes)
            }
            Reference::Kfunc(name) => {
                let context = arguments.iter().any(|held| held.context);
                self.context_written |= context && !READ_CONTEXT.contains(&name);
                let escapes = self.callbacks(arguments, [passed(arguments); 5])?;
                arguments.into_iter().for_each(|held| self.write(held, Writers::Plain));
                (Held::default(), escapes)
            }
            Reference::Map { .. }
            | Reference::Extern { .. }
            | Reference::Config(_)
            | Reference::Unknown => return None,
        };
        if escapes {
            self.escape(index, state);
        }
        state.set(0, result);
        (1..=5).for_each(|reg| state.set(reg, Held::default()));
        Some(())
    }

    /// What a helper gives back, and whether a callback puts pointers on stacks.
    fn helper(
        &mut self,
        id: u32,
        arguments: [Held; 5],
        flags: Option<i32>,
    ) -> Option<(Held, bool)> {
        let [first, _, third, ..] = arguments;
        let maps = first.maps | first.values; // an inner map stands for the outer
        let (none, value) = (Held::default(), Held::value_of(maps));
        let mut passed = [passed(arguments); 5];
        match id {
            UPDATE if flags == Some(BPF_NOEXIST) => self.write(value, Writers::Atomic),
            UPDATE => self.write(value, Writers::Plain),
            _ if STORAGES.contains(&id) && flags != Some(0) => self.write(value, Writers::Atomic),
            _ if REMOVES.contains(&id) => {
                self.change(maps);
                self.deleted |= maps;
            }
            FOR_EACH => passed = [first, none, value, third, none],
            LOOP => passed = [none, third, none, none, none],
            TIMER_SET_CALLBACK => {
                let value = Held::value_of(first.values);
                passed = [Held::map(first.values), none, value, none, none];
            }
            _ => {
                let adds = ADDS.iter().find(|(adds, _)| *adds == id);
                let map = adds.and_then(|(_, argument)| arguments.get(*argument));
                map.into_iter().for_each(|map| self.change(map.maps | map.values));
            }
        }
        // What is beyond the kernel's list may do anything.
        let filled = filled_argument(helper::name(id)?).and_then(|n| arguments.get(n));
        let filled = filled.copied().unwrap_or_default();
        self.write(filled, Writers::Plain);
        self.context_written |= filled.context;
        let escapes = self.callbacks(arguments, passed)?;
        if id == LOOKUP_PERCPU {
            self.changed |= maps & !self.others != 0;
            self.others |= maps;
            return Some((Held { others: maps, ..value }, escapes));
        }
        let found = || Held { maps: self.inner(maps), ..value };
        Some((if LOOKUPS.contains(&id) { found() } else { none }, escapes))
    }

    /// The maps that entries of maps may be.
    fn inner(&self, maps: u64) -> u64 {
        let held = self.maps.iter().enumerate().filter(|(at, _)| maps >> at & 1 == 1);
        held.fold(0, |all, (_, map)| all | map.inner)
    }

    /// Passes arguments to every function whose address is among those of a call; whether one puts pointers on stacks.
    fn callbacks(&mut self, arguments: [Held; 5], passed: [Held; 5]) -> Option<bool> {
        let mut escapes = false;
        for argument in arguments {
            match argument.function {
                Address::No => {}
                Address::Of(callee) => escapes |= self.pass(callee, passed).escapes,
                Address::Kept => {
                    for callee in self.kept.clone() {
                        escapes |= self.pass(callee, [self.any(); 5]).escapes;
                    }
                }
                Address::Any => return None,
            }
        }
        Some(escapes)
    }

    /// Passes arguments to a function and tells what is known of it.
    fn pass(&mut self, callee: usize, arguments: [Held; 5]) -> Known {
        if let Entry::Vacant(entry) = self.functions.entry(callee) {
            let arguments = arguments.map(Held::somewhere);
            entry.insert(Known { arguments, ..Known::default() });
            self.changed = true;
        }
        self.learn(callee, |known| {
            for (mine, theirs) in known.arguments.iter_mut().zip(arguments) {
                *mine = mine.join(theirs.somewhere());
            }
        });
        self.functions.get(&callee).copied().unwrap_or_default()
    }
}

/// Anything that a callback may be given by a call with these arguments.
fn passed(arguments: [Held; 5]) -> Held {
    Held::any(arguments.iter().any(|held| held.context))
}
