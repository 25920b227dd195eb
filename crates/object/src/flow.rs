//! Which instructions of a function can follow one another.

use crate::insn::{EXIT, GOTOX, Insn, JA, JA32};

/// One side of a conditional jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    /// The jump.
    pub(crate) at: usize,
    /// The side: the jump taken, or the instruction after it.
    pub(crate) taken: bool,
}

/// A function's body.
pub(crate) struct Flow<'a> {
    body: &'a [Insn],
}

/// A set of instructions.
pub(crate) struct InsnSet {
    bits: Vec<u64>,
}

impl InsnSet {
    fn none_of(body: &[Insn]) -> Self {
        Self { bits: vec![0; body.len().div_ceil(64)] }
    }

    /// These instructions of a function.
    pub(crate) fn of(body: &[Insn], places: impl Iterator<Item = usize>) -> Self {
        let mut set = Self::none_of(body);
        places.for_each(|at| _ = set.add(at));
        set
    }

    /// Whether an instruction is in it.
    pub(crate) fn has(&self, at: usize) -> bool {
        self.bits.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Whether it was not in it.
    pub(crate) fn add(&mut self, at: usize) -> bool {
        let Some(word) = self.bits.get_mut(at / 64) else { return false };
        let before = *word;
        *word |= 1 << (at % 64);
        *word != before
    }
}

impl<'a> Flow<'a> {
    pub(crate) const fn of(body: &'a [Insn]) -> Self {
        Self { body }
    }

    /// The instructions that the first one leads to if an edge is cut; none where `budget`, in instructions, is used up.
    pub(crate) fn reached(&self, cut: Option<Edge>, budget: &mut usize) -> Option<InsnSet> {
        *budget = budget.checked_sub(self.body.len())?;
        let mut reached = InsnSet::none_of(self.body);
        let mut todo = vec![0];
        while let Some(start) = todo.pop() {
            let mut next = Some(start);
            while let Some(at) = next.filter(|at| *at < self.body.len() && reached.add(*at)) {
                let insn = self.body.get(at).copied().unwrap_or_default();
                let is_cut = |taken| cut == Some(Edge { at, taken });
                if let Some(to) = target(insn, at).filter(|_| !is_cut(true)) {
                    todo.push(to);
                }
                let goes_on = !matches!(insn.code, EXIT | JA | JA32 | GOTOX) && !is_cut(false);
                next = goes_on.then_some(at + if insn.is_ld_imm64() { 2 } else { 1 });
            }
        }
        Some(reached)
    }
}

/// Where an instruction may jump to within its function.
pub(crate) fn target(insn: Insn, at: usize) -> Option<usize> {
    let distance = if insn.code == JA32 { i64::from(insn.imm) } else { i64::from(insn.off) };
    let to = i64::try_from(at).ok()? + 1 + distance;
    insn.is_jump().then_some(usize::try_from(to).ok()).flatten()
}

/// The instructions that jumps of a function lead to.
pub(crate) fn targets(body: &[Insn]) -> InsnSet {
    InsnSet::of(body, body.iter().enumerate().filter_map(|(at, insn)| target(*insn, at)))
}
