//! The small grammars: what is written is what is read.

use std::fmt::Display;
use std::str::FromStr;

use skep_adapt::Feature;
use skep_spec::license::Expression;
use skep_spec::param::{self, ParamType, Value};
use skep_spec::{
    Arch, Channel, Digest, PackageName, PackageRef, ServiceName, Target, Version, manifest::Param,
};
use skep_trust::KeyId;

/// Names, references, versions, attach targets, requirements, licences, times.
pub(crate) fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    again::<Arch>(text);
    again::<Channel>(text);
    again::<Digest>(text);
    again::<Feature>(text);
    again::<KeyId>(text);
    again::<PackageName>(text);
    again::<PackageRef>(text);
    again::<ServiceName>(text);
    again::<Target>(text);
    again::<Version>(text);
    _ = text.parse::<Expression>();
    _ = skep_spec::license::is_gpl_compatible(text);
    _ = skep_trust::time::parse(text);
}

fn again<T: FromStr + Display + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let written = value.to_string();
        assert!(written.parse::<T>().ok().as_ref() == Some(&value), "'{text}' became '{written}'");
    }
}

/// `${param.x}` and the values of parameters.
pub(crate) fn params(data: &[u8]) {
    let [kind, size, text @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    _ = param::references(text);
    _ = param::parse_size(text);
    let value = Value::Text(text.to_owned());
    _ = param::substitute(text, |name| (name == "x").then_some(&value));
    let name = param::TYPES[usize::from(*kind) % param::TYPES.len()];
    let Ok(kind) = serde_json::from_value::<ParamType>(name.into()) else { return };
    let (size, param) = (usize::from(*size), Param::of(kind, None));
    if let Ok(bytes) = param.encode_as(&value, size, false) {
        assert_eq!(bytes.len(), size);
    }
    _ = param.number_of(text);
}
