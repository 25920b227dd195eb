//! An expression on records of one type: places and numbers, nothing to be looked up any more.

use std::cmp::Ordering;
use std::net::IpAddr;

use skep_spec::nearest::nearest;
use skep_spec::param::{parse_device, parse_duration, parse_integer, parse_mac, parse_size};

use super::parse::{Expression, Operator, Test};
use super::{Filter, FilterError};
use crate::event::Decoder;
use crate::event::format::Format;
use crate::event::json::{Float, text};
use crate::event::names;
use crate::event::plan::{Field, Shape};
use crate::event::scalar::{Meaning, Scalar};
use crate::event::syscalls::number_of;

/// A condition on the records of one decoder.
#[derive(Clone, Debug)]
pub struct Bound(Node);

#[derive(Clone, Debug)]
enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Not(Box<Node>),
    /// A number, in the unit of what it is compared with; of what is true or false 0 or 1.
    Number {
        truth: bool,
        at: usize,
        scalar: Scalar,
        times: i128,
        is: Operator,
        than: i128,
    },
    Float {
        at: usize,
        size: usize,
        big_endian: bool,
        is: Operator,
        than: f64,
    },
    Text {
        at: usize,
        size: Option<usize>,
        is: Operator,
        than: String,
    },
    Bytes {
        at: usize,
        is: Operator,
        than: Vec<u8>,
    },
}

impl Filter {
    /// The condition on what a decoder reads. Fields are named as in JSON (`a.b` inside another), or as their column is.
    ///
    /// # Errors
    /// There is no such field, or it is not compared so.
    pub fn bind(&self, decoder: &Decoder) -> Result<Bound, FilterError> {
        node(&self.0, decoder).map(Bound)
    }
}

impl Bound {
    /// Whether a record is so. A comparison with what the record does not have does not hold.
    #[must_use]
    pub fn takes(&self, data: &[u8]) -> bool {
        self.0.takes(data)
    }
}

impl Node {
    fn takes(&self, data: &[u8]) -> bool {
        let from = |at: &usize| data.get(*at..);
        match self {
            Self::Any(list) => list.iter().any(|node| node.takes(data)),
            Self::All(list) => list.iter().all(|node| node.takes(data)),
            Self::Not(node) => !node.takes(data),
            Self::Number { truth, at, scalar, times, is, than } => from(at)
                .and_then(|data| scalar.read(data))
                .map(|number| if *truth { i128::from(number != 0) } else { number })
                .is_some_and(|number| is.holds(Some(number.saturating_mul(*times).cmp(than)))),
            Self::Float { at, size, big_endian, is, than } => from(at)
                .and_then(|data| Float::read(data, *size, *big_endian))
                .is_some_and(|number| is.holds(number.wide().partial_cmp(than))),
            Self::Text { at, size, is, than } => from(at)
                .filter(|data| !data.is_empty())
                .is_some_and(|data| is.holds(Some((*text(data, *size)).cmp(than.as_str())))),
            Self::Bytes { at, is, than } => from(at)
                .and_then(|data| data.get(..than.len()))
                .is_some_and(|data| is.holds(Some(data.cmp(than.as_slice())))),
        }
    }
}

impl Operator {
    /// None: a number that is none (NaN), which is unequal to all.
    fn holds(self, found: Option<Ordering>) -> bool {
        match self {
            Self::Equal => found == Some(Ordering::Equal),
            Self::Unequal => found != Some(Ordering::Equal),
            Self::Less => found == Some(Ordering::Less),
            Self::AtMost => matches!(found, Some(Ordering::Less | Ordering::Equal)),
            Self::More => found == Some(Ordering::Greater),
            Self::AtLeast => matches!(found, Some(Ordering::Greater | Ordering::Equal)),
        }
    }

    const fn is_equality(self) -> bool {
        matches!(self, Self::Equal | Self::Unequal)
    }
}

