//! From a BTF type to a plan: offsets and shapes, without any more look-ups.

use std::collections::{BTreeMap, BTreeSet};

use skep_spec::manifest;

use super::DecoderError;
use super::NumberAt;
use super::format::{self, Format};
use super::scalar::{Enums, Scalar, is_number, names_of};
use super::stacks::{Addresses, Side, Stack};
use crate::btf::{Array, Int, Kind, Member};
use crate::limits::{PATH_BYTES, RECORD_FIELDS, RECORD_NAMES, TYPE_DEPTH};
use crate::{Btf, TypeId};

/// How a value looks in memory.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Scalar(Scalar),
    /// `char[N]`: text up to the first NUL. No size: to the end of the record.
    Text(Option<usize>),
    Float {
        size: usize,
        big_endian: bool,
    },
    /// An array; no count: to the end of the record.
    Array {
        element: Box<Shape>,
        stride: usize,
        count: Option<usize>,
    },
    /// A struct or union.
    Struct(Vec<Field>),
    /// Bytes with a format of their own: an address.
    Address {
        format: Format,
        size: usize,
    },
    /// A 128-bit integer, or a type that cannot be shown: one number in hex.
    Bytes {
        size: usize,
        big_endian: bool,
    },
    /// All that is left, in hex, in the order of memory.
    Raw,
    /// A stack's addresses, or its id.
    Stack(Box<Stack>),
}

impl Shape {
    /// Whether it has no bytes of its own, so that a record may end where it begins.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Raw | Self::Text(None | Some(0)) | Self::Array { count: None | Some(0), .. } => {
                true
            }
            Self::Array { stride: 0, .. } => true,
            Self::Struct(fields) => fields.iter().all(|field| field.shape.is_empty()),
            Self::Stack(stack) => {
                matches!(stack.addresses, Addresses::Here { count: None | Some(0), .. })
            }
            _ => false,
        }
    }

    /// Bytes of the names that one record repeats at most.
    fn names(&self) -> usize {
        match self {
            Self::Scalar(scalar) => scalar.longest_name(),
            Self::Array { stride: 0, .. } => 0,
            Self::Array { element, stride, count } => {
                element.names().saturating_mul(count.unwrap_or(UNTOLD / stride))
            }
            Self::Struct(fields) => fields.iter().fold(0, |all, field| {
                all.saturating_add(field.name.len()).saturating_add(field.shape.names())
            }),
            _ => 0,
        }
    }
}

/// What an array without a length is taken to have, in bytes.
const UNTOLD: usize = 64 << 10;

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: Box<str>,
    pub(super) offset: usize,
    pub(super) shape: Shape,
    pub(super) format: Option<Format>,
}

/// The shape of a record of which nothing is known.
pub(super) fn raw() -> Shape {
    let field = Field { name: "bytes".into(), offset: 0, shape: Shape::Raw, format: None };
    Shape::Struct(vec![field])
}

pub(super) fn compile(
    btf: &Btf,
    ty: TypeId,
    formats: &BTreeMap<String, manifest::Field>,
) -> Result<Shape, DecoderError> {
    let (enums, used) = (Enums::default(), Vec::new());
    let mut compiler = Compiler { btf, root: ty, formats, used, fields: 0, paths: 0, enums };
    let shape = compiler.shape(ty, "", TYPE_DEPTH, true)?;
    if shape.names() > RECORD_NAMES {
        return Err(compiler.limit("bytes of names in a record", RECORD_NAMES));
    }
    if let Some(field) = formats.keys().find(|field| !compiler.used.contains(field)) {
        let paths = paths(&shape);
        return Err(DecoderError::NoField {
            field: field.clone(),
            ty: btf.describe(ty),
            fields: paths.join(", "),
        });
    }
    Ok(shape)
}

/// A type as the only member of a struct, so that it can have a format though it is none.
pub(super) fn compile_as(
    btf: &Btf,
    ty: TypeId,
    name: &str,
    formats: &BTreeMap<String, manifest::Field>,
) -> Result<Shape, DecoderError> {
    let (enums, used) = (Enums::default(), Vec::new());
    let mut compiler = Compiler { btf, root: ty, formats, used, fields: 0, paths: 0, enums };
    let format = compiler.format(name, ty)?;
    let shape = match &format {
        Some(format) if format.side().is_some() => compiler.stack(format, ty, true)?,
        Some(format) if format.takes_bytes(compiler.size(ty)) => compiler.bytes(format, ty, true),
        _ => compiler.shape(ty, name, TYPE_DEPTH, true)?,
    };
    Ok(Shape::Struct(vec![Field { name: name.into(), offset: 0, shape, format }]))
}

