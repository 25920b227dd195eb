//! What a register may hold.

use std::collections::BTreeMap;

/// What a register or stack slot may hold. Numbers, and pointers that matter to nobody here, are the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Pointers into values of these maps, one bit each.
    pub(super) values: u64,
    /// Of these, those that may be another CPU's.
    pub(super) others: u64,
    /// These maps themselves.
    pub(super) maps: u64,
    /// A pointer to the stack.
    pub(super) stack: Stack,
    /// The address of a function.
    pub(super) function: Address,
    /// A pointer to what the program was handed.
    pub(super) context: bool,
}

/// A pointer to a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stack {
    #[default]
    No,
    /// So many bytes from the frame pointer of this function.
    At(i32),
    /// To somewhere on it, or on a caller's.
    Any,
}

/// The address of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Address {
    #[default]
    No,
    /// Of this one.
    Of(usize),
    /// None, or of one whose address was put on a stack.
    Kept,
    /// Of one or another.
    Any,
}

impl Held {
    /// Anything at all, but the context: that is in no memory where nobody put it.
    pub(super) const ANY: Self = Self {
        values: u64::MAX,
        others: u64::MAX,
        maps: u64::MAX,
        stack: Stack::Any,
        function: Address::Kept,
        context: false,
    };

    /// Anything that a slot of some stack may hold.
    pub(super) fn any(context: bool) -> Self {
        Self { context, ..Self::ANY }
    }

    pub(super) fn value_of(maps: u64) -> Self {
        Self { values: maps, ..Self::default() }
    }

    pub(super) fn map(maps: u64) -> Self {
        Self { maps, ..Self::default() }
    }

    pub(super) fn join(self, other: Self) -> Self {
        Self {
            values: self.values | other.values,
            others: self.others | other.others,
            maps: self.maps | other.maps,
            stack: match (self.stack, other.stack) {
                (a, b) if a == b => a,
                _ => Stack::Any,
            },
            function: match (self.function, other.function) {
                (a, b) if a == b => a,
                (Address::No, Address::Kept) | (Address::Kept, Address::No) => Address::Kept,
                _ => Address::Any,
            },
            context: self.context || other.context,
        }
    }

    /// Joins another in; whether that changed anything.
    fn take_in(&mut self, other: Self) -> bool {
        let joined = self.join(other);
        std::mem::replace(self, joined) != joined
    }

    /// The pointer moved by a known distance.
    pub(super) fn moved(self, by: i32) -> Self {
        match self.stack {
            Stack::At(at) => Self { stack: Stack::At(at.wrapping_add(by)), ..self },
            _ => self,
        }
    }

    /// The pointer moved by an unknown distance.
    pub(super) fn somewhere(self) -> Self {
        match self.stack {
            Stack::At(_) => Self { stack: Stack::Any, ..self },
            _ => self,
        }
    }
}

/// What all registers and stack slots of one function may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) regs: [Held; 16],
    /// By distance from the frame pointer; what is not there holds nothing that matters.
    slots: BTreeMap<i32, Held>,
}

impl State {
    /// At the start of a function with these arguments in r1 to r5.
    pub(super) fn entry(arguments: [Held; 5]) -> Self {
        let mut state = Self::default();
        for (reg, held) in state.regs.iter_mut().skip(1).zip(arguments) {
            *reg = held;
        }
        if let Some(frame) = state.regs.get_mut(10) {
            frame.stack = Stack::At(0);
        }
        state
    }

    pub(super) fn reg(&self, reg: u8) -> Held {
        self.regs.get(usize::from(reg)).copied().unwrap_or(Held::ANY)
    }

    pub(super) fn set(&mut self, reg: u8, held: Held) {
        if let Some(at) = self.regs.get_mut(usize::from(reg)) {
            *at = held;
        }
    }

    pub(super) fn load(&self, at: i32) -> Held {
        self.slots.get(&at).copied().unwrap_or_default()
    }

    pub(super) fn store(&mut self, at: i32, held: Held) {
        // The verifier takes pointers on the stack only whole, in aligned slots of its 512 bytes.
        let slot = (-512..0).contains(&at) && at % 8 == 0;
        if !slot {
            return;
        }
        if held == Held::default() {
            self.slots.remove(&at);
        } else {
            self.slots.insert(at, held);
        }
    }

    /// After something else may have stored pointers into this stack.
    pub(super) fn forget_slots(&mut self, any: Held) {
        self.slots = (-64..0).map(|slot| (slot * 8, any)).collect();
    }

    /// Registers and slots.
    pub(super) fn size(&self) -> usize {
        self.regs.len() + self.slots.len()
    }

    /// Takes in another state; whether that changed anything.
    pub(super) fn join(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for (mine, theirs) in self.regs.iter_mut().zip(&other.regs) {
            changed |= mine.take_in(*theirs);
        }
        for (at, mine) in &mut self.slots {
            changed |= mine.take_in(other.load(*at));
        }
        for (at, theirs) in &other.slots {
            if !self.slots.contains_key(at) {
                self.store(*at, Held::default().join(*theirs));
                changed = true;
            }
        }
        changed
    }
}