fn node(expression: &Expression, decoder: &Decoder) -> Result<Node, FilterError> {
    let all = |list: &[Expression]| -> Result<Vec<Node>, FilterError> {
        list.iter().map(|one| node(one, decoder)).collect()
    };
    Ok(match expression {
        Expression::Any(list) => Node::Any(all(list)?),
        Expression::All(list) => Node::All(all(list)?),
        Expression::Not(one) => Node::Not(Box::new(node(one, decoder)?)),
        Expression::Test(test) => bound(test, decoder)?,
    })
}

fn bound(test: &Test, decoder: &Decoder) -> Result<Node, FilterError> {
    let (at, shape, format) = find(decoder, &test.field)?;
    let wrong = |takes: &str, found: &str| FilterError::Value {
        field: test.field.clone(),
        takes: takes.to_owned(),
        found: found.to_owned(),
    };
    match shape {
        Shape::Scalar(scalar) => {
            let (is, times, than) = match &test.with {
                None => (Operator::Unequal, 1, 0),
                Some((is, value)) => {
                    let (times, than) = number(scalar, format, value)
                        .ok_or_else(|| wrong(&takes(scalar, format), value))?;
                    (*is, times, than)
                }
            };
            let truth = is_truth(scalar, format);
            Ok(Node::Number { truth, at, scalar: scalar.clone(), times, is, than })
        }
        Shape::Float { size, big_endian } => {
            let (is, than) = match &test.with {
                None => (Operator::Unequal, 0.0),
                Some((is, value)) => {
                    (*is, float(value, *size).ok_or_else(|| wrong("a number such as -0.5", value))?)
                }
            };
            Ok(Node::Float { at, size: *size, big_endian: *big_endian, is, than })
        }
        Shape::Text(size) => {
            let (is, than) = equality(test, "a text")?;
            Ok(Node::Text { at, size: *size, is, than })
        }
        Shape::Address { format, size } => {
            if test.with.is_none() {
                return Err(operator(test, "an address", "compare it by == or !="));
            }
            let (is, value) = equality(test, "an address")?;
            let bytes = address(format, *size, &value);
            let than = bytes.ok_or_else(|| wrong("an address of its kind", &value))?;
            Ok(Node::Bytes { at, is, than })
        }
        Shape::Array { .. }
        | Shape::Struct(_)
        | Shape::Bytes { .. }
        | Shape::Raw
        | Shape::Stack(_) => {
            Err(operator(test, "no number, text or address", "it cannot be compared"))
        }
    }
}

/// Of a text alone, whether it is not empty.
fn equality(test: &Test, ty: &'static str) -> Result<(Operator, String), FilterError> {
    match &test.with {
        None => Ok((Operator::Unequal, String::new())),
        Some((is, value)) if is.is_equality() => Ok((*is, value.clone())),
        Some(_) => Err(operator(test, ty, "compare it by == or !=")),
    }
}

fn operator(test: &Test, ty: &'static str, takes: &'static str) -> FilterError {
    FilterError::Operator { field: test.field.clone(), ty, takes }
}

/// The path of a field that was named by it, or by its column.
pub(in crate::event) fn path_of(decoder: &Decoder, name: &str) -> Result<String, FilterError> {
    find(decoder, name)?;
    let column = || decoder.columns().find(|column| column.name == name);
    Ok(match at(&decoder.shape, name) {
        Some(_) => name.to_owned(),
        None => column().map(|column| column.path.clone()).unwrap_or_default(),
    })
}

type Found<'a> = (usize, &'a Shape, Option<&'a Format>);

fn find<'a>(decoder: &'a Decoder, name: &str) -> Result<Found<'a>, FilterError> {
    let column = decoder.columns().find(|column| column.name == name);
    let by_column = || column.and_then(|column| at(&decoder.shape, &column.path));
    at(&decoder.shape, name).or_else(by_column).ok_or_else(|| {
        let paths = decoder.columns().map(|column| column.path.as_str());
        let names: Vec<&str> = decoder.columns().map(|column| column.name.as_str()).collect();
        let near = nearest(name, paths.chain(names.iter().copied())).map(str::to_owned);
        FilterError::NoField { field: name.to_owned(), near, fields: names.join(", ") }
    })
}

