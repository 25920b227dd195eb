//! Fields that kernels call otherwise than objects do: CO-RE is given the kernel's BTF with the old names beside the new ones.
//!
//! An object says what it reads by name. Where a kernel has the very same under another name, a member with the old one, at its
//! place, is all that CO-RE needs: neither the program nor the kernel is changed.

use std::collections::BTreeMap;

use skep_object::{CoreKind, Facts};

use crate::raw_btf::{Raw, whole, word};

/// What a field is called now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    /// Another field of the same type.
    Field(&'static str),
    /// Another field, of another type: that it is there is all that can be said.
    Instead(&'static str),
    /// The bit of another field that has the number of this enumerator.
    Bit(&'static str, &'static str),
}

/// A field that was renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Renamed {
    owner: &'static str,
    old: &'static str,
    now: Now,
}

const fn bit(old: &'static str, enumerator: &'static str) -> Renamed {
    Renamed { owner: "inet_sock", old, now: Now::Bit("inet_flags", enumerator) }
}

const fn mount_ids(new: &'static str) -> Renamed {
    Renamed { owner: "renamedata", old: "old_mnt_userns", now: Now::Instead(new) }
}

/// The fields: from Linux 6.6 on, bits of `inet_sock` in one word (include/net/inet_sock.h); 6.15, the queues' own counts
/// (kernel/sched/sched.h); 6.3, and once more later, what maps the ids of a mount (include/linux/fs.h): by it objects tell whether
/// functions of the VFS have it as their first parameter.
const TABLE: [Renamed; 10] = [
    bit("recverr", "INET_FLAGS_RECVERR"),
    bit("freebind", "INET_FLAGS_FREEBIND"),
    bit("hdrincl", "INET_FLAGS_HDRINCL"),
    bit("mc_loop", "INET_FLAGS_MC_LOOP"),
    bit("mc_all", "INET_FLAGS_MC_ALL"),
    bit("transparent", "INET_FLAGS_TRANSPARENT"),
    bit("bind_address_no_port", "INET_FLAGS_BIND_ADDRESS_NO_PORT"),
    Renamed { owner: "cfs_rq", old: "nr_running", now: Now::Field("nr_queued") },
    mount_ids("old_mnt_idmap"),
    mount_ids("mnt_idmap"),
];

/// Fields that an object asks for and that were renamed (`inet_sock.freebind`), each with whether it asks for more than that the
/// field is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked<'a>(BTreeMap<&'a str, bool>);

impl<'a> Asked<'a> {
    /// What an object asks for.
    #[must_use]
    pub fn by(object: &'a Facts) -> Self {
        Self::of(object.core_relocations.iter().map(|one| (one.path.as_str(), one.kind)))
    }

    /// Of an object's CO-RE relocations, those by fields of the table.
    pub fn of(relocations: impl Iterator<Item = (&'a str, CoreKind)>) -> Self {
        let mut asked = BTreeMap::new();
        let is_old = |path: &str| TABLE.iter().any(|one| one.is_called(path));
        for (path, kind) in relocations.filter(|(path, _)| is_old(path)) {
            *asked.entry(path).or_default() |= kind != CoreKind::FieldExists;
        }
        Self(asked)
    }

    /// Whether it asks for none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn is_answered_by(&self, one: &Renamed) -> bool {
        let asked = self.0.iter().find(|(path, _)| one.is_called(path));
        asked.is_some_and(|(_, is_read)| !is_read || !matches!(one.now, Now::Instead(_)))
    }
}

/// The kernel's BTF with the old names of those fields that it has by another, of those that are asked for; none if there are
/// none. Also gives what was added, a phrase each.
#[must_use]
pub fn with_old_names(btf: &[u8], asked: &Asked<'_>) -> Option<(Vec<u8>, Vec<String>)> {
    let wanted: Vec<&Renamed> = TABLE.iter().filter(|one| asked.is_answered_by(one)).collect();
    if wanted.is_empty() {
        return None;
    }
    let raw = Raw::read(btf)?;
    let mut added: Vec<(usize, Member, &Renamed)> = Vec::new();
    for one in wanted {
        let Some((at, member)) = raw.member(one) else { continue };
        added.push((at, member, one));
    }
    let told = added.iter().map(|(_, _, one)| one.told()).collect::<Vec<_>>();
    (!added.is_empty()).then(|| (raw.with(added), told))
}

