//! The leaves of a type: what of it is compared, each by its path.

use std::collections::BTreeSet;

use super::FieldSpan;
use crate::btf::{Array, Composite, Int, Kind, Member};
use crate::limits::{PATH_BYTES, RECORD_FIELDS, TYPE_DEPTH};
use crate::{Btf, TypeId};

/// A part of a value that is carried over as one: no struct.
pub(super) struct Leaf {
    /// Its path: `a.b`, `a[2].c`; empty for a value that is no struct.
    pub(super) name: String,
    /// Where it is; of an array, its first element.
    pub(super) span: FieldSpan,
    /// How many of them there are: more than 1 for arrays.
    pub(super) count: u32,
    pub(super) content: Content,
    /// Of one element.
    pub(super) ty: TypeId,
    /// The unnamed union that it is in, where others may be at the same place.
    pub(super) shared: Option<Shared>,
}

/// An unnamed union.
#[derive(Clone, Copy)]
pub(super) struct Shared {
    pub(super) ty: TypeId,
    pub(super) span: FieldSpan,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Content {
    Number {
        signed: bool,
    },
    /// An array of `char`.
    Text,
    /// Anything else of which only the bytes can be taken over.
    Bytes,
    Bits(u8),
    Kernel(String),
}

/// The leaves of a type, in order of declaration; or why they cannot be told.
pub(super) fn leaves(btf: &Btf, ty: TypeId) -> Result<Vec<Leaf>, String> {
    let mut leaves = Leaves::of(btf);
    if leaves.add(ty, String::new(), 0, TYPE_DEPTH).is_none() {
        return Err(format!("{} has too many fields to compare", btf.describe(ty)));
    }
    let mut names = BTreeSet::new();
    match leaves.leaves.iter().find(|leaf| !names.insert(leaf.name.as_str())) {
        Some(twice) => Err(format!("{} has two fields '{}'", btf.describe(ty), twice.name)),
        None => Ok(leaves.leaves),
    }
}

/// How much it takes to find the leaves of a type: the members and elements that are looked at, and one for each 16 bytes of
/// their paths.
pub(crate) fn effort(btf: &Btf, ty: TypeId) -> usize {
    let mut leaves = Leaves::of(btf);
    _ = leaves.add(ty, String::new(), 0, TYPE_DEPTH); // what is too large has taken what it took
    1 + leaves.parts + leaves.paths / 16
}

struct Leaves<'a> {
    btf: &'a Btf,
    leaves: Vec<Leaf>,
    /// Bytes of the paths of all members and elements.
    paths: usize,
    /// Members and elements so far.
    parts: usize,
    shared: Option<Shared>,
}

impl<'a> Leaves<'a> {
    const fn of(btf: &'a Btf) -> Self {
        Self { btf, leaves: Vec::new(), paths: 0, parts: 0, shared: None }
    }

    /// None for too many, too deep, or paths that are too long together.
    fn add(&mut self, ty: TypeId, name: String, offset: u32, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let bare = self.btf.skip_modifiers(ty);
        match self.btf.kind(bare) {
            Kind::Struct(_) | Kind::Union(_) if self.is_kernels(bare) => {
                let what = self.btf.name(self.btf.ty(bare)).to_owned();
                // A lock's value means nothing outside of a program's run.
                if what != "bpf_spin_lock" && what != "bpf_res_spin_lock" {
                    self.leaf(ty, name, offset, 1, Content::Kernel(what))?;
                }
            }
            Kind::Struct(composite) => self.members(composite, &name, offset, depth)?,
            // Nobody knows which member of a union holds.
            Kind::Union(_) => self.leaf(ty, name, offset, 1, Content::Bytes)?,
            Kind::Array(array) => self.array(ty, *array, name, offset, depth)?,
            kind => {
                let content = Content::of(kind);
                self.leaf(ty, name, offset, 1, content)?;
            }
        }
        Some(())
    }

    fn members(
        &mut self,
        composite: &'a Composite,
        name: &str,
        offset: u32,
        depth: usize,
    ) -> Option<()> {
        for member in &composite.members {
            self.parts += 1;
            let at = offset.checked_add(member.bit_offset / 8)?;
            let path = match (name, self.btf.name(member)) {
                (_, "") => {
                    self.unnamed(member.ty, name, at, depth)?;
                    continue;
                }
                ("", inner) => inner.to_owned(),
                (outer, inner) => format!("{outer}.{inner}"),
            };
            self.count(&path)?;
            if self.is_bit_field(member) {
                self.leaf(member.ty, path, at, 1, Content::Bits(member.bits))?;
            } else {
                self.add(member.ty, path, at, depth)?;
            }
        }
        Some(())
    }

