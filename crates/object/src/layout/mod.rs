//! How the layout of a map's value changed between two versions of an object.

mod fields;

use std::collections::BTreeMap;

pub use fields::{FieldAt, FieldChange, FieldClass, fields};

use crate::btf::{Array, Composite, Int, Kind, Member};
use crate::limits::{RECORD_FIELDS, TYPE_DEPTH};
use crate::{Btf, TypeId};

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutChange {
    /// Nothing: the same map can serve both.
    Equal,
    /// Fields came, went, moved or changed, and at least one can be carried over.
    Fields {
        /// In both, in the order of the new version.
        common: Vec<FieldPair>,
        /// Only in the new version.
        added: Vec<String>,
        /// Only in the old version.
        removed: Vec<String>,
        /// In both, but not to be carried over.
        blocked: Vec<Blocked>,
    },
    /// Nothing can be carried over, and why.
    Incompatible(String),
}

/// A field that both versions have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPair {
    /// Its path in the new version, `a.b` for nested ones; empty for a value that is itself a number.
    pub name: String,
    /// Where it was.
    pub old: Span,
    /// Where it is.
    pub new: Span,
    /// How many of them lie there one after the other: more than 1 for arrays of numbers.
    pub count: u32,
    /// Whether it is an integer that can be added; otherwise only its bytes can be taken over.
    pub number: bool,
    /// Whether that integer has a sign.
    pub signed: bool,
}

/// The place of a field, in bytes; of an array, that of its first element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// From the start of the value.
    pub offset: u32,
    /// Of one element.
    pub size: u32,
}

/// A field of both versions whose contents mean something else now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Its path in the new version.
    pub name: String,
    /// Why, for people.
    pub why: String,
}

/// Compares two types of map values. `renames` maps paths of the new version to those of the old.
#[must_use]
pub fn compare(
    old: &Btf,
    old_ty: TypeId,
    new: &Btf,
    new_ty: TypeId,
    renames: &BTreeMap<String, String>,
) -> LayoutChange {
    if renames.is_empty() && old.layout_eq(old_ty, new, new_ty) {
        return LayoutChange::Equal;
    }
    let described = |btf: &Btf, ty| btf.describe(ty);
    let leaves = (Leaves::of(old, old_ty), Leaves::of(new, new_ty));
    let (Some(before), Some(after)) = leaves else {
        return LayoutChange::Incompatible(format!(
            "{} and {} have too many fields to compare",
            described(old, old_ty),
            described(new, new_ty)
        ));
    };
    let is_struct = |btf: &Btf, ty| btf.composite(ty).is_some();
    if is_struct(old, old_ty) != is_struct(new, new_ty) {
        return LayoutChange::Incompatible(format!(
            "the value was {}, it is {} now",
            described(old, old_ty),
            described(new, new_ty)
        ));
    }
    pair(before, after, renames)
}

fn pair(before: Leaves<'_>, after: Leaves<'_>, renames: &BTreeMap<String, String>) -> LayoutChange {
    let mut left: BTreeMap<&str, &Leaf> =
        before.leaves.iter().map(|leaf| (leaf.name.as_str(), leaf)).collect();
    let (mut common, mut added, mut blocked) = (vec![], vec![], vec![]);
    for leaf in &after.leaves {
        let old_name = renames.get(&leaf.name).unwrap_or(&leaf.name);
        let Some(old) = left.remove(old_name.as_str()) else {
            added.push(leaf.name.clone());
            continue;
        };
        match carried(old, leaf) {
            Ok(pair) => common.push(pair),
            Err(why) => blocked.push(Blocked { name: leaf.name.clone(), why }),
        }
    }
    let removed = before.leaves.iter().filter(|leaf| left.contains_key(leaf.name.as_str()));
    let removed: Vec<String> = removed.map(|leaf| leaf.name.clone()).collect();
    if common.is_empty() {
        let why = match blocked.first() {
            Some(blocked) if blocked.name.is_empty() => format!("the value: {}", blocked.why),
            Some(blocked) => format!("field '{}': {}", blocked.name, blocked.why),
            None => "no field is in both versions".to_owned(),
        };
        return LayoutChange::Incompatible(why);
    }
    LayoutChange::Fields { common, added, removed, blocked }
}

