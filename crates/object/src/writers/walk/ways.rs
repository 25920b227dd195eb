//! Where the code of a function may go on.

use std::collections::BTreeMap;

use super::super::state::State;

/// Most registers and stack slots, of all places of one function together: about 30 MB.
const MOST_HELD: usize = 500_000;

/// Where the code of a function may go on, and what is held there, whichever way it came.
pub(super) struct Ways {
    /// Boxed, since a tree moves its values about.
    states: BTreeMap<usize, Box<State>>,
    /// Places whose state has grown since they were last followed.
    todo: Vec<usize>,
    /// Registers and stack slots of all states.
    held: usize,
}

impl Ways {
    pub(super) fn from(entry: State) -> Self {
        let held = entry.size();
        Self { states: BTreeMap::from([(0, Box::new(entry))]), todo: vec![0], held }
    }

    pub(super) fn next(&mut self) -> Option<(usize, State)> {
        let at = self.todo.pop()?;
        Some((at, State::clone(self.states.get(&at)?)))
    }

    /// A way leads to a place; none where too much is held.
    pub(super) fn lead(&mut self, to: usize, from: &State) -> Option<()> {
        let (before, after, grown) = match self.states.get_mut(&to) {
            Some(state) => {
                let before = state.size();
                let grown = state.join(from);
                (before, state.size(), grown)
            }
            None => {
                self.states.insert(to, Box::new(from.clone()));
                (0, from.size(), true)
            }
        };
        if grown {
            self.todo.push(to);
        }
        self.held += after - before; // a join takes nothing away
        (self.held <= MOST_HELD).then_some(())
    }
}