/// The variables of a data section, where their places are known: in the BTF that a kernel holds, not in an object's.
pub(super) fn compile_section(btf: &Btf, ty: TypeId) -> Result<Shape, DecoderError> {
    let Kind::DataSection { size, variables } = btf.kind(ty) else {
        return compile(btf, ty, &BTreeMap::new());
    };
    let (formats, enums) = (BTreeMap::new(), Enums::default());
    let used = Vec::new();
    let mut compiler =
        Compiler { btf, root: ty, formats: &formats, used, fields: 0, paths: 0, enums };
    let mut fields = Vec::new();
    for variable in variables {
        let name = btf.name(btf.ty(variable.ty));
        let Kind::Variable { ty: of, .. } = btf.kind(variable.ty) else { continue };
        if u64::from(variable.offset) + u64::from(variable.size) > u64::from(*size) {
            return Err(DecoderError::Beyond { field: name.to_owned(), ty: btf.describe(ty) });
        }
        compiler.count_one()?;
        compiler.count_path(name)?;
        let shape = compiler.shape(*of, name, TYPE_DEPTH, false)?;
        fields.push(Field {
            name: name.into(),
            offset: variable.offset as usize,
            shape,
            format: None,
        });
    }
    Ok(Shape::Struct(fields))
}

struct Compiler<'a> {
    btf: &'a Btf,
    root: TypeId,
    formats: &'a BTreeMap<String, manifest::Field>,
    used: Vec<&'a String>,
    fields: usize,
    /// Bytes of the paths of all members.
    paths: usize,
    enums: Enums,
}

