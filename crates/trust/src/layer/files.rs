//! The files of a layer's tar, each with what headers in front of it say: pax headers and GNU long names.

use std::io::{self, Read, Take};

use crate::ustar::{BLOCK, SIZE, TYPE, is_summed, name_of, octal};

/// The files of a tar, one after the other.
pub(super) struct Files<R>(R);

/// What a tar says of a file.
pub(super) struct Entry {
    pub(super) name: String,
    /// Bytes.
    pub(super) size: u64,
    /// No link, folder or device.
    pub(super) is_regular: bool,
}

impl<R: Read> Files<R> {
    pub(super) const fn new(from: R) -> Self {
        Self(from)
    }

    /// The next file, whose bytes are in [`Files::body`]; none at the end.
    ///
    /// # Errors
    /// Not tar, or it cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut said = Said::default();
        while let Some(header) = self.header()? {
            let size = octal(&header[SIZE]).ok_or_else(|| broken("a size is not octal"))?;
            if !said.is_told_by(header[TYPE]) {
                return said.entry(&header, size).map(Some);
            }
            let mut body = Vec::new();
            self.body(size).read_to_end(&mut body)?;
            if body.len() as u64 != size {
                return Err(broken("it is cut off"));
            }
            self.skip_padding(size)?;
            said.hear(header[TYPE], body)?;
        }
        match said.kinds.is_empty() {
            true => Ok(None),
            false => Err(broken("no file follows a pax header or a long name")),
        }
    }

    /// The bytes of the file that came last, of this size.
    pub(super) fn body(&mut self, size: u64) -> Take<&mut R> {
        self.0.by_ref().take(size)
    }

    /// Passes over what fills a body up to whole blocks.
    pub(super) fn skip_padding(&mut self, size: u64) -> io::Result<()> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        match io::copy(&mut self.0.by_ref().take(padding), &mut io::sink())? == padding {
            true => Ok(()),
            false => Err(broken("it is cut off")),
        }
    }

    /// What is left behind the last file.
    pub(super) fn into_inner(self) -> R {
        self.0
    }

    /// The next header; none at the end or at a block of zeros.
    fn header(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = Vec::with_capacity(BLOCK);
        self.0.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(None);
        }
        let block: [u8; BLOCK] = block.try_into().map_err(|_| broken("a header is cut off"))?;
        if block == [0; BLOCK] {
            return Ok(None);
        }
        if !is_summed(&block) {
            return Err(broken("the checksum of a header is wrong"));
        }
        Ok(Some(block))
    }
}

/// What headers in front of a file say of it.
#[derive(Default)]
struct Said {
    /// Their types, each once.
    kinds: Vec<u8>,
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Said {
    /// Whether a header of this type is no file, but speaks of the next one.
    fn is_told_by(&self, kind: u8) -> bool {
        matches!(kind, b'x' | b'L' | b'K')
    }

    fn hear(&mut self, kind: u8, mut body: Vec<u8>) -> io::Result<()> {
        if self.kinds.contains(&kind) {
            return Err(broken("two pax headers, or two long names, speak of one file"));
        }
        self.kinds.push(kind);
        match kind {
            b'x' => self.pax(&body),
            b'L' => {
                body.truncate(body.iter().position(|byte| *byte == 0).unwrap_or(body.len()));
                self.name = Some(body);
                Ok(())
            }
            _ => Ok(()), // where a link leads
        }
    }

    /// Reads a pax header: lines `LENGTH KEY=VALUE`, each as long as it says. Of a key twice the last counts.
    fn pax(&mut self, body: &[u8]) -> io::Result<()> {
        for line in body.split_inclusive(|byte| *byte == b'\n') {
            let (key, value) =
                record(line).ok_or_else(|| broken("a line of a pax header is none"))?;
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"size" => {
                    let size = decimal(value).ok_or_else(|| broken("a pax size is no number"))?;
                    self.size = Some(size);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn entry(self, header: &[u8; BLOCK], size: u64) -> io::Result<Entry> {
        let name = self.name.unwrap_or_else(|| name_of(header));
        let is_regular = match header[TYPE] {
            b'0' => true,
            // Before ustar a folder was a file whose name ends with a slash.
            0 => !name.ends_with(b"/"),
            _ => false,
        };
        let name = String::from_utf8_lossy(&name).into_owned();
        Ok(Entry { name, size: self.size.unwrap_or(size), is_regular })
    }
}

/// Key and value of a line of a pax header.
fn record(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = line.strip_suffix(b"\n")?;
    let space = text.iter().position(|byte| *byte == b' ')?;
    let equals = space + text[space..].iter().position(|byte| *byte == b'=')?;
    let fits = decimal(&text[..space])? == line.len() as u64;
    fits.then_some((&text[space + 1..equals], &text[equals + 1..]))
}

/// Decimal digits and nothing else.
fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|_| is_number)
}

fn broken(why: &str) -> io::Error {
    io::Error::other(why)
}

#[cfg(test)]
mod tests {
    use super::record;

    #[test]
    fn a_line_of_a_pax_header_is_as_long_as_it_says() {
        let key_value = |line: &'static [u8]| record(line);
        assert_eq!(key_value(b"9 path=x\n"), Some((&b"path"[..], &b"x"[..])));
        assert_eq!(key_value(b"8 a=b=c\n"), Some((&b"a"[..], &b"b=c"[..])));
        assert_eq!(key_value(b"5 a=\n"), Some((&b"a"[..], &b""[..])));
        for line in [
            &b""[..],
            b"\n",
            b"9 path=x",
            b"8 path=x\n",
            b"+9 path=x\n",
            b"9path=x\n",
            b"7 path\n",
            b" path=x\n",
            b"99999999999999999999 a=b\n",
        ] {
            assert_eq!(record(line), None, "{}", line.escape_ascii());
        }
    }
}
