//! Sizes, modifiers and names as C writes them.

use super::{Array, Btf, Composite, Kind, TypeId};
use crate::limits::TYPE_DEPTH;
use crate::shown::brief;

impl Btf {
    /// The type under typedefs, qualifiers and tags; `void` where they go in a circle.
    #[must_use]
    pub fn skip_modifiers(&self, id: TypeId) -> TypeId {
        let mut at = id;
        for _ in 0..TYPE_DEPTH {
            match *self.kind(at) {
                Kind::Typedef(to)
                | Kind::Volatile(to)
                | Kind::Const(to)
                | Kind::Restrict(to)
                | Kind::TypeTag(to) => at = to,
                _ => return at,
            }
        }
        TypeId(0)
    }

    /// Bytes of a value; none for `void`, functions, forward declarations, and what would overflow.
    #[must_use]
    pub fn size_of(&self, id: TypeId) -> Option<u64> {
        let mut at = self.skip_modifiers(id);
        let mut times = 1u64;
        for _ in 0..TYPE_DEPTH {
            let size = match self.kind(at) {
                Kind::Array(Array { element, count }) => {
                    times = times.checked_mul(u64::from(*count))?;
                    at = self.skip_modifiers(*element);
                    continue;
                }
                Kind::Int(int) if int.size > 0 => int.size,
                Kind::Pointer(_) => 8,
                Kind::Struct(c) | Kind::Union(c) => c.size,
                Kind::Enum(e) | Kind::Enum64(e) => e.size,
                Kind::Float { size } => *size,
                Kind::Variable { ty, .. } => {
                    at = self.skip_modifiers(*ty);
                    continue;
                }
                Kind::DataSection { size, .. } => *size,
                _ => return None,
            };
            return times.checked_mul(u64::from(size));
        }
        None
    }

    /// The struct or union under modifiers.
    #[must_use]
    pub fn composite(&self, id: TypeId) -> Option<&Composite> {
        match self.kind(self.skip_modifiers(id)) {
            Kind::Struct(c) | Kind::Union(c) => Some(c),
            _ => None,
        }
    }

    /// The type under modifiers and pointers, at most [`TYPE_DEPTH`] of them.
    #[must_use]
    pub fn pointee(&self, id: TypeId) -> TypeId {
        let mut at = self.skip_modifiers(id);
        for _ in 0..TYPE_DEPTH {
            match self.kind(at) {
                Kind::Pointer(to) => at = self.skip_modifiers(*to),
                _ => break,
            }
        }
        at
    }

    /// The type as C writes it, for messages: `struct event`, `char[16]`, `u64`.
    #[must_use]
    pub fn describe(&self, id: TypeId) -> String {
        self.describe_at(id, TYPE_DEPTH)
    }

    fn describe_at(&self, id: TypeId, depth: usize) -> String {
        let Some(depth) = depth.checked_sub(1) else { return "…".to_owned() };
        let ty = self.ty(id);
        let name = brief(self.name(ty));
        let tagged = |tag: &str| match &*name {
            "" => format!("{tag} {{…}}"),
            name => format!("{tag} {name}"),
        };
        match &ty.kind {
            Kind::Void => "void".to_owned(),
            Kind::Struct(_) | Kind::Forward { union: false } => tagged("struct"),
            Kind::Union(_) | Kind::Forward { union: true } => tagged("union"),
            Kind::Enum(_) | Kind::Enum64(_) => tagged("enum"),
            Kind::Pointer(to) => format!("{}*", self.describe_at(*to, depth)),
            Kind::Array(a) => format!("{}[{}]", self.describe_at(a.element, depth), a.count),
            Kind::Const(to) => format!("const {}", self.describe_at(*to, depth)),
            Kind::Volatile(to) => format!("volatile {}", self.describe_at(*to, depth)),
            Kind::Restrict(to) | Kind::TypeTag(to) => self.describe_at(*to, depth),
            _ => name.into_owned(),
        }
    }
}
