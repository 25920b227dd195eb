//! USDT: probes that a binary's notes describe, each at one or more places, with arguments that a program finds by what
//! `usdt.bpf.h` of libbpf reads from a map of its object.

mod args;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use skep_object::usdt::{self, Note};
use skep_spec::{Arch, Target};

use self::args::Arguments;
use super::uprobe::find_file;
use super::{AttachPlan, Link, create_link, failed, link_options, perf};
use crate::error::KernelError;
use crate::maps::{MapHandle, Update};
use crate::program::Program;
use crate::sys;

/// The map by which `usdt.bpf.h` finds arguments: an array of descriptions.
pub const SPECS: &str = "__bpf_usdt_specs";
/// The map that kernels without cookies need beside it.
pub const PLACES: &str = "__bpf_usdt_ip_to_spec_id";

const GET_ATTACH_COOKIE: u32 = 174;
/// The description of a probe without arguments, which is all zeroes; so that what is zero elsewhere is free.
const NO_ARGUMENTS: u32 = 0;

/// A probe as its binary's notes have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    file: PathBuf,
    places: Vec<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Bytes into the file.
    offset: u64,
    /// Where in the file a counter lies that says whether anybody listens; 0 is none.
    semaphore: u64,
    arguments: Arguments,
}

/// A probe whose arguments programs can find: each place with the number of its description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    file: PathBuf,
    offsets: Vec<u64>,
    semaphores: Vec<u64>,
    cookies: Vec<u64>,
}

/// Whether this kernel tells a program which probe it runs at (Linux 5.15); before, its address must do, which differs from
/// process to process.
#[must_use]
pub fn has_cookies() -> bool {
    // SAFETY: takes integers and no options.
    let said = unsafe {
        libbpf_sys::libbpf_probe_bpf_helper(
            libbpf_sys::BPF_PROG_TYPE_KPROBE,
            GET_ATTACH_COOKIE,
            std::ptr::null(),
        )
    };
    said == 1
}

impl Probe {
    /// Reads the notes of the binary that a target names; none for another kind of target.
    ///
    /// # Errors
    /// There is no such binary, or it has no such probe; an argument lies where no program can read it.
    pub fn find(target: &Target) -> Result<Option<Self>, KernelError> {
        match target {
            Target::Usdt { binary, provider, name } => find(binary, provider, name).map(Some),
            _ => Ok(None),
        }
    }

    /// Writes into each of `maps` how the arguments lie at each place, the same under the same number; what is there already is
    /// used again.
    ///
    /// # Errors
    /// A map is none of `usdt.bpf.h`'s, or has no room.
    pub fn describe(self, maps: &[MapHandle]) -> Result<Described, KernelError> {
        let mut cookies = Vec::new();
        for place in &self.places {
            cookies.push(number(&place.arguments, maps)?.into());
        }
        let offsets = self.places.iter().map(|place| place.offset).collect();
        let semaphores = self.places.iter().map(|place| place.semaphore).collect();
        Ok(Described { file: self.file, offsets, semaphores, cookies })
    }
}

fn find(binary: &str, provider: &str, name: &str) -> Result<Probe, KernelError> {
    const MOST: usize = 4096; // of one uprobe.multi link the kernel takes more
    let file = find_file(binary)?;
    let thing = || format!("the probe {provider}:{name} of {}", file.display());
    let bytes = super::uprobe::read(&file)
        .map_err(|e| KernelError::new("read", file.display().to_string(), e))?;
    let notes =
        usdt::notes(&bytes).map_err(|why| KernelError::unsupported("find", thing(), why))?;
    let wanted: Vec<_> =
        notes.iter().filter(|note| (note.provider, note.name) == (provider, name)).collect();
    if wanted.is_empty() {
        return Err(none(thing(), &notes, (provider, name)));
    }
    if wanted.len() > MOST {
        let why = format!("it is at {} places, and at most {MOST} are taken", wanted.len());
        return Err(KernelError::unsupported("attach at", thing(), why));
    }
    let arch = Arch::host().ok_or_else(|| {
        KernelError::unsupported("find", thing(), "probes of this architecture are not known")
    })?;
    let place = |note: &&Note<'_>| {
        let arguments = Arguments::parse(note.arguments, arch)?;
        Ok(Place { offset: note.offset, semaphore: note.semaphore, arguments })
    };
    let places: Result<Vec<_>, String> = wanted.iter().map(place).collect();
    let places = places.map_err(|why| KernelError::unsupported("read", thing(), why))?;
    Ok(Probe { file, places })
}

