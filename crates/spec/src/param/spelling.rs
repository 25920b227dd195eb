//! How numbers, sizes, durations and addresses are spelled.

/// What may stand behind a size, in bytes.
pub const SIZES: [(&str, u64); 5] =
    [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("B", 1)];

/// What stands behind a duration, in nanoseconds.
pub const DURATIONS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A number of bytes: `512`, `64KiB`, `1 MiB`, `2GiB`. Its digits are as many as there can be: `0x1B` is 27.
#[must_use]
pub fn parse_size(text: &str) -> Option<i128> {
    let is_hex = text.trim_start_matches('-').starts_with("0x");
    let is_digit = |c: char| match c {
        '-' | '_' => true,
        'x' => is_hex,
        c if is_hex => c.is_ascii_hexdigit(),
        c => c.is_ascii_digit(),
    };
    let (number, unit) = text.split_at(text.find(|c| !is_digit(c)).unwrap_or(text.len()));
    let unit = match unit.trim_start_matches(' ') {
        "" => 1,
        unit => SIZES.into_iter().find(|(name, _)| *name == unit)?.1,
    };
    parse_integer(number)
        .filter(|number| (0..=1 << 60).contains(number))
        .map(|number| number * i128::from(unit))
}

/// The entries of a map, or the bytes of a ring, as `max_entries` says them: what a kernel takes.
#[must_use]
pub fn parse_entries(text: &str) -> Option<u32> {
    parse_size(text).and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0)
}

/// An integer as a person writes it: decimal or `0x` hexadecimal, with an optional `-` and digits grouped by `_`; its
/// magnitude is below 2^64.
#[must_use]
pub fn parse_integer(text: &str) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let digits = digits.replace('_', "");
    let (digits, radix) =
        digits.strip_prefix("0x").map_or((digits.as_str(), 10), |digits| (digits, 16));
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from(u64::from_str_radix(digits, radix).ok()?);
    Some(if negative { -number } else { number })
}

/// Nanoseconds; what stands before the point is below 2^64.
pub fn parse_duration(text: &str) -> Option<i128> {
    let at = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))?;
    let (number, unit) = text.split_at(at);
    let unit = unit_ns(Some(unit.trim_start_matches(' ')))?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole = parse_integer(whole)?.checked_mul(unit)?;
    if part.is_empty() {
        return Some(whole);
    }
    let scale = 10_i128.checked_pow(u32::try_from(part.len()).ok().filter(|len| *len <= 18)?)?;
    let part = is_digits(part).then(|| part.parse::<i128>().ok()).flatten()?;
    Some(whole + part * unit / scale)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// Nanoseconds of a unit; of none one.
pub(super) fn unit_ns(unit: Option<&str>) -> Option<i128> {
    let unit = unit.unwrap_or("ns");
    let found = DURATIONS.into_iter().find(|(name, _)| *name == unit);
    found.map(|(_, ns)| i128::from(ns))
}

/// The kernel's `dev_t`: 12 bits of major, 20 of minor (include/linux/kdev_t.h).
#[must_use]
pub fn parse_device(text: &str) -> Option<i128> {
    let (major, minor) = text.split_once(':')?;
    let part = |text: &str| is_digits(text).then(|| text.parse::<u32>().ok()).flatten();
    let (major, minor) = (part(major)?, part(minor)?);
    (major < 1 << 12 && minor < 1 << 20).then_some(i128::from(major << 20 | minor))
}

/// Six bytes, each of two hexadecimal digits.
#[must_use]
pub fn parse_mac(text: &str) -> Option<Vec<u8>> {
    let parts: Option<Vec<u8>> = text
        .split(':')
        .map(|part| {
            (part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(part)
        })
        .map(|part| u8::from_str_radix(part?, 16).ok())
        .collect();
    parts.filter(|bytes| bytes.len() == 6)
}
