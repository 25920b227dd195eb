//! Which types of parameters may write a variable, by the variable's type.

use skep_spec::param::ParamType;

use super::Misbound;
use crate::btf::{Array, Int, Kind};
use crate::{Btf, Facts, Global};

/// The type of a parameter that sets a variable to this text, by the variable's own type.
///
/// # Errors
/// It is of a type that nothing can set: a struct, a float, a pointer, a list of numbers.
pub fn natural(facts: &Facts, global: &Global, text: &str) -> Result<ParamType, Misbound> {
    let truth = matches!(text, "true" | "false");
    let Some((btf, ty)) = facts.btf.as_ref().zip(global.ty) else {
        // Without types, its size must do.
        return Ok(match global.size {
            9.. => ParamType::String,
            _ if truth => ParamType::Bool,
            _ => ParamType::Int,
        });
    };
    match btf.kind(btf.skip_modifiers(ty)) {
        Kind::Int(Int { bool: true, .. }) => Ok(ParamType::Bool),
        Kind::Int(int) if int.size <= 8 && truth => Ok(ParamType::Bool),
        Kind::Int(int) if int.size <= 8 && int.signed => Ok(ParamType::Int),
        Kind::Int(int) if int.size <= 8 => Ok(ParamType::Uint),
        Kind::Enum(_) | Kind::Enum64(_) => Ok(ParamType::Enum),
        Kind::Array(array) if is_bytes(btf, *array) => Ok(ParamType::String),
        _ => Err(Misbound::Unwritable { variable: global.name.clone(), ty: btf.describe(ty) }),
    }
}

/// Whether a variable can hold values of a parameter's type.
pub(super) fn takes(btf: &Btf, global: &Global, r#type: ParamType) -> bool {
    use ParamType as P;
    let size = global.size;
    let kind = global.ty.map_or(&Kind::Void, |ty| btf.kind(btf.skip_modifiers(ty)));
    match r#type {
        P::Cidr | P::Cpus => false,
        P::Bool => matches!(kind, Kind::Int(int) if int.size <= 8),
        P::Int | P::Uint | P::Enum => match kind {
            Kind::Int(int) => int.size <= 8 && !int.bool,
            kind => matches!(kind, Kind::Enum(_) | Kind::Enum64(_)),
        },
        P::Pid | P::Size | P::Duration | P::Device => {
            matches!(kind, Kind::Int(int) if int.size <= 8 && !int.bool)
        }
        P::Ip => match kind {
            Kind::Int(int) => matches!(int.size, 4 | 16),
            Kind::Struct(_) | Kind::Union(_) => matches!(size, 4 | 16),
            kind => is_integers(btf, kind) && size >= 4,
        },
        P::Mac => match kind {
            Kind::Int(int) => int.size == 8,
            Kind::Struct(_) | Kind::Union(_) => size == 6,
            kind => is_integers(btf, kind) && size >= 6,
        },
        P::String | P::Interface | P::Cgroup | P::Path | P::Function => {
            matches!(kind, Kind::Array(array) if is_bytes(btf, *array))
        }
    }
}

fn is_integers(btf: &Btf, kind: &Kind) -> bool {
    let Kind::Array(array) = kind else { return false };
    matches!(btf.kind(btf.skip_modifiers(array.element)), Kind::Int(int) if !int.bool)
}

/// `char`, `signed char` or `unsigned char`, many of them.
fn is_bytes(btf: &Btf, array: Array) -> bool {
    let element = btf.kind(btf.skip_modifiers(array.element));
    matches!(element, Kind::Int(Int { size: 1, bool: false, .. }))
}

/// The names of a variable's enum, with their numbers.
pub(super) fn enumerators<'a>(facts: &'a Facts, global: &Global) -> Option<Vec<(&'a str, i128)>> {
    let btf = facts.btf.as_ref()?;
    let (Kind::Enum(e) | Kind::Enum64(e)) = btf.kind(btf.skip_modifiers(global.ty?)) else {
        return None;
    };
    let number = |value: i64| match e.signed {
        true => i128::from(value),
        false => i128::from(value.cast_unsigned()),
    };
    Some(e.values.iter().map(|value| (btf.name(value), number(value.value))).collect())
}