impl<'a> Compiler<'a> {
    /// `last` is whether nothing of the record comes after it, so that an array without a length takes the rest.
    fn shape(
        &mut self,
        ty: TypeId,
        path: &str,
        depth: usize,
        last: bool,
    ) -> Result<Shape, DecoderError> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(self.limit("levels", TYPE_DEPTH));
        };
        let btf = self.btf;
        let (big_endian, bare) = (btf.big_endian(), btf.skip_modifiers(ty));
        Ok(match btf.kind(bare) {
            Kind::Struct(_) | Kind::Union(_) => {
                let mut fields = Vec::new();
                self.members(ty, path, 0, depth, last, &mut fields)?;
                let mut names = BTreeSet::new();
                if let Some(twice) = fields.iter().find(|field| !names.insert(&*field.name)) {
                    let (field, ty) = (join(path, &twice.name), btf.describe(ty));
                    return Err(DecoderError::Twice { field, ty });
                }
                Shape::Struct(fields)
            }
            Kind::Array(array) => self.array(*array, path, depth, last)?,
            Kind::Int(_) if self.is_char(ty) => Shape::Text(Some(1)),
            Kind::Float { size } => Shape::Float { size: *size as usize, big_endian },
            _ => match Scalar::of(btf, bare, &mut self.enums) {
                Some(scalar) => Shape::Scalar(scalar),
                None => Shape::Bytes { size: self.size(ty), big_endian },
            },
        })
    }

    fn array(
        &mut self,
        array: Array,
        path: &str,
        depth: usize,
        last: bool,
    ) -> Result<Shape, DecoderError> {
        let count = (array.count > 0 || !last).then_some(array.count as usize);
        if self.is_char(array.element) {
            return Ok(Shape::Text(count));
        }
        let stride = self.size(array.element);
        let element = Box::new(self.shape(array.element, path, depth, false)?);
        Ok(Shape::Array { element, stride, count })
    }

    /// Adds a composite's members; those of anonymous ones belong to the outer.
    fn members(
        &mut self,
        ty: TypeId,
        path: &str,
        base: usize,
        depth: usize,
        last: bool,
        fields: &mut Vec<Field>,
    ) -> Result<(), DecoderError> {
        let btf = self.btf;
        let Some(composite) = btf.composite(ty) else { return Ok(()) };
        let is_union = matches!(btf.kind(btf.skip_modifiers(ty)), Kind::Union(_));
        for (index, member) in composite.members.iter().enumerate() {
            let last = last && (is_union || index + 1 == composite.members.len());
            self.count_one()?;
            let name = self.btf.name(member);
            let offset = base + member.bit_offset as usize / 8;
            let inside = base + composite.size as usize;
            let is_anonymous = name.is_empty() && self.btf.composite(member.ty).is_some();
            if offset.saturating_add(self.size(member.ty)) > inside && member.bits == 0 {
                let field = join(path, name);
                return Err(DecoderError::Beyond { field, ty: self.btf.describe(ty) });
            }
            if is_anonymous {
                let Some(depth) = depth.checked_sub(1) else {
                    return Err(self.limit("levels", TYPE_DEPTH));
                };
                self.members(member.ty, path, offset, depth, last, fields)?;
                continue;
            }
            let path = join(path, name);
            self.count_path(&path)?;
            let format = self.format(&path, member.ty)?;
            let shape = match &format {
                Some(format) if format.side().is_some() => self.stack(format, member.ty, last)?,
                Some(format) if format.takes_bytes(self.size(member.ty)) => {
                    self.bytes(format, member.ty, last)
                }
                _ => self.member(member, &path, depth, last)?,
            };
            fields.push(Field { name: name.into(), offset, shape, format });
        }
        Ok(())
    }

    fn count_one(&mut self) -> Result<(), DecoderError> {
        self.fields += 1;
        if self.fields > RECORD_FIELDS {
            return Err(self.limit("fields", RECORD_FIELDS));
        }
        Ok(())
    }

    fn count_path(&mut self, path: &str) -> Result<(), DecoderError> {
        self.paths += path.len();
        if self.paths > PATH_BYTES {
            return Err(self.limit("bytes in the paths of its fields", PATH_BYTES));
        }
        Ok(())
    }

    fn member(
        &mut self,
        member: &Member,
        path: &str,
        depth: usize,
        last: bool,
    ) -> Result<Shape, DecoderError> {
        let btf = self.btf;
        let bare = btf.skip_modifiers(member.ty);
        let kind = btf.kind(bare);
        let skip = (member.bit_offset % 8) as u8;
        let bits = match kind {
            // Old compilers put a bit field's place into a type of its own.
            Kind::Int(int) if member.bits == 0 && u32::from(int.bits) < int.size * 8 => {
                Some((skip + int.bit_offset % 8, int.bits))
            }
            _ => (member.bits > 0).then_some((skip, member.bits)),
        };
        let scalar = bits.and_then(|bits| Some((bits, Scalar::of(btf, bare, &mut self.enums)?)));
        match scalar {
            Some(((skip, bits), scalar)) => Ok(Shape::Scalar(scalar.bits(skip, bits))),
            None => self.shape(member.ty, path, depth, last),
        }
    }

    fn bytes(&self, format: &Format, ty: TypeId, last: bool) -> Shape {
        match format {
            Format::Text => Shape::Text(Some(self.size(ty)).filter(|size| *size > 0 || !last)),
            format => Shape::Address { format: format.clone(), size: self.size(ty) },
        }
    }

    /// Addresses of 8 bytes, or an id of 4 or 8; the process is found when all fields are.
    fn stack(&mut self, format: &Format, ty: TypeId, last: bool) -> Result<Shape, DecoderError> {
        let (btf, bare) = (self.btf, self.btf.skip_modifiers(ty));
        let addresses = match btf.kind(bare) {
            Kind::Array(array) => Addresses::Here {
                count: (array.count > 0 || !last).then_some(array.count as usize),
                big_endian: btf.big_endian(),
            },
            _ => match Scalar::of(btf, bare, &mut self.enums) {
                Some(id) => Addresses::In { id, map: format.map().map(Into::into) },
                None => return Ok(raw()), // what fits is a number
            },
        };
        let side = format.side().unwrap_or(Side::Either);
        Ok(Shape::Stack(Box::new(Stack { side, addresses, process: None })))
    }

    /// Whether it can be a stack: addresses, or the id of one.
    fn is_stack(&self, ty: TypeId) -> bool {
        let word = |ty: TypeId, sizes: &[usize]| {
            let kind = self.btf.kind(self.btf.skip_modifiers(ty));
            let is_word = matches!(kind, Kind::Int(Int { bool: false, .. }) | Kind::Pointer(_));
            is_word && sizes.contains(&self.size(ty))
        };
        match self.btf.kind(self.btf.skip_modifiers(ty)) {
            Kind::Array(array) => word(array.element, &[8]),
            Kind::Int(_) => word(ty, &[4, 8]),
            _ => false,
        }
    }

    fn format(&mut self, path: &str, ty: TypeId) -> Result<Option<Format>, DecoderError> {
        let Some((key, field)) = self.formats.get_key_value(path) else { return Ok(None) };
        self.used.push(key);
        let names = |told: Option<&str>| {
            let told = told.map(|name| self.btf.type_by_name(name));
            names_of(self.btf, told.unwrap_or(Some(ty))?)
        };
        let Some(format) = format::parse(path, field, names)? else { return Ok(None) };
        let kind = self.btf.kind(self.btf.skip_modifiers(ty));
        let fits = match format.side() {
            Some(_) => self.is_stack(ty),
            None => format.takes_bytes(self.size(ty)) || (format.takes_number() && is_number(kind)),
        };
        if !fits {
            return Err(DecoderError::Mismatch {
                field: path.to_owned(),
                ty: self.btf.describe(ty),
                format: field.format.clone().unwrap_or_default(),
                takes: format.takes(),
            });
        }
        Ok(Some(format))
    }

    /// `char`, by its name: Clang marks it as a plain signed integer, and GCC `unsigned char` as a character.
    fn is_char(&self, ty: TypeId) -> bool {
        let ty = self.btf.ty(self.btf.skip_modifiers(ty));
        matches!(ty.kind, Kind::Int(Int { size: 1, bool: false, .. }))
            && self.btf.name(ty) == "char"
    }

    fn size(&self, ty: TypeId) -> usize {
        self.btf.size_of(ty).and_then(|size| usize::try_from(size).ok()).unwrap_or(0)
    }

    fn limit(&self, what: &'static str, most: usize) -> DecoderError {
        DecoderError::Limit { ty: self.btf.describe(self.root), what, most }
    }
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The paths of all fields that are no structs.
pub(super) fn paths(shape: &Shape) -> Vec<String> {
    let mut paths = Vec::new();
    name_fields(shape, "", &mut paths);
    paths
}