/// The pair of two fields of one name, or why there is none.
fn carried(old: &Leaf, new: &Leaf) -> Result<FieldPair, String> {
    let pair = |number, signed| FieldPair {
        name: new.name.clone(),
        old: old.span,
        new: new.span,
        count: old.count.min(new.count),
        number,
        signed,
    };
    match (&old.content, &new.content) {
        (Content::Number { signed: a }, Content::Number { signed: b }) if a != b => {
            let word = |signed: &bool| if *signed { "signed" } else { "unsigned" };
            Err(format!("it was {}, it is {} now", word(a), word(b)))
        }
        (Content::Number { .. }, Content::Number { .. }) if old.span.size > new.span.size => {
            Err(format!("it had {} bytes, it has {} now", old.span.size, new.span.size))
        }
        (Content::Number { signed }, Content::Number { .. }) => Ok(pair(true, *signed)),
        (Content::Bytes, Content::Bytes) if old.ty == new.ty && old.span.size == new.span.size => {
            Ok(pair(false, false))
        }
        (Content::Kernel(what), _) | (_, Content::Kernel(what)) => {
            Err(format!("a {what} belongs to the kernel and cannot be moved"))
        }
        (Content::Bits, _) | (_, Content::Bits) => Err("bit fields cannot be moved".to_owned()),
        _ => Err(format!("it was {}, it is {} now", old.ty, new.ty)),
    }
}

/// A field that is no struct.
struct Leaf {
    name: String,
    span: Span,
    count: u32,
    content: Content,
    /// As C writes it, for messages.
    ty: String,
}

#[derive(Clone, PartialEq, Eq)]
enum Content {
    Number { signed: bool },
    Bytes,
    Bits,
    Kernel(String),
}

struct Leaves<'a> {
    btf: &'a Btf,
    leaves: Vec<Leaf>,
}

impl<'a> Leaves<'a> {
    /// None for too many, or too deep.
    fn of(btf: &'a Btf, ty: TypeId) -> Option<Self> {
        let mut leaves = Self { btf, leaves: Vec::new() };
        leaves.add(ty, String::new(), 0, TYPE_DEPTH)?;
        Some(leaves)
    }

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
            let at = offset.checked_add(member.bit_offset / 8)?;
            let path = match (name, self.btf.name(member)) {
                (outer, "") => outer.to_owned(),
                ("", inner) => inner.to_owned(),
                (outer, inner) => format!("{outer}.{inner}"),
            };
            if self.is_bit_field(member) {
                self.leaf(member.ty, path, at, 1, Content::Bits)?;
            } else {
                self.add(member.ty, path, at, depth)?;
            }
        }
        Some(())
    }

    fn array(
        &mut self,
        ty: TypeId,
        array: Array,
        name: String,
        offset: u32,
        depth: usize,
    ) -> Option<()> {
        let element = self.btf.skip_modifiers(array.element);
        let size = u32::try_from(self.btf.size_of(element)?).ok()?;
        match self.btf.kind(element) {
            Kind::Struct(_) | Kind::Array(_) => {
                for index in 0..array.count {
                    let at = offset.checked_add(index.checked_mul(size)?)?;
                    let before = self.leaves.len();
                    self.add(element, format!("{name}[{index}]"), at, depth)?;
                    if self.leaves.len() == before {
                        break; // nothing in it to compare, however many there are
                    }
                }
                Some(())
            }
            kind => match Content::of(kind) {
                // Text is one thing.
                Content::Number { .. } if self.btf.name(self.btf.ty(element)) == "char" => {
                    self.leaf(ty, name, offset, 1, Content::Bytes)
                }
                content @ Content::Number { .. } => {
                    self.leaf(element, name, offset, array.count, content)
                }
                content => self.leaf(ty, name, offset, 1, content),
            },
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
        let ty = self.btf.describe(ty);
        self.leaves.push(Leaf { name, span: Span { offset, size }, count, content, ty });
        self.room()
    }

    fn room(&self) -> Option<()> {
        (self.leaves.len() <= RECORD_FIELDS).then_some(())
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
    fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Int(Int { bool: true, .. }) => Self::Bytes,
            Kind::Int(Int { size: 1 | 2 | 4 | 8, signed, .. }) => Self::Number { signed: *signed },
            Kind::Pointer(_) => Self::Kernel("pointer".to_owned()),
            _ => Self::Bytes,
        }
    }
}
