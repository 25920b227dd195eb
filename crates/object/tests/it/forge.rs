//! ELFs and BTF put together by hand, for what no compiler makes.

/// A section to be.
#[derive(Clone, Default)]
pub struct Part {
    pub name: &'static str,
    pub kind: u32,
    pub flags: u64,
    pub data: Vec<u8>,
    pub link: u32,
    pub info: u32,
    pub entry: u64,
}

pub const PROGBITS: u32 = 1;
pub const SYMTAB: u32 = 2;
pub const STRTAB: u32 = 3;
pub const REL: u32 = 9;
pub const CODE: u64 = 6;
pub const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

pub fn part(name: &'static str, kind: u32, flags: u64, data: Vec<u8>) -> Part {
    Part { name, kind, flags, data, ..Part::default() }
}

/// Section 0 is the null section, the last one holds the names.
pub fn elf(parts: &[Part]) -> Vec<u8> {
    let mut names = vec![0u8];
    let mut out = vec![0u8; 64];
    let mut headers = vec![0u8; 64];
    let mut header = |part: &Part, name: usize, offset: usize| {
        headers.extend((name as u32).to_le_bytes());
        headers.extend(part.kind.to_le_bytes());
        for word in [part.flags, 0, offset as u64, part.data.len() as u64] {
            headers.extend(word.to_le_bytes());
        }
        headers.extend(part.link.to_le_bytes());
        headers.extend(part.info.to_le_bytes());
        headers.extend(8u64.to_le_bytes());
        headers.extend(part.entry.to_le_bytes());
    };
    for part in parts {
        header(part, names.len(), out.len());
        names.extend(part.name.bytes().chain([0]));
        out.extend(&part.data);
    }
    let last = part("", STRTAB, 0, names);
    header(&last, 0, out.len());
    out.extend(&last.data);
    let table = out.len() as u64;
    out.extend(headers);
    out[..21].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\xf7\0\x01");
    out[40..48].copy_from_slice(&table.to_le_bytes());
    out[52..54].copy_from_slice(&64u16.to_le_bytes());
    out[58..60].copy_from_slice(&64u16.to_le_bytes());
    out[60..62].copy_from_slice(&(parts.len() as u16 + 2).to_le_bytes());
    out[62..64].copy_from_slice(&(parts.len() as u16 + 1).to_le_bytes());
    out
}

/// A symbol: name, `STB << 4 | STT`, section, value, size.
pub fn symbol(name: u32, info: u8, section: u16, value: u64, size: u64) -> Vec<u8> {
    let mut bytes = name.to_le_bytes().to_vec();
    bytes.extend([info, 0]);
    bytes.extend(section.to_le_bytes());
    bytes.extend(value.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes
}

/// A symbol table, whose strings are in the section after it.
pub fn symbols(own: u32, list: &[Vec<u8>]) -> Part {
    let data = [vec![0; 24], list.concat()].concat();
    Part { link: own + 1, info: 1, entry: 24, ..part(".symtab", SYMTAB, 0, data) }
}

/// A program `name` in a section, with BTF and what else is wanted behind it.
pub fn object(section: &'static str, name: &str, code: &[u8], more: &[Part]) -> Vec<u8> {
    let strings = [b"\0", name.as_bytes(), b"\0"].concat();
    let mut parts = vec![
        part(section, PROGBITS, CODE, code.to_vec()),
        symbols(2, &[symbol(1, 0x12, 1, 0, code.len() as u64)]),
        part(".strtab", STRTAB, 0, strings),
    ];
    parts.extend_from_slice(more);
    elf(&parts)
}

/// BTF from words of types and strings.
pub fn btf(types: &[u32], strings: &[u8]) -> Vec<u8> {
    let mut out = vec![0x9f, 0xeb, 1, 0];
    let length = types.len() as u32 * 4;
    for word in [24, 0, length, length, strings.len() as u32] {
        out.extend(u32::to_le_bytes(word));
    }
    out.extend(types.iter().flat_map(|word| word.to_le_bytes()));
    out.extend(strings);
    out
}

/// The second word of a type.
pub fn info(kind: u32, count: u32) -> u32 {
    kind << 24 | count
}

/// `.BTF.ext` with CO-RE relocations of one section: its name in the BTF's strings; then offset, type, access and kind of each.
pub fn core(section: u32, relocations: &[[u32; 4]]) -> Vec<u8> {
    let mut out = vec![0x9f, 0xeb, 1, 0];
    let length = 12 + relocations.len() as u32 * 16;
    for word in [32, 0, 0, 0, 0, 0, length, 16, section, relocations.len() as u32] {
        out.extend(u32::to_le_bytes(word));
    }
    out.extend(relocations.iter().flatten().flat_map(|word| word.to_le_bytes()));
    out
}
