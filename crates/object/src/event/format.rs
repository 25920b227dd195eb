//! How fields are shown to people: the formats of `[output.X.fields]`.

use std::net::{Ipv4Addr, Ipv6Addr};

use skep_spec::manifest;

use super::DecoderError;
use super::names;

/// How a field is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `ktime`: nanoseconds of the monotonic clock.
    Ktime,
    /// `comm` and `path`: text in a byte array.
    Text,
    /// `duration`: with the nanoseconds of its unit.
    Duration(u64),
    /// `hex`.
    Hex,
    /// `ip`: 4 or 16 bytes in network order.
    Ip,
    /// `mac`: 6 bytes.
    Mac,
    /// `errno`: negative numbers, and any number of an unsigned type.
    Errno,
    /// `signal`.
    Signal,
    /// `size`: with the bytes of its unit.
    Size(u64),
    /// `bool`: anything but 0 is true.
    Bool,
}

/// What the monotonic clock's zero was, for `ktime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds from 1970 (UTC) to the zero of `CLOCK_MONOTONIC`.
    pub unix_ns_at_zero: u64,
    /// Seconds east of UTC of the times that are shown.
    pub offset_seconds: i32,
}

impl Format {
    /// The spellings in a manifest.
    pub const NAMES: [&'static str; 11] = [
        "ktime", "comm", "duration", "hex", "ip", "mac", "errno", "signal", "size", "path", "bool",
    ];

    /// Whether the format reads a field of this many bytes whole, whatever its type.
    pub(super) const fn takes_bytes(self, size: usize) -> bool {
        match self {
            Self::Text => true,
            Self::Ip => size == 4 || size == 16,
            Self::Mac => size == 6,
            _ => false,
        }
    }

    pub(super) const fn takes_number(self) -> bool {
        !matches!(self, Self::Text | Self::Ip | Self::Mac)
    }

    pub(super) const fn takes(self) -> &'static str {
        match self {
            Self::Ip => "4 or 16 bytes in network order",
            Self::Mac => "6 bytes",
            Self::Text => "an array of bytes",
            _ => "a number",
        }
    }

    /// The text of an address.
    pub(super) fn address(self, bytes: &[u8]) -> String {
        if let Some(v4) = <[u8; 4]>::try_from(bytes).ok().filter(|_| self == Self::Ip) {
            return Ipv4Addr::from(v4).to_string();
        }
        if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
            return Ipv6Addr::from(v6).to_string();
        }
        let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
        hex.join(":")
    }

    /// The text of a number.
    pub(super) fn number(self, value: i128, signed: bool, clock: Option<Clock>) -> String {
        match self {
            Self::Ktime => ktime(value, clock),
            Self::Duration(unit) => duration(value.saturating_mul(i128::from(unit))),
            Self::Size(unit) => size(value.saturating_mul(i128::from(unit))),
            Self::Hex if value < 0 => format!("-{:#x}", value.unsigned_abs()),
            Self::Hex => format!("{value:#x}"),
            Self::Bool => (value != 0).to_string(),
            Self::Signal => names::signal(value).map_or_else(|| value.to_string(), str::to_owned),
            Self::Errno => errno(value, signed),
            Self::Text | Self::Ip | Self::Mac => value.to_string(),
        }
    }
}

pub(super) fn parse(path: &str, field: &manifest::Field) -> Result<Option<Format>, DecoderError> {
    let Some(name) = field.format.as_deref() else { return Ok(None) };
    let unit = |known: &'static str, units: &[(&str, u64)]| {
        let unit = field.unit.as_deref().unwrap_or(units.first().map_or("", |u| u.0));
        units.iter().find(|(name, _)| *name == unit).map(|(_, n)| *n).ok_or_else(|| {
            let (field, format) = (path.to_owned(), name.to_owned());
            DecoderError::Unit { field, unit: unit.to_owned(), format, known }
        })
    };
    Ok(Some(match name {
        "ktime" => Format::Ktime,
        "comm" | "path" => Format::Text,
        "duration" => Format::Duration(unit(
            "ns, us, ms or s",
            &[("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)],
        )?),
        "hex" => Format::Hex,
        "ip" => Format::Ip,
        "mac" => Format::Mac,
        "errno" => Format::Errno,
        "signal" => Format::Signal,
        "size" => Format::Size(unit(
            "B, KiB, MiB, pages or sectors",
            &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("pages", 4096), ("sectors", 512)],
        )?),
        "bool" => Format::Bool,
        format => {
            let (field, format) = (path.to_owned(), format.to_owned());
            return Err(DecoderError::NoFormat { field, format });
        }
    }))
}

/// The time of day to the microsecond, or seconds since the clock's zero.
fn ktime(value: i128, clock: Option<Clock>) -> String {
    let micros = |ns: i128| ns.rem_euclid(1_000_000_000) / 1000;
    let Some(clock) = clock else {
        return format!("{}.{:06}", value.div_euclid(1_000_000_000), micros(value));
    };
    let at = value + i128::from(clock.unix_ns_at_zero);
    let seconds = at.div_euclid(1_000_000_000) + i128::from(clock.offset_seconds);
    let day = seconds.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}.{:06}", day / 3600, day / 60 % 60, day % 60, micros(at))
}

/// Three figures and a unit; minutes and hours from one minute on.
fn duration(ns: i128) -> String {
    const UNITS: [(i128, &str); 4] =
        [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.saturating_abs();
    let seconds = ns / 1_000_000_000;
    if seconds >= 3600 {
        return format!("{sign}{}h{:02}m", seconds / 3600, seconds / 60 % 60);
    }
    if seconds >= 60 {
        return format!("{sign}{}m{:02}s", seconds / 60, seconds % 60);
    }
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| ns >= *unit).unwrap_or((1, "ns"));
    format!("{sign}{}{name}", three_figures(ns, unit))
}

fn size(bytes: i128) -> String {
    const UNITS: [(i128, &str); 5] =
        [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];
    let sign = if bytes < 0 { "-" } else { "" };
    let bytes = bytes.saturating_abs();
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| bytes >= *unit).unwrap_or((1, "B"));
    format!("{sign}{}{name}", three_figures(bytes, unit))
}

/// `value / unit` with three figures, cut, without a fraction of only zeros.
fn three_figures(value: i128, unit: i128) -> String {
    let whole = value / unit;
    let decimals: usize = match whole {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    };
    let scale = 10i128.pow(decimals as u32);
    let fraction = (value % unit).saturating_mul(scale) / unit;
    if unit == 1 || fraction == 0 {
        return whole.to_string();
    }
    format!("{whole}.{fraction:0decimals$}")
}

/// `-ENOENT` for -2. Positive numbers of signed types are results, not errors.
fn errno(value: i128, signed: bool) -> String {
    let sign = if value < 0 { "-" } else { "" };
    match names::errno(value.saturating_abs()) {
        Some(name) if value < 0 || !signed => format!("{sign}{name}"),
        _ => value.to_string(),
    }
}