fn none(thing: String, notes: &[Note<'_>], (provider, name): (&str, &str)) -> KernelError {
    let wanted = format!("{provider}:{name}");
    let all: Vec<String> = notes.iter().map(|n| format!("{}:{}", n.provider, n.name)).collect();
    let hint = match skep_spec::nearest::nearest(&wanted, all.iter().map(String::as_str)) {
        Some(near) => format!("did you mean '{near}'?"),
        None if all.is_empty() => "it has no USDT probes at all: see readelf -n".to_owned(),
        None => "its probes are listed by readelf -n".to_owned(),
    };
    let missing = io::Error::from_raw_os_error(libc::ENOENT);
    KernelError::new("find", thing, missing).with_hint(hint)
}

/// The number of a description in all of `maps`: that which it has in the first, or one that is free there.
fn number(arguments: &Arguments, maps: &[MapHandle]) -> Result<u32, KernelError> {
    let Some(first) = maps.first().filter(|_| !arguments.is_empty()) else {
        return Ok(NO_ARGUMENTS);
    };
    let value = of_map(arguments, first)?;
    let free = vec![0; value.len()];
    let mut found = None;
    for number in NO_ARGUMENTS + 1..first.info().max_entries {
        let there = first.lookup(&number.to_ne_bytes())?.unwrap_or_default();
        if there == value || there == free {
            found = Some(number);
            break;
        }
    }
    let number = found.ok_or_else(|| no_room(first))?;
    for map in maps {
        if number >= map.info().max_entries {
            return Err(no_room(map));
        }
        map.update(&number.to_ne_bytes(), &of_map(arguments, map)?, Update::Any)?;
    }
    Ok(number)
}

fn of_map(arguments: &Arguments, map: &MapHandle) -> Result<Vec<u8>, KernelError> {
    let info = map.info();
    arguments.bytes(info.value_size as usize).filter(|_| info.key_size == 4).ok_or_else(|| {
        let why = format!("its values of {} bytes are of no known usdt.bpf.h", info.value_size);
        KernelError::unsupported("describe arguments in the map", map.name(), why)
    })
}

fn no_room(map: &MapHandle) -> KernelError {
    let why = format!(
        "its {} entries hold the arguments of other probes: give it more by BPF_USDT_MAX_SPEC_CNT or max_entries of [map.{SPECS}]",
        map.info().max_entries
    );
    KernelError::unsupported("describe arguments in the map", map.name(), why)
}

/// What the maps of one generation say of probes that are attached, for those of another one, which may be of another
/// `usdt.bpf.h`.
///
/// # Errors
/// As [`Probe::describe`].
pub fn carry_over(from: &MapHandle, to: &MapHandle) -> Result<(), KernelError> {
    let mut there = BTreeMap::new();
    for number in NO_ARGUMENTS + 1..from.info().max_entries {
        let value = from.lookup(&number.to_ne_bytes())?.unwrap_or_default();
        if let Some(arguments) = Arguments::read(&value).filter(|found| !found.is_empty()) {
            there.insert(number, arguments);
        }
    }
    for (number, arguments) in there {
        if number >= to.info().max_entries {
            return Err(no_room(to));
        }
        to.update(&number.to_ne_bytes(), &of_map(&arguments, to)?, Update::Any)?;
    }
    Ok(())
}

/// Refuses a program that looks for its probe's arguments on a kernel that does not tell it which probe that is.
///
/// # Errors
/// It looks for them there; the kernel does not say which maps it uses.
pub fn check_told(program: &Program, target: &Target) -> Result<(), KernelError> {
    const NAME_BYTES: usize = 15; // of a map, in the kernel
    if !matches!(target, Target::Usdt { .. }) || has_cookies() {
        return Ok(());
    }
    for id in program.info()?.map_ids {
        if MapHandle::by_id(id)?.name() == &SPECS[..NAME_BYTES] {
            return Err(KernelError::unsupported(
                "attach at",
                target.to_string(),
                "this kernel does not tell a program which probe it runs at, and it looks for the probe's arguments (Linux 5.15)",
            ));
        }
    }
    Ok(())
}

/// At all places by one link where the program was loaded for that (Linux 6.6), else by one each.
pub(super) fn attach(program: &Program, plan: &AttachPlan) -> Result<Link, KernelError> {
    let Some(probe) = &plan.usdt else {
        let nowhere = io::Error::from_raw_os_error(libc::EINVAL);
        return Err(failed(program, plan, nowhere)
            .with_hint("name a binary and a probe: usdt//path:provider:name"));
    };
    if program.kind().expected_attach_type == libbpf_sys::BPF_TRACE_UPROBE_MULTI {
        return at_once(program, probe, plan);
    }
    // Without them no program is here that asks, as [`check_told`] has seen.
    let is_told = has_cookies();
    let places = probe.offsets.iter().zip(&probe.semaphores).zip(&probe.cookies);
    let links = places.map(|((offset, semaphore), cookie)| {
        let plan = AttachPlan { cookie: if is_told { *cookie } else { 0 }, ..plan.clone() };
        let place = perf::UserPlace { offset: *offset, semaphore: *semaphore, ret: false };
        perf::uprobe_at(program, &probe.file, place, &plan)
    });
    links.collect::<Result<Vec<_>, _>>().map(Link::several)
}

fn at_once(program: &Program, probe: &Described, plan: &AttachPlan) -> Result<Link, KernelError> {
    let refuse = |e| failed(program, plan, e);
    let path = sys::cpath(&probe.file).map_err(refuse)?;
    let mut opts = link_options();
    opts.__bindgen_anon_1.uprobe_multi =
        libbpf_sys::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_3 {
            cnt: probe.offsets.len() as u32,
            path: path.as_ptr(),
            offsets: probe.offsets.as_ptr().cast(),
            ref_ctr_offsets: probe.semaphores.as_ptr().cast(),
            cookies: probe.cookies.as_ptr(),
            pid: plan.pid.unwrap_or(0),
            ..Default::default()
        };
    let fd = create_link(program, 0, program.kind().expected_attach_type, &opts);
    Ok(Link::from_fd(fd.map_err(refuse)?))
}

/// The file of a binary of that path, for who asks only whether it is there.
pub(super) fn is_there(binary: &str, provider: &str, name: &str) -> Result<(), KernelError> {
    find(binary, provider, name).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::{MapSpec, kind};

    const NARROW: u32 = 208;
    const WIDE: u32 = 304;

    fn map(value_size: u32, max_entries: u32) -> MapHandle {
        MapHandle::create(&MapSpec {
            name: "specs".into(),
            kind: kind::ARRAY,
            key_size: 4,
            value_size,
            max_entries,
            flags: 0,
        })
        .unwrap()
    }

    fn described(arguments: &[&str], maps: &[MapHandle]) -> Result<Vec<u64>, KernelError> {
        let place = |text: &&str| Place {
            offset: 0,
            semaphore: 0,
            arguments: Arguments::parse(text, Arch::X86_64).unwrap(),
        };
        let places = arguments.iter().map(place).collect();
        Probe { file: PathBuf::new(), places }.describe(maps).map(|described| described.cookies)
    }

    #[test]
    fn the_same_arguments_have_one_number_in_all_maps() {
        let maps = [map(NARROW, 4), map(WIDE, 8)];
        assert_eq!(described(&["8@%rax", "", "4@$1", "8@%rax"], &maps).unwrap(), [1, 0, 2, 1]);
        assert_eq!(described(&["4@$1"], &maps).unwrap(), [2]);
        let read = |map: &MapHandle, number: u32| {
            Arguments::read(&map.lookup(&number.to_ne_bytes()).unwrap().unwrap()).unwrap()
        };
        assert_eq!(read(&maps[0], 2), read(&maps[1], 2));
        let later = map(WIDE, 3);
        carry_over(&maps[0], &later).unwrap();
        assert_eq!(read(&later, 1), read(&maps[0], 1));
        assert_eq!(described(&["8@%rbx"], &maps).unwrap(), [3]);
        let full = described(&["8@%rcx"], &maps).unwrap_err();
        assert!(std::error::Error::source(&full).unwrap().to_string().starts_with("its 4 entries"));
        assert!(carry_over(&maps[0], &later).is_err(), "it has room for 1 and 2");
        assert!(described(&["8@%rbx"], &[map(100, 4)]).is_err());
        assert_eq!(described(&["8@%rbx"], &[]).unwrap(), [0]);
    }

    #[test]
    fn what_a_binary_lacks_is_said() {
        let own = std::env::current_exe().unwrap();
        let error = find(&own.display().to_string(), "no", "probe").unwrap_err();
        assert!(error.is_not_found(), "{error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("readelf -n")), "{error:?}");
    }
}