impl Renamed {
    fn is_called(&self, path: &str) -> bool {
        path.split_once('.') == Some((self.owner, self.old))
    }

    fn told(&self) -> String {
        let Self { owner, old, now } = self;
        match now {
            Now::Field(new) => format!("{owner}.{old} is read as {owner}.{new}"),
            Now::Instead(new) => format!("{owner}.{old} is there as {owner}.{new}"),
            Now::Bit(word, bit) => {
                format!("{owner}.{old} is read as the bit {bit} of {owner}.{word}")
            }
        }
    }
}

/// A member that is added.
#[derive(Clone, Copy)]
struct Member {
    ty: u32,
    /// As a struct with bit fields has it: bits in the upper byte.
    offset: u32,
}

const STRUCT: u32 = 4;
const BIT_FIELDS: u32 = 1 << 31;

impl Raw<'_> {
    /// The member to add, and the struct that it is added to, if the kernel has the field by its new name alone.
    fn member(&self, one: &Renamed) -> Option<(usize, Member)> {
        let is_owner = |(_, name, info, _): &(usize, u32, u32, &[u8])| {
            info >> 24 & 0x1f == STRUCT && self.is_named(*name, one.owner)
        };
        let (at, _, info, members) = self.all().find(is_owner)?;
        let find = |wanted: &str| {
            let mut members = members.chunks_exact(12);
            members.find(|member| word(member, 0).is_some_and(|name| self.is_named(name, wanted)))
        };
        if find(one.old).is_some() {
            return None;
        }
        let (new, number) = match one.now {
            Now::Field(new) | Now::Instead(new) => (new, None),
            Now::Bit(new, enumerator) => (new, Some(self.enumerator(enumerator)?)),
        };
        let member = find(new)?;
        let (ty, offset) = (word(member, 4)?, word(member, 8)?);
        let place = if info & BIT_FIELDS == 0 { offset } else { offset & 0x00ff_ffff };
        let offset = match number {
            None => offset,
            Some(number) => (place + number) | (1 << 24),
        };
        Some((at, Member { ty, offset }))
    }

    fn enumerator(&self, wanted: &str) -> Option<u32> {
        let enums = self.all().filter(|(_, _, info, _)| info >> 24 & 0x1f == 6);
        let mut all = enums.flat_map(|(_, _, _, rest)| rest.chunks_exact(8));
        let found = all.find(|one| word(one, 0).is_some_and(|name| self.is_named(name, wanted)))?;
        word(found, 4)
    }

    /// The whole with these members.
    fn with(&self, mut added: Vec<(usize, Member, &Renamed)>) -> Vec<u8> {
        added.sort_by_key(|(at, ..)| *at);
        let (mut types, mut strings, mut done) = (Vec::new(), self.strings.to_vec(), 0);
        let mut next = added.into_iter().peekable();
        for (at, _, info, rest) in self.all() {
            let mut here = Vec::new();
            while let Some((_, member, one)) = next.next_if(|(own, ..)| *own == at) {
                let name = strings.len() as u32;
                strings.extend_from_slice(one.old.as_bytes());
                strings.push(0);
                here.push([name, member.ty, member.offset]);
            }
            if here.is_empty() {
                continue;
            }
            let end = at + 12 + rest.len();
            types.extend_from_slice(&self.types[done..at + 4]);
            let has_bits = here.iter().any(|[_, _, offset]| offset >> 24 != 0);
            let bits = if has_bits { BIT_FIELDS } else { 0 };
            let info = (info + here.len() as u32) | bits;
            types.extend_from_slice(&info.to_le_bytes());
            types.extend_from_slice(&self.types[at + 8..end]);
            here.iter().flatten().for_each(|word| types.extend_from_slice(&word.to_le_bytes()));
            done = end;
        }
        types.extend_from_slice(&self.types[done..]);
        whole(&types, &strings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The BTF of a C text, as clang has it.
    fn btf(source: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let (c, object, out) =
            (folder.path().join("t.c"), folder.path().join("t.o"), folder.path().join("t.btf"));
        std::fs::write(&c, source).unwrap();
        let run = |program: &str, words: &[&std::ffi::OsStr]| {
            assert!(std::process::Command::new(program).args(words).status().unwrap().success());
        };
        let o = std::ffi::OsStr::new;
        run(
            "clang",
            &[
                o("-target"),
                o("bpf"),
                o("-g"),
                o("-O2"),
                o("-c"),
                c.as_os_str(),
                o("-o"),
                object.as_os_str(),
            ],
        );
        let mut dump = std::ffi::OsString::from("--dump-section=.BTF=");
        dump.push(&out);
        run("llvm-objcopy", &[&dump, object.as_os_str(), o("/dev/null")]);
        std::fs::read(out).unwrap()
    }

    const KERNEL: &str = "enum { INET_FLAGS_RECVERR = 9, INET_FLAGS_FREEBIND = 11 } first;\n\
        struct sock { int a; }; struct inet_sock { struct sock sk; unsigned long inet_flags; } second;\n\
        struct cfs_rq { int load; unsigned nr_queued; } third;\n";

    fn asked<'a>(paths: &[&'a str]) -> Asked<'a> {
        Asked::of(paths.iter().map(|path| (*path, CoreKind::FieldByteOffset)))
    }

    #[test]
    fn a_field_is_found_by_its_old_name() {
        let kernel = btf(KERNEL);
        let paths =
            asked(&["inet_sock.freebind", "inet_sock.recverr", "cfs_rq.nr_running", "sock.a"]);
        let (patched, told) = with_old_names(&kernel, &paths).unwrap();
        assert_eq!(told.len(), 3, "{told:?}");
        let btf = skep_object::Btf::parse(&patched).unwrap();
        for (owner, field, bits) in [
            ("inet_sock", "freebind", 75),
            ("inet_sock", "recverr", 73),
            ("inet_sock", "inet_flags", 64),
            ("cfs_rq", "nr_running", 32),
        ] {
            let owner = btf.type_by_name(owner).unwrap();
            let members = &btf.composite(owner).unwrap().members;
            let found = members.iter().find(|member| btf.name(*member) == field);
            let found = found.unwrap_or_else(|| panic!("no {field}"));
            assert_eq!(found.bit_offset, bits, "{field}");
        }
    }

    #[test]
    fn a_field_of_another_type_is_there_and_is_not_read() {
        let kernel = btf("struct renamedata { void *old_mnt_idmap; } own;");
        let path = "renamedata.old_mnt_userns";
        let there = Asked::of([(path, CoreKind::FieldExists)].into_iter());
        let (_, told) = with_old_names(&kernel, &there).unwrap();
        assert_eq!(told, ["renamedata.old_mnt_userns is there as renamedata.old_mnt_idmap"]);
        let kinds = [CoreKind::FieldExists, CoreKind::FieldByteOffset];
        let read = Asked::of(kinds.into_iter().map(|kind| (path, kind)));
        assert!(with_old_names(&kernel, &read).is_none());
    }

    #[test]
    fn what_is_there_or_nobody_asks_for_stays() {
        let kernel = btf(KERNEL);
        assert!(with_old_names(&kernel, &asked(&["inet_sock.inet_flags", "sock.a"])).is_none());
        let own = btf("struct cfs_rq { unsigned nr_running, nr_queued; } third;");
        assert!(with_old_names(&own, &asked(&["cfs_rq.nr_running"])).is_none());
        assert!(with_old_names(&[], &asked(&["cfs_rq.nr_running"])).is_none());
        assert!(with_old_names(&kernel[..60], &asked(&["cfs_rq.nr_running"])).is_none());
    }
}