fn name_fields(shape: &Shape, path: &str, out: &mut Vec<String>) {
    let Shape::Struct(fields) = shape else { return };
    for field in fields {
        let path = join(path, &field.name);
        match &field.shape {
            Shape::Struct(_) => name_fields(&field.shape, &path, out),
            _ => out.push(path),
        }
    }
}

/// Whether a field has the format `ksym`.
pub(super) fn has_addresses(shape: &Shape) -> bool {
    let Shape::Struct(fields) = shape else { return false };
    let is_one = |field: &Field| field.format == Some(Format::Ksym) || has_addresses(&field.shape);
    fields.iter().any(is_one)
}

/// The path of the first field that is a time, and of one since 1970 its unit.
pub(super) fn time(shape: &Shape, path: &str) -> Option<(String, Option<u64>)> {
    let Shape::Struct(fields) = shape else { return None };
    fields.iter().find_map(|field| {
        let path = join(path, &field.name);
        match field.format {
            Some(Format::Ktime) => Some((path, None)),
            Some(Format::Time(unit)) => Some((path, Some(unit))),
            _ => time(&field.shape, &path),
        }
    })
}

/// Whether a field is a stack.
pub(super) fn has_stacks(shape: &Shape) -> bool {
    match shape {
        Shape::Struct(fields) => fields.iter().any(|field| has_stacks(&field.shape)),
        Shape::Array { element, .. } => has_stacks(element),
        Shape::Stack(_) => true,
        _ => false,
    }
}

/// Tells the stacks of processes where the number of theirs stands.
pub(super) fn name_processes(
    shape: &mut Shape,
    path: &str,
    process: &impl Fn(&str) -> Result<Option<NumberAt>, DecoderError>,
) -> Result<(), DecoderError> {
    match shape {
        Shape::Struct(fields) => fields.iter_mut().try_for_each(|field| {
            name_processes(&mut field.shape, &join(path, &field.name), process)
        }),
        Shape::Array { element, .. } => name_processes(element, path, process),
        Shape::Stack(stack) if stack.side == Side::Process => {
            stack.process = process(path)?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The fields that are `wanted` by their paths, and structs with such.
pub(super) fn only(shape: &Shape, path: &str, wanted: &impl Fn(&str) -> bool) -> Shape {
    let Shape::Struct(fields) = shape else { return shape.clone() };
    let kept = fields.iter().filter_map(|field| {
        let path = join(path, &field.name);
        if wanted(&path) {
            return Some(field.clone());
        }
        let shape = only(&field.shape, &path, wanted);
        let has_some = matches!(&shape, Shape::Struct(fields) if !fields.is_empty());
        has_some.then(|| Field { shape, ..field.clone() })
    });
    Shape::Struct(kept.collect())
}

/// Whether a path leads into what another one names.
pub(super) fn is_inside(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.starts_with('.'))
}