fn at<'a>(root: &'a Shape, path: &str) -> Option<Found<'a>> {
    let (mut shape, mut offset, mut format) = (root, 0, None);
    for name in path.split('.') {
        let Shape::Struct(fields) = shape else { return None };
        let field: &Field = fields.iter().find(|field| *field.name == *name)?;
        offset += field.offset;
        (shape, format) = (&field.shape, field.format.as_ref());
    }
    Some((offset, shape, format))
}

/// Whether it is shown as true or false.
const fn is_truth(scalar: &Scalar, format: Option<&Format>) -> bool {
    matches!(format, Some(Format::Bool)) || matches!(scalar.meaning, Meaning::Bool)
}

/// What the field is to be multiplied with, and the number to compare that with.
fn number(scalar: &Scalar, format: Option<&Format>, value: &str) -> Option<(i128, i128)> {
    let plain = || parse_integer(value).map(|number| (1, number));
    let named = match (format, &scalar.meaning) {
        (Some(Format::Duration(unit)), _) => {
            return plain().or_else(|| Some((i128::from(*unit), parse_duration(value)?)));
        }
        (Some(Format::Size(unit)), _) => {
            return plain().or_else(|| Some((i128::from(*unit), parse_size(value)?)));
        }
        (Some(Format::Enum(names) | Format::Flags(names)), _) => {
            names.value(value).map(|number| scalar.wrapped(number))
        }
        (Some(Format::Signal), _) => names::signal_of(value),
        (Some(Format::Errno), _) => match value.strip_prefix('-') {
            Some(name) => names::errno_of(name).map(|number| -number),
            None => names::errno_of(value),
        },
        (Some(Format::Syscall), _) => number_of(value),
        (Some(Format::Device), _) => parse_device(value),
        (Some(Format::Bool), _) | (_, Meaning::Bool) => match value {
            "true" => Some(1),
            "false" => Some(0),
            _ => None,
        },
        (_, Meaning::Enum { .. }) => scalar.value_of(value),
        _ => None,
    };
    named.map(|number| (1, number)).or_else(plain)
}

/// What such a field is compared with.
fn takes(scalar: &Scalar, format: Option<&Format>) -> String {
    match (format, &scalar.meaning) {
        (Some(Format::Duration(_)), _) => "a duration such as 1.5ms, or an integer".to_owned(),
        (Some(Format::Size(_)), _) => "a size such as 64KiB, or an integer".to_owned(),
        (Some(Format::Signal), _) => "a signal such as SIGKILL, or an integer".to_owned(),
        (Some(Format::Errno), _) => "an error such as -ENOENT, or an integer".to_owned(),
        (Some(Format::Syscall), _) => "a system call such as openat, or an integer".to_owned(),
        (Some(Format::Device), _) => "a device such as 8:1, or an integer".to_owned(),
        (Some(Format::Bool), _) | (_, Meaning::Bool) => "true or false".to_owned(),
        (Some(Format::Enum(names) | Format::Flags(names)), _)
        | (_, Meaning::Enum { names, .. }) => {
            let names: Vec<&str> = names.all().take(16).collect();
            format!("one of {}, or an integer", names.join(", "))
        }
        _ => "an integer".to_owned(),
    }
}

/// A floating-point number as it would stand in so many bytes.
fn float(value: &str, size: usize) -> Option<f64> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    let fine = value.chars().all(is_part) && value.ends_with(|c: char| c.is_ascii_digit());
    let fine = fine && value.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit());
    match size {
        _ if !fine => None,
        4 => value.parse::<f32>().ok().map(f64::from),
        _ => value.parse().ok(),
    }
}

fn address(format: &Format, size: usize, value: &str) -> Option<Vec<u8>> {
    let bytes = match format {
        Format::Ip => match value.parse().ok()? {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        },
        _ => parse_mac(value)?,
    };
    (bytes.len() == size).then_some(bytes)
}
