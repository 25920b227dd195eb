//! Headers of tar, in the form that POSIX.1-1988 gives them ("ustar Interchange Format").

use std::ops::Range;

use crate::layer::LayerError;

/// Tar's block size.
pub(crate) const BLOCK: usize = 512;
/// Where a header has the size of its file.
pub(crate) const SIZE: Range<usize> = 124..136;
/// Where it has the sum of its bytes.
pub(crate) const CHECKSUM: Range<usize> = 148..156;
/// Where it says what it is of.
pub(crate) const TYPE: usize = 156;
/// Longest file name in the name field.
const NAME_MAX: usize = 100;

/// A header: mode 0644, no owner, no time.
pub(crate) fn header(name: &str, size: usize) -> Result<[u8; BLOCK], LayerError> {
    let printable = name.bytes().all(|b| b.is_ascii_graphic());
    if name.is_empty() || name.len() > NAME_MAX || !printable {
        return Err(LayerError::Name(name.escape_debug().to_string()));
    }
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0"); // uid
    put(116, b"0000000\0"); // gid
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0"); // mtime
    put(148, b"        "); // the checksum counts itself as spaces
    put(156, b"0"); // a regular file
    put(257, b"ustar\x0000");
    put(329, b"0000000\0"); // devmajor
    put(337, b"0000000\0"); // devminor
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

/// A number of a header: octal digits, spaces before them or not, up to NUL, a space or the field's end.
pub(crate) fn octal(field: &[u8]) -> Option<u64> {
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len());
    let digits = std::str::from_utf8(&digits[..end]).ok()?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    u64::from_str_radix(digits, 8).ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::octal;

    #[test]
    fn a_number_has_one_form() {
        for (field, number) in [
            (b"00000000005\0".as_slice(), Some(5)),
            (b"          17", Some(15)),
            (b"5 \xff\xff", Some(5)),
            (b"5\0xx", Some(5)),
            (b"77777777777\0", Some(0o77_777_777_777)),
            (b"", None),
            (b"\0\0\0\0", None),
            (b"    ", None),
            (b"8", None),
            (b"+5", None),
            (b"-5", None),
            (b"\t5", None),
            (b"0o5", None),
            (b"\x80\0\0\0\0\0\0\0\0\0\0\x05", None),
            (b"\xff\xff\xff\xff", None),
        ] {
            assert_eq!(octal(field), number, "{}", field.escape_ascii());
        }
    }
}
