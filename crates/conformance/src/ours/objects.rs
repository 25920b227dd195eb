//! Parts 4 and 7.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use skep_object::difference::other_loose;
use skep_object::event::{Decoder, DecoderError, Filter, FilterError, event_type};
use skep_object::layout::{self, LayoutChange};
use skep_object::{Btf, Facts, ObjectError, TypeId};
use skep_spec::manifest::Field;

use crate::facts::ObjectFacts;

use super::{Answered, Bytes, Failure, question, refused, unreadable};

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        refused(error.code(), &error)
    }
}

impl From<DecoderError> for Failure {
    fn from(error: DecoderError) -> Self {
        let code = match &error {
            DecoderError::NoField { .. }
            | DecoderError::NoNumber { .. }
            | DecoderError::NoCounts { .. } => "output.no-field",
            DecoderError::NoFormat { .. } => "output.no-format",
            DecoderError::Mismatch { .. } => "output.mismatch",
            DecoderError::Unit { .. } => "output.unit",
            _ => "output.no-type",
        };
        refused(code, &error)
    }
}

impl From<FilterError> for Failure {
    fn from(error: FilterError) -> Self {
        let code = match &error {
            FilterError::NoField { .. } => "output.no-field",
            _ => "output.where",
        };
        refused(code, &error)
    }
}

pub(super) fn facts(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        data: Bytes,
    }
    let Asked { data } = question(input)?;
    let facts = Facts::parse(&data.0)?;
    serde_json::to_value(ObjectFacts::of(&facts)).map_err(unreadable)
}

#[derive(Deserialize)]
struct Version {
    data: Bytes,
    r#type: String,
}

impl Version {
    fn btf(&self) -> Result<(Btf, TypeId), Failure> {
        let facts = Facts::parse(&self.data.0)?;
        let ty = facts.types()?.type_by_name(&self.r#type);
        let ty = ty.ok_or_else(|| unreadable(format!("no type {}", self.r#type)))?;
        Ok((facts.types()?.clone(), ty))
    }
}

pub(super) fn compare(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        old: Version,
        new: Version,
        #[serde(default)]
        renames: BTreeMap<String, String>,
    }
    let asked: Asked = question(input)?;
    let ((old, old_ty), (new, new_ty)) = (asked.old.btf()?, asked.new.btf()?);
    Ok(match layout::compare(&old, old_ty, &new, new_ty, &asked.renames) {
        LayoutChange::Equal => json!({"difference": "same"}),
        LayoutChange::Incompatible(_) => json!({"difference": "incompatible"}),
        LayoutChange::Fields { common, added, removed, blocked } => json!({
            "difference": "fields",
            "common": common.iter().map(|pair| pair.name.as_str()).collect::<Vec<_>>(),
            "added": added,
            "removed": removed,
            "blocked": blocked.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(),
        }),
        #[allow(unreachable_patterns, reason = "another version of the facts may tell more")]
        _ => json!({}),
    })
}

pub(super) fn loose(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Object {
        data: Bytes,
    }
    #[derive(Deserialize)]
    struct Asked {
        old: Object,
        new: Object,
    }
    let Asked { old, new } = question(input)?;
    for object in [&old, &new] {
        Facts::parse(&object.data.0)?;
    }
    let sections = other_loose(&old.data.0, &new.data.0).map_err(unreadable)?;
    Ok(json!({"sections": sections}))
}

pub(super) fn decode(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        data: Bytes,
        r#type: Option<String>,
        map: Option<String>,
        r#struct: Option<String>,
        #[serde(default)]
        fields: BTreeMap<String, Field>,
        hex: String,
        r#where: Option<String>,
    }
    let asked: Asked = question(input)?;
    let facts = Facts::parse(&asked.data.0)?;
    let btf = facts.types()?;
    Decoder::has_maps_of_stacks(&facts, &asked.fields)?;
    let told = asked.r#struct.as_deref();
    let ty = match (&asked.r#type, &asked.map) {
        (Some(name), _) => btf.type_by_name(name).filter(|ty| btf.size_of(*ty).is_some()),
        (None, Some(map)) => event_type(&facts, map, told),
        (None, None) => None,
    };
    let decoder = match ty {
        Some(ty) => Decoder::new(btf, ty, &asked.fields)?,
        None if asked.r#type.is_some() || told.is_some() => {
            let ty = asked.r#type.or(asked.r#struct).unwrap_or_default();
            return Err(DecoderError::NoSize { ty }.into());
        }
        None => Decoder::raw(),
    };
    let record = hex::decode(&asked.hex).map_err(unreadable)?;
    let mut answer = json!({"json": decoder.decode(&record).to_json()});
    if let Some(condition) = asked.r#where {
        let bound = Filter::parse(&condition)?.bind(&decoder)?;
        answer["takes"] = bound.takes(&record).into();
    }
    Ok(answer)
}
