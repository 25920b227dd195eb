//! Kinds of CO-RE relocations, and their paths in words.

use crate::btf::{Kind, Named as _};
use crate::kernel_enum::kernel_enum;
use crate::{Btf, TypeId, limits};

kernel_enum! {
    /// What a CO-RE relocation asks of the kernel's types (`enum bpf_core_relo_kind`).
    CoreKind "core_"
    0 FieldByteOffset "byte_off",
    1 FieldByteSize "byte_sz",
    2 FieldExists "field_exists",
    3 FieldSigned "signed",
    4 FieldLshift "lshift_u64",
    5 FieldRshift "rshift_u64",
    6 LocalTypeId "local_type_id",
    7 TargetTypeId "target_type_id",
    8 TypeExists "type_exists",
    9 TypeSize "type_size",
    10 EnumValueExists "enumval_exists",
    11 EnumValue "enumval_value",
    12 TypeMatches "type_matches",
}

impl CoreKind {
    /// Whether it asks if something is there, so that code can do without.
    #[must_use]
    pub const fn is_guard(self) -> bool {
        matches!(
            self,
            Self::FieldExists | Self::TypeExists | Self::EnumValueExists | Self::TypeMatches
        )
    }
}

/// The path in words: `task_struct.mm.arg_start`, `bpf_func_id::BPF_FUNC_loop`, `iphdr`; the numbers where the types do
/// not follow them. Without CO-RE's flavour (`___old`) of the root.
pub(crate) fn path(btf: &Btf, root: TypeId, access: &str, kind: CoreKind) -> String {
    use CoreKind::{EnumValue, EnumValueExists};
    let name = plain(btf.name(btf.ty(root)));
    let name = if name.is_empty() { btf.describe(root) } else { name.to_owned() };
    let steps: Option<Vec<u32>> = access.split(':').map(|step| step.parse().ok()).collect();
    let walked = match (kind, steps.as_deref()) {
        (EnumValue | EnumValueExists, Some([at])) => enumerator(btf, root, *at),
        (
            CoreKind::FieldByteOffset
            | CoreKind::FieldByteSize
            | CoreKind::FieldExists
            | CoreKind::FieldSigned
            | CoreKind::FieldLshift
            | CoreKind::FieldRshift,
            Some(steps),
        ) => field(btf, root, steps),
        (CoreKind::Other(_), _) | (_, None) => None,
        _ => Some(String::new()),
    };
    match walked {
        Some(walked) => name + &walked,
        None => format!("{name} {access}"),
    }
}

/// A name without its flavour, by libbpf's rule: the last `___` that has no `_` at its sides, and what follows.
pub(crate) fn plain(name: &str) -> &str {
    let begins = |five: &[u8]| matches!(five, [a, b'_', b'_', b'_', b] if *a != b'_' && *b != b'_');
    let at = name.as_bytes().windows(5).rposition(begins);
    at.and_then(|at| name.get(..=at)).unwrap_or(name)
}

fn enumerator(btf: &Btf, root: TypeId, at: u32) -> Option<String> {
    match btf.kind(btf.skip_modifiers(root)) {
        Kind::Enum(e) | Kind::Enum64(e) => {
            Some(format!("::{}", plain(btf.name(e.values.get(at as usize)?))))
        }
        _ => None,
    }
}

fn field(btf: &Btf, root: TypeId, steps: &[u32]) -> Option<String> {
    let (first, rest) = steps.split_first()?;
    let mut text = if *first == 0 { String::new() } else { format!("[{first}]") };
    let mut at = root;
    for step in rest {
        if text.len() > limits::NAME_BYTES {
            return None;
        }
        at = btf.skip_modifiers(at);
        match btf.kind(at) {
            Kind::Struct(composite) | Kind::Union(composite) => {
                let member = composite.members.get(*step as usize)?;
                if member.name_offset() != 0 {
                    text.push('.');
                    text.push_str(btf.name(member));
                }
                at = member.ty;
            }
            Kind::Array(array) => {
                text.push_str(&format!("[{step}]"));
                at = array.element;
            }
            _ => return None,
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_flavour_is_what_libbpf_takes_for_one() {
        for (name, bare) in [
            ("task_struct___old", "task_struct"),
            ("a___b___c", "a___b"),
            ("a____b", "a____b"),
            ("a___", "a___"),
            ("___a", "___a"),
            ("é___x", "é"),
        ] {
            assert_eq!(plain(name), bare);
        }
    }
}