    /// The members of an unnamed struct or union belong to the outer one; others without a name are padding.
    fn unnamed(&mut self, ty: TypeId, name: &str, offset: u32, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let ty = self.btf.skip_modifiers(ty);
        match self.btf.kind(ty) {
            Kind::Struct(inner) => self.members(inner, name, offset, depth),
            Kind::Union(inner) => {
                let outer = self.shared;
                let span = FieldSpan { offset, width: inner.size };
                self.shared = outer.or(Some(Shared { ty, span }));
                let added = self.members(inner, name, offset, depth);
                self.shared = outer;
                added
            }
            _ => Some(()),
        }
    }

    fn array(
        &mut self,
        ty: TypeId,
        array: Array,
        name: String,
        offset: u32,
        depth: usize,
    ) -> Option<()> {
        if array.count == 0 {
            return Some(());
        }
        let element = self.btf.skip_modifiers(array.element);
        let size = u32::try_from(self.btf.size_of(element)?).ok()?;
        match self.btf.kind(element) {
            Kind::Struct(_) | Kind::Array(_) => {
                for index in 0..array.count {
                    self.parts += 1;
                    let at = offset.checked_add(index.checked_mul(size)?)?;
                    let (before, path) = (self.leaves.len(), format!("{name}[{index}]"));
                    self.count(&path)?;
                    self.add(element, path, at, depth)?;
                    if self.leaves.len() == before {
                        break; // nothing in it to compare, however many there are
                    }
                }
                Some(())
            }
            Kind::Int(Int { size: 1, bool: false, .. })
                if self.btf.name(self.btf.ty(element)) == "char" =>
            {
                self.leaf(ty, name, offset, 1, Content::Text)
            }
            kind => self.leaf(element, name, offset, array.count, Content::of(kind)),
        }
    }

    fn leaf(
        &mut self,
        ty: TypeId,
        name: String,
        offset: u32,
        count: u32,
        content: Content,
    ) -> Option<()> {
        let size = u32::try_from(self.btf.size_of(ty).unwrap_or(0)).ok()?;
        let (span, shared) = (FieldSpan { offset, width: size }, self.shared);
        self.leaves.push(Leaf { name, span, count, content, ty, shared });
        (self.leaves.len() <= RECORD_FIELDS).then_some(())
    }

    fn count(&mut self, path: &str) -> Option<()> {
        self.paths += path.len();
        (self.paths <= PATH_BYTES).then_some(())
    }

    /// Old compilers put a bit field's place into a type of its own.
    fn is_bit_field(&self, member: &Member) -> bool {
        let kind = self.btf.kind(self.btf.skip_modifiers(member.ty));
        member.bits > 0
            || !member.bit_offset.is_multiple_of(8)
            || matches!(kind, Kind::Int(Int { size, bits, .. }) if u32::from(*bits) < size * 8)
    }

    /// Types that the kernel keeps in values for itself: locks, timers, lists.
    fn is_kernels(&self, ty: TypeId) -> bool {
        const KERNELS: [&str; 11] = [
            "bpf_spin_lock",
            "bpf_res_spin_lock",
            "bpf_timer",
            "bpf_wq",
            "bpf_task_work",
            "bpf_dynptr",
            "bpf_list_head",
            "bpf_list_node",
            "bpf_rb_root",
            "bpf_rb_node",
            "bpf_refcount",
        ];
        KERNELS.contains(&self.btf.name(self.btf.ty(ty)))
    }
}

impl Content {
    pub(super) const fn is_bytes(&self) -> bool {
        matches!(self, Self::Bytes)
    }

    fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Int(Int { bool: true, .. }) => Self::Bytes,
            Kind::Int(Int { size: 1 | 2 | 4 | 8, signed, .. }) => Self::Number { signed: *signed },
            Kind::Pointer(_) => Self::Kernel("pointer".to_owned()),
            _ => Self::Bytes,
        }
    }
}
