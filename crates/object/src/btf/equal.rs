//! Whether two types, perhaps of two objects, lay out memory alike.

use std::collections::HashSet;

use super::{Btf, Composite, Enum, Kind, TypeId};

/// Most pairs of types that one comparison looks at.
const PAIRS: usize = 100_000;

impl Btf {
    /// Whether a value of type `a` here reads the same as one of type `b` in `other`.
    ///
    /// Same kinds, sizes, member names and offsets, enumerators, array lengths. Typedefs, qualifiers and the names
    /// of the outer types do not count; what pointers point to does not either, since a pointer's bytes are the
    /// same. Types that refer to themselves end the walk.
    #[must_use]
    pub fn layout_eq(&self, a: TypeId, other: &Self, b: TypeId) -> bool {
        let mut pairs =
            Pairs { left: self, right: other, seen: HashSet::new(), todo: vec![(a, b)] };
        while let Some((a, b)) = pairs.todo.pop() {
            if !pairs.step(a, b) || pairs.seen.len() > PAIRS {
                return false;
            }
        }
        true
    }
}

struct Pairs<'a> {
    left: &'a Btf,
    right: &'a Btf,
    seen: HashSet<(TypeId, TypeId)>,
    todo: Vec<(TypeId, TypeId)>,
}

impl Pairs<'_> {
    /// Compares one pair; what it holds is put on the list.
    fn step(&mut self, a: TypeId, b: TypeId) -> bool {
        let (a, b) = (self.left.skip_modifiers(a), self.right.skip_modifiers(b));
        if !self.seen.insert((a, b)) {
            return true;
        }
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
