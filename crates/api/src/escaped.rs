//! Texts in paths and queries.

/// A text as a part of a path or query.
pub(crate) fn escaped(name: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            (byte as char).into()
        }
        byte => format!("%{byte:02X}"),
    };
    name.bytes().map(escape).collect()
}
