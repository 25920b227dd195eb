//! The arguments of a probe: as its note writes them, and as `usdt.bpf.h` of libbpf reads them in a map.

use skep_spec::Arch;

/// Most that a program can ask for (`BPF_USDT_MAX_ARG_CNT`).
const MOST: usize = 12;

/// How the arguments of a probe lie at one of its places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arguments(Vec<Argument>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Argument {
    lies: Lies,
    signed: bool,
    /// 1, 2, 4 or 8.
    bytes: u8,
}

/// Registers are bytes into `struct pt_regs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lies {
    Constant(i64),
    Register(u16),
    Memory {
        base: u16,
        offset: i64,
    },
    /// In memory at `base + (index << shift) + offset`; read by `usdt.bpf.h` from libbpf 1.7 on.
    Scaled {
        base: u16,
        index: u16,
        shift: u8,
        offset: i64,
    },
}

impl Arguments {
    /// Reads `-4@%esi 8@-24(%rbp) 2@$5`, as the assembler of an architecture writes places.
    pub(super) fn parse(text: &str, arch: Arch) -> Result<Self, String> {
        let all: Result<Vec<_>, String> = words(text)
            .into_iter()
            .map(|word| {
                argument(&word, arch)
                    .ok_or_else(|| format!("no program can read its argument '{word}'"))
            })
            .collect();
        let all = all?;
        match all.len() {
            0..=MOST => Ok(Self(all)),
            more => Err(format!("it has {more} arguments, and programs can ask for {MOST}")),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A `struct __bpf_usdt_spec` of that size; none where no libbpf has one of it.
    pub(super) fn bytes(&self, size: usize) -> Option<Vec<u8>> {
        let form = Form::of(size)?;
        let mut bytes = vec![0; size];
        for (argument, place) in self.0.iter().zip(bytes.chunks_exact_mut(form.argument())) {
            form.write(argument, place);
        }
        let count = form.count();
        bytes[count..count + 2].copy_from_slice(&(self.0.len() as u16).to_ne_bytes());
        Some(bytes)
    }

    /// What [`Self::bytes`] wrote.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let form = Form::of(bytes.len())?;
        let count = usize::from(word(bytes, form.count())?);
        let places = bytes.chunks_exact(form.argument()).take(count);
        (count <= MOST)
            .then(|| places.map(|place| form.read(place)).collect::<Option<_>>().map(Self))?
    }
}

/// Words that are divided by spaces outside of brackets.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut depth) = (vec![String::new()], 0_usize);
    for c in text.chars() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match words.last_mut() {
            Some(word) if !c.is_whitespace() => word.push(c),
            Some(word) if depth == 0 && !word.is_empty() => words.push(String::new()),
            _ => {}
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// `SIZE@PLACE`; a negative size is of a signed number, and an `f` behind it of a floating one, whose bits are read.
fn argument(word: &str, arch: Arch) -> Option<Argument> {
    let (size, place) = word.split_once('@')?;
    let size: i8 = size.strip_suffix('f').unwrap_or(size).parse().ok()?;
    let bytes = size.unsigned_abs();
    let lies = match arch {
        Arch::X86_64 => on_x86(place),
        Arch::Aarch64 => on_arm(place),
        Arch::Riscv64 | Arch::S390x => None,
    }?;
    matches!(bytes, 1 | 2 | 4 | 8).then_some(Argument { lies, signed: size < 0, bytes })
}

/// `$5`, `%rax`, `-8(%rbp)`, `8(%rax,%rdx,4)`.
fn on_x86(place: &str) -> Option<Lies> {
    if let Some(number) = place.strip_prefix('$') {
        return number.parse().ok().map(Lies::Constant);
    }
    let Some((offset, inside)) = place.strip_suffix(')').and_then(|p| p.split_once('(')) else {
        return x86_register(place).map(Lies::Register);
    };
    let offset = if offset.is_empty() { 0 } else { offset.parse().ok()? };
    let mut parts = inside.split(',');
    let base = x86_register(parts.next()?)?;
    let Some(index) = parts.next() else { return Some(Lies::Memory { base, offset }) };
    let scale: u32 = parts.next().map_or(Some(1), |scale| scale.parse().ok())?;
    let shift = matches!(scale, 1 | 2 | 4 | 8).then(|| scale.trailing_zeros() as u8)?;
    let index = x86_register(index)?;
    parts.next().is_none().then_some(Lies::Scaled { base, index, shift, offset })
}

/// By the order of `struct pt_regs` (arch/x86/include/asm/ptrace.h); parts of a register lie where it does.
fn x86_register(text: &str) -> Option<u16> {
    const ORDER: [&str; 21] = [
        "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si",
        "di", "orig_ax", "ip", "cs", "flags", "sp", "ss",
    ];
    let name = text.strip_prefix('%')?;
    let numbered = |name: &str| {
        name.strip_prefix('r').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let whole = match name {
        "al" => "ax",
        "bl" => "bx",
        "cl" => "cx",
        "dl" => "dx",
        "sil" | "dil" | "bpl" | "spl" => &name[..2],
        name if numbered(name) => name.trim_end_matches(['d', 'w', 'b']),
        name if name.len() == 3 => name.strip_prefix(['r', 'e'])?,
        name => name,
    };
    let known = ORDER.iter().position(|one| *one == whole && !["cs", "ss"].contains(one));
    known.map(|at| at as u16 * 8)
}

/// `5`, `x3`, `[sp,16]`, `[x29]`.
fn on_arm(place: &str) -> Option<Lies> {
    if let Some(inside) = place.strip_prefix('[') {
        let inside = inside.strip_suffix(']')?;
        let (base, offset) = inside.split_once(',').unwrap_or((inside, "0"));
        return Some(Lies::Memory { base: arm_register(base)?, offset: offset.parse().ok()? });
    }
    let register = arm_register(place).map(Lies::Register);
    register.or_else(|| place.parse().ok().map(Lies::Constant))
}

/// By `struct user_pt_regs` (arch/arm64/include/uapi/asm/ptrace.h).
fn arm_register(name: &str) -> Option<u16> {
    if name == "sp" {
        return Some(31 * 8);
    }
    let number: u16 = name.strip_prefix(['x', 'w'])?.parse().ok()?;
    (number <= 30).then_some(number * 8)
}

/// How a `usdt.bpf.h` lays its descriptions out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Before libbpf 1.7.
    Narrow,
    /// Since, as compilers lay its bit fields out.
    Wide,
}

impl Form {
    fn of(size: usize) -> Option<Self> {
        [Self::Narrow, Self::Wide].into_iter().find(|form| form.size() == size)
    }

    /// Arguments, a cookie, a number of 2 bytes.
    const fn size(self) -> usize {
        MOST * self.argument() + 16
    }

    const fn argument(self) -> usize {
        match self {
            Self::Narrow => 16,
            Self::Wide => 24,
        }
    }

    /// Where the number of arguments is.
    const fn count(self) -> usize {
        MOST * self.argument() + 8
    }

    /// Where the register's offset, its sign and its shift are.
    const fn register(self) -> usize {
        match self {
            Self::Narrow => 12,
            Self::Wide => 14,
        }
    }

    /// Where index and scale of [`Lies::Scaled`] are, and by how many bits into a word of 4 bytes; narrow ones have no place for
    /// them, and a program that is of that time answers -EINVAL for the kind of such an argument.
    const fn index(self) -> (usize, u32) {
        match self {
            Self::Narrow => (8, 8),
            Self::Wide => (8, 16),
        }
    }

    fn write(self, argument: &Argument, place: &mut [u8]) {
        let (kind, number, register) = match argument.lies {
            Lies::Constant(value) => (0_u32, value, 0),
            Lies::Register(register) => (1, 0, register),
            Lies::Memory { base, offset } => (2, offset, base),
            Lies::Scaled { base, offset, .. } => (3, offset, base),
        };
        let (at, bit) = self.index();
        let scaled = match argument.lies {
            Lies::Scaled { index, shift, .. } => (u32::from(index) | u32::from(shift) << 12) << bit,
            _ => 0,
        };
        place[..8].copy_from_slice(&number.to_ne_bytes());
        place[at..at + 4].copy_from_slice(&(kind | scaled).to_ne_bytes());
        let at = self.register();
        place[at..at + 2].copy_from_slice(&register.to_ne_bytes());
        place[at + 2] = u8::from(argument.signed);
        place[at + 3] = 64 - argument.bytes * 8;
    }

    fn read(self, place: &[u8]) -> Option<Argument> {
        let (at, bit) = self.index();
        let number = i64::from_ne_bytes(place.get(..8)?.try_into().ok()?);
        let kind = u32::from_ne_bytes(place.get(at..at + 4)?.try_into().ok()?);
        let at = self.register();
        let register = word(place, at)?;
        let lies = match kind & 0xff {
            0 => Lies::Constant(number),
            1 => Lies::Register(register),
            2 => Lies::Memory { base: register, offset: number },
            3 => {
                let (index, shift) = ((kind >> bit) & 0xfff, (kind >> bit) >> 12 & 0xf);
                let (index, shift) = (index as u16, shift as u8);
                Lies::Scaled { base: register, index, shift, offset: number }
            }
            _ => return None,
        };
        let bytes = 64_u8.checked_sub(*place.get(at + 3)?)? / 8;
        Some(Argument { lies, signed: *place.get(at + 2)? != 0, bytes })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: usize = 208;
    const WIDE: usize = 304;

    fn one(text: &str, arch: Arch) -> Option<Lies> {
        let Arguments(all) = Arguments::parse(text, arch).ok()?;
        let [one] = all[..] else { panic!("{text}: {all:?}") };
        Some(one.lies)
    }

    #[test]
    fn places_are_read_as_assemblers_write_them() {
        use Lies::*;
        for (text, wanted) in [
            ("4@$-5", Some(Constant(-5))),
            ("8@%rax", Some(Register(80))),
            ("-4@%eax", Some(Register(80))),
            ("1@%al", Some(Register(80))),
            ("1@%sil", Some(Register(104))),
            ("4@%r9d", Some(Register(64))),
            ("8@%r15", Some(Register(0))),
            ("8@%rip", Some(Register(128))),
            ("8@%rsp", Some(Register(152))),
            ("2@%bp", Some(Register(32))),
            ("-4@-1204(%rbp)", Some(Memory { base: 32, offset: -1204 })),
            ("8@(%rdi)", Some(Memory { base: 112, offset: 0 })),
            ("1@-96(%rbp,%rax,8)", Some(Scaled { base: 32, index: 80, shift: 3, offset: -96 })),
            ("1@(%rbp,%rax)", Some(Scaled { base: 32, index: 80, shift: 0, offset: 0 })),
            ("8f@8(%rsp)", Some(Memory { base: 152, offset: 8 })),
            ("8f@%xmm0", None),
            ("3@%rax", None),
            ("8@%rax,", None),
            ("8@name(%rip)", None),
            ("8@%fs:8", None),
            ("1@(%rbp,%rax,3)", None),
            ("%rax", None),
            ("8@", None),
        ] {
            assert_eq!(one(text, Arch::X86_64), wanted, "{text}");
        }
        for (text, wanted) in [
            ("-4@5", Some(Constant(5))),
            ("8@x3", Some(Register(24))),
            ("4@w30", Some(Register(240))),
            ("-4@[sp, 60]", Some(Memory { base: 248, offset: 60 })),
            ("8@[x29]", Some(Memory { base: 232, offset: 0 })),
            ("8@x31", None),
            ("8@[x0, x1]", None),
        ] {
            assert_eq!(one(text, Arch::Aarch64), wanted, "{text}");
        }
        let several = Arguments::parse(" 8@[sp, 8]  -4@x1 ", Arch::Aarch64).unwrap();
        assert_eq!(several.0.len(), 2);
        assert!(Arguments::parse("", Arch::X86_64).unwrap().is_empty());
        let many = "8@%rax ".repeat(13);
        let refused = Arguments::parse(&many, Arch::X86_64).unwrap_err();
        assert_eq!(refused, "it has 13 arguments, and programs can ask for 12");
        let refused = Arguments::parse("8@%rax 8@%zmm1", Arch::X86_64).unwrap_err();
        assert_eq!(refused, "no program can read its argument '8@%zmm1'");
    }

    /// Against the bytes that clang gives the structs of both headers.
    #[test]
    fn both_forms_are_laid_out_as_compilers_do() {
        let text = "-4@%edx 1@-96(%rbp,%rax,8)";
        let arguments = Arguments::parse(text, Arch::X86_64).unwrap();
        let narrow = arguments.bytes(NARROW).unwrap();
        assert_eq!(narrow[..16], [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 96, 0, 1, 32]);
        assert_eq!(narrow[200..202], [2, 0]);
        let wide = arguments.bytes(WIDE).unwrap();
        assert_eq!(wide[8..18], [1, 0, 0, 0, 0, 0, 96, 0, 1, 32]);
        assert_eq!(
            wide[24..42],
            [0xa0, 255, 255, 255, 255, 255, 255, 255, 3, 0, 80, 0x30, 0, 0, 32, 0, 0, 56]
        );
        assert_eq!(wide[296..298], [2, 0]);
        for bytes in [narrow, wide] {
            assert_eq!(Arguments::read(&bytes).as_ref(), Some(&arguments));
        }
        assert_eq!(arguments.bytes(200), None);
        assert_eq!(Arguments::read(&[0xff; NARROW]), None);
        assert!(Arguments::read(&[0; WIDE]).unwrap().is_empty());
    }
}
