//! How fields are shown to people: the formats of `[output.X.fields]`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use skep_spec::manifest;

use super::DecoderError;
use super::names;
use super::scalar::Names;
use super::stacks::{Side, Stacks};
use super::symbols::Symbols;
use super::syscalls::syscall;
use crate::shown;

/// How a field is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// `device`: the kernel's `dev_t`.
    Device,
    /// `ksym`: an address of the kernel.
    Ksym,
    /// `syscall`: a system call's number.
    Syscall,
    /// `time`: since 1970 (UTC), with the nanoseconds of its unit.
    Time(u64),
    /// `enum`: the names of an enumeration.
    Enum(Arc<Names>),
    /// `flags`: the names of an enumeration's bits.
    Flags(Arc<Names>),
    /// `kstack`: a stack of the kernel; of an id the map that it is in.
    KernelStack(Option<Arc<str>>),
    /// `ustack`: a stack of a process, likewise.
    UserStack(Option<Arc<str>>),
}

/// What formats need that is no record's.
#[derive(Clone, Debug, Default)]
pub(super) struct Beside {
    pub(super) clock: Option<Clock>,
    pub(super) symbols: Option<Arc<Symbols>>,
    pub(super) stacks: Option<Arc<dyn Stacks>>,
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
    pub const NAMES: [&'static str; 19] = [
        "ktime", "comm", "duration", "hex", "ip", "mac", "errno", "signal", "size", "path", "bool",
        "device", "ksym", "syscall", "enum", "flags", "time", "kstack", "ustack",
    ];

    /// Whether the format reads a field of this many bytes whole, whatever its type.
    pub(super) const fn takes_bytes(&self, size: usize) -> bool {
        match self {
            Self::Text => true,
            Self::Ip => size == 4 || size == 16,
            Self::Mac => size == 6,
            _ => false,
        }
    }

    pub(super) const fn takes_number(&self) -> bool {
        !matches!(self, Self::Text | Self::Ip | Self::Mac)
    }

    /// Of a stack whose.
    pub(super) const fn side(&self) -> Option<Side> {
        match self {
            Self::KernelStack(_) => Some(Side::Kernel),
            Self::UserStack(_) => Some(Side::Process),
            _ => None,
        }
    }

    /// Of a stack the map that it is in, where that is told.
    pub(super) fn map(&self) -> Option<&str> {
        match self {
            Self::KernelStack(map) | Self::UserStack(map) => map.as_deref(),
            _ => None,
        }
    }

    /// Whether what it shows of a number is one, too.
    pub(super) const fn is_number(&self) -> bool {
        !matches!(
            self,
            Self::Bool
                | Self::Signal
                | Self::Errno
                | Self::Device
                | Self::Ksym
                | Self::Syscall
                | Self::Enum(_)
                | Self::Flags(_)
                | Self::KernelStack(_)
                | Self::UserStack(_)
        )
    }

    pub(super) const fn takes(&self) -> &'static str {
        match self {
            Self::Ip => "4 or 16 bytes in network order",
            Self::Mac => "6 bytes",
            Self::Text => "an array of bytes",
            Self::KernelStack(_) | Self::UserStack(_) => {
                "an array of addresses of 8 bytes, or an integer of 4 or 8, the id of a stack"
            }
            _ => "a number",
        }
    }

    /// The text of an address.
    pub(super) fn address(&self, bytes: &[u8]) -> String {
        if let Some(v4) = <[u8; 4]>::try_from(bytes).ok().filter(|_| *self == Self::Ip) {
            return Ipv4Addr::from(v4).to_string();
        }
        if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
            return Ipv6Addr::from(v6).to_string();
        }
        let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
        hex.join(":")
    }

    /// The text of a number.
    pub(super) fn number(&self, value: i128, signed: bool, beside: &Beside) -> String {
        match self {
            Self::Ktime => ktime(value, beside.clock),
            Self::Duration(unit) => duration(value.saturating_mul(i128::from(*unit))),
            Self::Size(unit) => size(value.saturating_mul(i128::from(*unit))),
            Self::Time(unit) => time(value.saturating_mul(i128::from(*unit))),
            // include/linux/kdev_t.h: 20 bits are the minor number's.
            Self::Device if value >= 0 => format!("{}:{}", value >> 20, value & 0xf_ffff),
            Self::Ksym => ksym(value, beside.symbols.as_deref()),
            Self::Syscall => syscall(value).map_or_else(|| value.to_string(), str::to_owned),
            Self::Enum(names) => names
                .name_of(value)
                .map_or_else(|| value.to_string(), |name| shown(name).into_owned()),
            Self::Flags(names) => flags(value, names),
            Self::Hex if value < 0 => format!("-{:#x}", value.unsigned_abs()),
            Self::Hex => format!("{value:#x}"),
            Self::Bool => (value != 0).to_string(),
            Self::Signal => names::signal(value).map_or_else(|| value.to_string(), str::to_owned),
            Self::Errno => errno(value, signed),
            Self::Text | Self::Ip | Self::Mac | Self::Device => value.to_string(),
            Self::KernelStack(_) | Self::UserStack(_) => value.to_string(),
        }
    }
}

