//! Whether two types, perhaps of two objects, lay out memory alike.

use std::collections::HashSet;

use super::{Btf, Composite, Enum, Kind, TypeId};

/// Most pairs of types that one comparison of layouts looks at.
const PAIRS: usize = 100_000;

impl Btf {
    /// Whether a value of type `a` here reads the same as one of type `b` in `other`.
    ///
    /// Same kinds, sizes, member names and offsets, enumerators, array lengths. Typedefs, qualifiers and the names
    /// of the outer types do not count; what pointers point to does not either, since a pointer's bytes are the
    /// same. Types that refer to themselves end the walk.
    #[must_use]
    pub fn layout_eq(&self, a: TypeId, other: &Self, b: TypeId) -> bool {
        Same::new(self, other).types(a, b)
    }
}

/// Which types of two objects are the same, asked pair by pair.
pub(crate) struct Same<'a> {
    pub(crate) left: &'a Btf,
    pub(crate) right: &'a Btf,
    alike: HashSet<(TypeId, TypeId)>,
    different: HashSet<(TypeId, TypeId)>,
    todo: Vec<(TypeId, TypeId)>,
    budget: usize,
    /// Pairs on the list so far, however often.
    looked_at: usize,
}

impl<'a> Same<'a> {
    pub(crate) fn new(left: &'a Btf, right: &'a Btf) -> Self {
        let (alike, different, todo) = Default::default();
        Self { left, right, alike, different, todo, budget: PAIRS, looked_at: 0 }
    }

    /// Whether two types are the same; not, where looking at it goes beyond [`PAIRS`].
    pub(crate) fn types(&mut self, a: TypeId, b: TypeId) -> bool {
        let asked = (a, b);
        if self.different.contains(&asked) {
            return false;
        }
        let mut seen = HashSet::new();
        self.todo = vec![asked];
        while let Some((a, b)) = self.todo.pop() {
            self.looked_at += 1;
            let pair = (self.left.skip_modifiers(a), self.right.skip_modifiers(b));
            if self.alike.contains(&pair) || !seen.insert(pair) {
                continue;
            }
            let left = self.budget.checked_sub(1);
            self.budget = left.unwrap_or(0);
            if left.is_none() || !self.step(pair) {
                self.different.insert(asked);
                return false;
            }
        }
        self.alike.extend(seen); // only now: what refers to itself was taken for alike on the way
        true
    }

    /// How many pairs it looked at so far, those too that it knew.
    pub(crate) const fn looked_at(&self) -> usize {
        self.looked_at
    }

    /// Compares one pair; what it holds is put on the list.
    fn step(&mut self, (a, b): (TypeId, TypeId)) -> bool {
        match (self.left.kind(a), self.right.kind(b)) {
            (Kind::Int(x), Kind::Int(y)) => x == y,
            (Kind::Pointer(_), Kind::Pointer(_)) | (Kind::Void, Kind::Void) => true,
            (Kind::Float { size: x }, Kind::Float { size: y }) => x == y,
            (Kind::Array(x), Kind::Array(y)) => {
                self.todo.push((x.element, y.element));
                x.count == y.count
            }
            (Kind::Struct(x), Kind::Struct(y)) | (Kind::Union(x), Kind::Union(y)) => {
                self.members(x, y)
            }
            (Kind::Enum(x), Kind::Enum(y)) | (Kind::Enum64(x), Kind::Enum64(y)) => {
                self.enumerators(x, y)
            }
            _ => false,
        }
    }

    fn members(&mut self, x: &Composite, y: &Composite) -> bool {
        let alike = x.size == y.size
            && x.members.len() == y.members.len()
            && x.members.iter().zip(&y.members).all(|(m, n)| {
                self.left.name(m) == self.right.name(n)
                    && m.bit_offset == n.bit_offset
                    && m.bits == n.bits
            });
        if alike {
            self.todo.extend(x.members.iter().zip(&y.members).map(|(m, n)| (m.ty, n.ty)));
        }
        alike
    }

    fn enumerators(&self, x: &Enum, y: &Enum) -> bool {
        x.size == y.size
            && x.signed == y.signed
            && x.values.len() == y.values.len()
            && x.values
                .iter()
                .zip(&y.values)
                .all(|(m, n)| m.value == n.value && self.left.name(m) == self.right.name(n))
    }
}
