//! Global variables, found by their ELF symbols.

use std::collections::BTreeMap;

use crate::btf::Kind;
use crate::elf::{Elf, SymbolKind, is_data_section};
use crate::event::Decoder;
use crate::texts::Texts;
use crate::{Btf, ObjectError, TypeId, limits};

/// A variable in a section of global data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// ELF symbol.
    pub name: String,
    /// ELF section, and with it the map.
    pub section: String,
    /// Bytes into the section.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Its type, where BTF knows the variable (Aya and Zig may not say).
    pub ty: Option<TypeId>,
    /// The bytes in the object; empty for `.bss`, where all are zero.
    pub initial: Vec<u8>,
}

/// Most bytes of a variable whose value is told.
const VALUE_BYTES: u64 = 4096;

impl Global {
    /// The value that the object gives it, as JSON; none without a type, and for large ones.
    #[must_use]
    pub fn value(&self, btf: &Btf) -> Option<serde_json::Value> {
        let size = usize::try_from(self.size).ok().filter(|_| self.size <= VALUE_BYTES)?;
        let decoder = Decoder::new(btf, self.ty?, &BTreeMap::new()).ok()?;
        let mut bytes = self.initial.clone();
        bytes.resize(size, 0);
        serde_json::from_str(&decoder.decode(&bytes).to_json()).ok()
    }
}

/// All global variables, sorted by section and offset.
pub(crate) fn globals(
    elf: &Elf<'_>,
    btf: Option<&Btf>,
    texts: &mut Texts,
) -> Result<Vec<Global>, ObjectError> {
    let types = variable_types(btf);
    let mut globals = Vec::new();
    let mut copied = 0;
    for symbol in &elf.symbols {
        let section = symbol.section.and_then(|index| elf.sections.get(index));
        let Some(section) = section.filter(|s| is_data_section(&s.name)) else { continue };
        if symbol.kind != SymbolKind::Object || symbol.size == 0 {
            continue;
        }
        let end = symbol.value.saturating_add(symbol.size);
        if end > section.size {
            let why = format!("it reaches beyond the section '{}'", section.name);
            return Err(ObjectError::Malformed {
                what: format!("variable '{}'", symbol.name),
                why,
            });
        }
        let range = usize::try_from(symbol.value).ok().zip(usize::try_from(end).ok());
        let initial = range.and_then(|(from, to)| section.data.get(from..to)).unwrap_or(&[]);
        // Symbols may overlap, so that the sum is not bounded by the file.
        copied += initial.len();
        if copied > limits::OBJECT_BYTES {
            let (found, most) = (copied, limits::OBJECT_BYTES);
            return Err(ObjectError::Limit { what: "bytes of variables", found, most });
        }
        globals.push(Global {
            name: texts.take(&symbol.name)?,
            section: texts.take(&section.name)?,
            offset: symbol.value,
            size: symbol.size,
            ty: types.get(&(&*section.name, &*symbol.name)).copied(),
            initial: initial.to_vec(),
        });
    }
    globals.sort_by(|a, b| (&a.section, a.offset).cmp(&(&b.section, b.offset)));
    Ok(globals)
}

/// The type of each variable by section and name.
fn variable_types(btf: Option<&Btf>) -> BTreeMap<(&str, &str), TypeId> {
    let mut types = BTreeMap::new();
    let Some(btf) = btf else { return types };
    for (_, ty) in btf.types() {
        let Kind::DataSection { variables, .. } = &ty.kind else { continue };
        for variable in variables {
            if let Kind::Variable { ty: of, .. } = btf.kind(variable.ty) {
                types.insert((btf.name(ty), btf.name(btf.ty(variable.ty))), *of);
            }
        }
    }
    types
}
