//! Numbers and dates as people read them.

/// Bytes with a binary unit: `6.0 KiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    for unit in UNITS {
        if tenths < 10_240 {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        tenths /= 1024;
    }
    format!("{} EiB", tenths / 10)
}

/// A count with its thousands apart: `262,144`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 helper`, `4 helpers`.
pub fn counted(number: usize, thing: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{} {thing}{end}", count(number as u64))
}

/// The day of an ISO time: `2026-11-24`.
pub fn day(time: &str) -> String {
    time.split('T').next().unwrap_or(time).to_owned()
}

/// The first twelve digits of a digest.
pub fn short_digest(digest: &str) -> String {
    digest.rsplit(':').next().unwrap_or(digest).chars().take(12).collect()
}

/// Memory that is needed once, and for each CPU.
pub fn memory(once: u64, per_cpu: u64) -> String {
    match (once, per_cpu) {
        (once, 0) => size(once),
        (0, per_cpu) => format!("{} per CPU", size(per_cpu)),
        (once, per_cpu) => format!("{} + {} per CPU", size(once), size(per_cpu)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let sizes = [0, 1023, 1024, 6144, 1 << 20, (1 << 30) - 1, u64::MAX].map(size);
        assert_eq!(sizes.join(", "), "0 B, 1023 B, 1.0 KiB, 6.0 KiB, 1.0 MiB, 1023.9 MiB, 15 EiB");
        assert_eq!([0, 999, 1000, 1_234_567].map(count).join(" "), "0 999 1,000 1,234,567");
        assert_eq!(day("2026-11-24T10:00:00Z"), "2026-11-24");
        assert_eq!(short_digest("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(memory(0, 8), "8 B per CPU");
        assert_eq!(memory(2048, 8), "2.0 KiB + 8 B per CPU");
    }
}
