//! Headers of tar, in the form that POSIX.1-1988 gives them ("ustar Interchange Format").

use std::ops::Range;

use crate::layer::LayerError;

/// Tar's block size.
pub(crate) const BLOCK: usize = 512;
/// Where a header has the name of its file.
pub(crate) const NAME: Range<usize> = 0..100;
/// Where it has the size of it.
pub(crate) const SIZE: Range<usize> = 124..136;
/// Where it has the sum of its bytes.
const CHECKSUM: Range<usize> = 148..156;
/// Where it says what it is of.
pub(crate) const TYPE: usize = 156;
/// Where it says which kind of header it is.
pub(crate) const MAGIC: Range<usize> = 257..265;
/// The kind that is written.
pub(crate) const USTAR: &[u8; 8] = b"ustar\x0000";
/// Where there is room for the beginning of a long name.
pub(crate) const PREFIX: Range<usize> = 345..500;

/// A header: mode 0644, no owner, no time.
pub(crate) fn header(name: &str, size: usize) -> Result<[u8; BLOCK], LayerError> {
    let printable = name.bytes().all(|b| b.is_ascii_graphic());
    if name.is_empty() || name.len() > NAME.len() || !printable {
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
    put(MAGIC.start, USTAR);
    put(329, b"0000000\0"); // devmajor
    put(337, b"0000000\0"); // devminor
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

/// Whether a header has the sum of its bytes, with spaces where that stands.
pub(crate) fn is_summed(header: &[u8; BLOCK]) -> bool {
    let spaces = |at: usize, byte: u8| if CHECKSUM.contains(&at) { 32 } else { u64::from(byte) };
    let sum = header.iter().enumerate().map(|(at, byte)| spaces(at, *byte)).sum();
    octal(&header[CHECKSUM]) == Some(sum)
}

/// The name in a header, with the prefix that only ustar's have.
pub(crate) fn name_of(header: &[u8; BLOCK]) -> Vec<u8> {
    let (prefix, name) = (text(header, PREFIX), text(header, NAME));
    match header[MAGIC] == *USTAR && !prefix.is_empty() {
        true => [prefix, b"/", name].concat(),
        false => name.to_vec(),
    }
}

/// A text of a header: up to NUL or the field's end.
pub(crate) fn text(header: &[u8; BLOCK], field: Range<usize>) -> &[u8] {
    let field = &header[field];
    &field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]
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