/// `names` are those of an enumeration: of the unit's name, or without one of the field's type.
pub(super) fn parse(
    path: &str,
    field: &manifest::Field,
    names: impl FnOnce(Option<&str>) -> Option<Arc<Names>>,
) -> Result<Option<Format>, DecoderError> {
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
        "duration" => Format::Duration(unit(TIMES, TIME_UNITS)?),
        "time" => Format::Time(unit(TIMES, TIME_UNITS)?),
        "device" => Format::Device,
        "ksym" => Format::Ksym,
        "syscall" => Format::Syscall,
        "enum" | "flags" => {
            let unknown = || DecoderError::Unit {
                field: path.to_owned(),
                unit: field.unit.clone().unwrap_or_default(),
                format: name.to_owned(),
                known: "the name of an enumeration of the object's types",
            };
            let names = names(field.unit.as_deref()).ok_or_else(unknown)?;
            if name == "enum" { Format::Enum(names) } else { Format::Flags(names) }
        }
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
        "kstack" => Format::KernelStack(field.unit.as_deref().map(Into::into)),
        "ustack" => Format::UserStack(field.unit.as_deref().map(Into::into)),
        format => {
            let (field, format) = (path.to_owned(), format.to_owned());
            return Err(DecoderError::NoFormat { field, format });
        }
    }))
}

const TIMES: &str = "ns, us, ms or s";
const TIME_UNITS: &[(&str, u64)] =
    &[("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];

/// A day and its time in UTC, to the microsecond.
fn time(ns: i128) -> String {
    const DAY: i128 = 86_400_000_000_000;
    let (days, ns) = (ns.div_euclid(DAY), ns.rem_euclid(DAY));
    let Ok(days) = i64::try_from(days) else { return (days * DAY + ns).to_string() };
    let (seconds, micros) = (ns / 1_000_000_000, ns % 1_000_000_000 / 1000);
    let (year, month, day) = civil(days);
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}.{micros:06}")
}

/// Year, month and day of a day since 1970, in the Gregorian calendar: counted from a 1 March, so that a leap day is a year's last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let years = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let months = (5 * of_year + 2) / 153;
    let day = of_year - (153 * months + 2) / 5 + 1;
    let month = if months < 10 { months + 3 } else { months - 9 };
    (years + era * 400 + i64::from(month <= 2), month, day)
}

/// The function or variable that an address is in, and how far behind its start.
fn ksym(value: i128, symbols: Option<&Symbols>) -> String {
    let address = value.cast_unsigned() as u64;
    match symbols.and_then(|symbols| symbols.find(address)) {
        Some((name, 0)) => shown(name).into_owned(),
        Some((name, behind)) => format!("{}+{behind:#x}", shown(name)),
        None => format!("{address:#x}"),
    }
}

/// `A|B`; what has no name is in hex, and nothing `0`.
fn flags(value: i128, names: &Names) -> String {
    if let Some(name) = names.name(value) {
        return shown(name).into_owned();
    }
    let set = value.cast_unsigned() as u64;
    let named: Vec<(u64, &str)> = names.bits().filter(|(bit, _)| set & bit != 0).collect();
    let rest = named.iter().fold(set, |rest, (bit, _)| rest & !bit);
    let mut all: Vec<String> = named.iter().map(|(_, name)| shown(name).into_owned()).collect();
    if rest != 0 || all.is_empty() {
        all.push(if rest == 0 { "0".to_owned() } else { format!("{rest:#x}") });
    }
    all.join("|")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_786, (2026, 11, 29)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), date);
        }
        assert_eq!(time(1_000_000_000 * 86_399 + 1_500), "1970-01-01 23:59:59.000001");
        assert_eq!(time(-1_000), "1969-12-31 23:59:59.999999");
    }
}
