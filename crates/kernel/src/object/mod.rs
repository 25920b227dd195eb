//! An object on its way into the kernel: bytes → [`Opened`] → [`Loaded`].
//!
//! Programs are named by their ELF symbol, maps by their symbol or their section (`.rodata`), never by the
//! 15 bytes that the kernel keeps.

mod instructions;
mod log;
mod lost;
mod open;
pub mod version;
mod words;

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::ptr::NonNull;

pub use log::LoadError;
pub use lost::Counted;
pub use open::{OpenMap, OpenProgram};

use crate::attach::Link;
use crate::error::KernelError;
use crate::maps::MapHandle;
use crate::print::capture;
use crate::program::{LoadKind, Program};
use crate::sched::Unpreempted;
use crate::sys;

/// How to open an object.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// BTF of the kernel, for kernels that carry none; raw or in an ELF file.
    pub btf_path: Option<PathBuf>,
    /// What the object is told when it asks for the kernel's version ([`version::code`]), in place of what the kernel says.
    pub version: Option<u32>,
}

/// The libbpf object, closed when dropped.
#[derive(Debug)]
struct Raw(NonNull<libbpf_sys::bpf_object>);

// SAFETY: libbpf keeps no thread-bound state in a bpf_object, and `Raw` is its only owner.
unsafe impl Send for Raw {}

impl Raw {
    fn ptr(&self) -> *mut libbpf_sys::bpf_object {
        self.0.as_ptr()
    }

    fn programs(&self) -> Vec<*mut libbpf_sys::bpf_program> {
        let mut found = Vec::new();
        let mut at = std::ptr::null_mut();
        loop {
            // SAFETY: the object is open and `at` is null or a program of it.
            at = unsafe { libbpf_sys::bpf_object__next_program(self.ptr(), at) };
            if at.is_null() {
                return found;
            }
            found.push(at);
        }
    }

    fn maps(&self) -> Vec<*mut libbpf_sys::bpf_map> {
        let mut found = Vec::new();
        let mut at = std::ptr::null_mut();
        loop {
            // SAFETY: the object is open and `at` is null or a map of it.
            at = unsafe { libbpf_sys::bpf_object__next_map(self.ptr(), at) };
            if at.is_null() {
                return found;
            }
            found.push(at);
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: opened by libbpf, owned by us, closed once.
        unsafe { libbpf_sys::bpf_object__close(self.ptr()) };
    }
}

/// What can be done to the instructions of programs that a kernel refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// What they print for people (`bpf_trace_vprintk`, Linux 5.16) is left out.
    PrintNothing,
    /// Arguments of their hooks that they keep on the stack are read from the hook again ([`skep_adapt::reread`]).
    RereadArguments,
}

/// An object whose maps and programs can still be changed.
#[derive(Debug)]
pub struct Opened {
    raw: Raw,
    log_buffer: log::Buffer,
    counters: Option<MapHandle>,
    edits: Vec<Edit>,
    retargeted: open::Retargeted,
    /// Programs that others of the object extend: libbpf keeps no fd of them.
    extended: Vec<Program>,
}

/// An object in the kernel. Programs and maps are handles of their own: they outlive this value.
#[derive(Debug)]
pub struct Loaded {
    sections: Sections,
    programs: BTreeMap<String, Program>,
    maps: BTreeMap<String, MapHandle>,
    counted: Counted,
}

/// Opens the ELF object in `bytes`; `name` (letters, digits, `_`) becomes the prefix of its data maps' names.
///
/// # Errors
/// It is no BPF object that libbpf knows: the error carries what libbpf said.
pub fn open(bytes: &[u8], name: &str, options: &OpenOptions) -> Result<Opened, LoadError> {
    open::open(bytes, name, options)
}

impl Opened {
    /// Creates the maps and loads the programs.
    ///
    /// # Errors
    /// What the verifier, libbpf or the kernel refused, summarised; nothing stays in the kernel.
    pub fn load(mut self) -> Result<Loaded, LoadError> {
        let (done, said) = capture(|| self.prepare_and_load());
        match done {
            Ok(counted) => self.into_loaded(counted).map_err(|e| LoadError::of_kernel(&e)),
            Err(errno) => Err(LoadError::new(errno, &said, self.log_buffer.text())),
        }
    }

    fn prepare_and_load(&mut self) -> Result<Counted, i32> {
        let mut counted = Counted::default();
        {
            let _stretch = Unpreempted::begin(); // maps get their first values
            // SAFETY: the object is open and not yet prepared.
            let prepared = sys::check(unsafe { libbpf_sys::bpf_object__prepare(self.raw.ptr()) });
            prepared.map_err(|e| e.raw_os_error().unwrap_or(0))?;
        }
        for edit in &self.edits {
            instructions::edit_all(&self.raw, *edit)?;
        }
        if let Some(counters) = &self.counters {
            counted = lost::inject_all(&self.raw, counters)?;
        }
        // SAFETY: the object is open and not yet loaded.
        sys::check(unsafe { libbpf_sys::bpf_object__load(self.raw.ptr()) })
            .map_err(|e| e.raw_os_error().unwrap_or(0))?;
        Ok(counted)
    }

    fn into_loaded(self, counted: Counted) -> Result<Loaded, KernelError> {
        let mut programs = BTreeMap::new();
        for program in self.raw.programs() {
            // SAFETY: a program of a loaded object; -1 if it was not loaded.
            let fd = unsafe { libbpf_sys::bpf_program__fd(program) };
            if fd < 0 {
                continue;
            }
            let name = program_name(program);
            let fd = copy_fd(fd)
                .map_err(|e| KernelError::new("copy the fd of the program", name.as_str(), e))?;
            let mut kind = kind_of(program);
            if let Some(to) = self.retargeted.get(&name) {
                kind.attach_to = Some(to.clone());
            }
            programs.insert(name.clone(), Program::new(name, kind, fd));
        }
        let mut maps = BTreeMap::new();
        for map in self.raw.maps() {
            // SAFETY: a map of a loaded object; -1 if it was not created.
            let fd = unsafe { libbpf_sys::bpf_map__fd(map) };
            if fd < 0 {
                continue;
            }
            let name = map_name(map);
            let fd = copy_fd(fd)
                .map_err(|e| KernelError::new("copy the fd of the map", name.as_str(), e))?;
            maps.insert(name, MapHandle::from_fd(fd)?);
        }
        Ok(Loaded { sections: Sections(self.raw), programs, maps, counted })
    }
}

impl Loaded {
    /// The program with ELF symbol `name`.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<&Program> {
        self.programs.get(name)
    }

    /// The map with symbol or section `name`.
    #[must_use]
    pub fn map(&self, name: &str) -> Option<&MapHandle> {
        self.maps.get(name)
    }

    /// All programs that were loaded, by name.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        self.programs.values()
    }

    /// All maps that were created, by symbol or section name.
    pub fn maps(&self) -> impl Iterator<Item = (&str, &MapHandle)> {
        self.maps.iter().map(|(name, map)| (name.as_str(), map))
    }

    /// What [`Opened::count_lost`] came to: which program counts in which word, and which does not count.
    #[must_use]
    pub fn counted(&self) -> &Counted {
        &self.counted
    }

    /// Its programs, its maps, and what attaches by section; that last part holds the rest of the object.
    #[must_use]
    pub fn into_parts(self) -> (BTreeMap<String, Program>, BTreeMap<String, MapHandle>, Sections) {
        (self.programs, self.maps, self.sections)
    }

    /// As [`Sections::attach_interface`].
    ///
    /// # Errors
    /// There is no such map, or the kernel refuses it.
    pub fn attach_interface(&self, map: &str) -> Result<Link, KernelError> {
        self.sections.attach_interface(map)
    }

    /// As [`Sections::attach`].
    ///
    /// # Errors
    /// There is no such program, or libbpf can't attach it by itself.
    pub fn attach_by_section(&self, name: &str) -> Result<Link, KernelError> {
        self.sections.attach(name)
    }
}

/// What libbpf knows of a loaded object.
#[derive(Debug)]
pub struct Sections(Raw);

impl Sections {
    /// Attaches program `name` by the rules that libbpf has for its section: for kinds that
    /// [`crate::attach::attach`] does not know.
    ///
    /// # Errors
    /// There is no such program, or libbpf can't attach it by itself.
    pub fn attach(&self, name: &str) -> Result<Link, KernelError> {
        let failed = |e| KernelError::new("attach the program", name, e);
        let program = self.0.programs().into_iter().find(|p| program_name(*p) == name);
        let program =
            program.ok_or_else(|| failed(std::io::Error::from_raw_os_error(libc::ENOENT)))?;
        // SAFETY: a program of a loaded object.
        let (link, said) = capture(|| unsafe { libbpf_sys::bpf_program__attach(program) });
        Link::from_libbpf(link).map_err(|e| match (said.last_line(), e.raw_os_error()) {
            (Some(line), _) => {
                failed(e).with_hint(format!("libbpf says: {}", words::spelled_out(line)))
            }
            (None, Some(libc::EOPNOTSUPP)) => failed(e).with_hint(format!(
                "programs of the section '{}' attach to what their own loader chooses, such as a socket or a map: skep has nothing to attach it to",
                section_name(program)
            )),
            (None, _) => failed(e),
        })
    }
}

impl Sections {
    /// Registers the functions of a map of `.struct_ops.link` with the kernel.
    ///
    /// # Errors
    /// There is no such map; it is one of `.struct_ops`, which has no link; the interface is taken (EEXIST, EBUSY).
    pub fn attach_interface(&self, map: &str) -> Result<Link, KernelError> {
        let failed = |e| KernelError::new("register the functions of", map, e);
        let found = self.0.maps().into_iter().find(|one| map_name(*one) == map);
        let found = found.ok_or_else(|| failed(std::io::Error::from_raw_os_error(libc::ENOENT)))?;
        // SAFETY: a map of a loaded object.
        if unsafe { libbpf_sys::bpf_map__map_flags(found) } & libbpf_sys::BPF_F_LINK == 0 {
            let why =
                "it stands in .struct_ops, and only one in .struct_ops.link has a link (Linux 6.4)";
            return Err(KernelError::unsupported("register the functions of", map, why));
        }
        // SAFETY: a map of a loaded object.
        let (link, said) = capture(|| unsafe { libbpf_sys::bpf_map__attach_struct_ops(found) });
        Link::from_libbpf(link).map_err(|e| match said.last_line() {
            Some(line) => failed(e).with_hint(format!("libbpf says: {}", words::spelled_out(line))),
            None => failed(e),
        })
    }

    /// Gives a map of `.struct_ops.link` its functions, so that it can take the place of another one at a link. libbpf does so
    /// on its way to a link, which the kernel refuses while the other is there.
    ///
    /// # Errors
    /// As [`Self::attach_interface`], but for an interface that is taken.
    pub fn fill_interface(&self, map: &str) -> Result<(), KernelError> {
        match self.attach_interface(map) {
            Err(error) if !matches!(error.errno(), Some(libc::EEXIST | libc::EBUSY)) => Err(error),
            _ => Ok(()),
        }
    }
}

/// A copy of an fd that libbpf owns.
fn copy_fd(fd: i32) -> std::io::Result<OwnedFd> {
    // SAFETY: libbpf keeps `fd` open while the object is.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}

fn program_name(program: *const libbpf_sys::bpf_program) -> String {
    // SAFETY: a program of an open object; its name is NUL-terminated and lives as long.
    unsafe { CStr::from_ptr(libbpf_sys::bpf_program__name(program)) }.to_string_lossy().into_owned()
}

fn section_name(program: *const libbpf_sys::bpf_program) -> String {
    // SAFETY: as for the name.
    unsafe { CStr::from_ptr(libbpf_sys::bpf_program__section_name(program)) }
        .to_string_lossy()
        .into_owned()
}

/// The symbol, or for data sections the section: libbpf calls `.rodata` "object.rodata".
fn map_name(map: *const libbpf_sys::bpf_map) -> String {
    // SAFETY: a map of an open object; its name is NUL-terminated and lives as long.
    let name = unsafe { CStr::from_ptr(libbpf_sys::bpf_map__name(map)) }.to_string_lossy();
    // SAFETY: a map of an open object.
    let internal = unsafe { libbpf_sys::bpf_map__is_internal(map) };
    match name.find('.') {
        Some(dot) if internal => name[dot..].to_owned(),
        _ => name.into_owned(),
    }
}

fn kind_of(program: *const libbpf_sys::bpf_program) -> LoadKind {
    let section = section_name(program);
    let (kind, rest) = section.split_once('/').unwrap_or((&section, ""));
    // SAFETY: a program of an open object.
    let (prog_type, expected_attach_type) = unsafe {
        (
            libbpf_sys::bpf_program__type(program),
            libbpf_sys::bpf_program__expected_attach_type(program),
        )
    };
    LoadKind {
        prog_type,
        expected_attach_type,
        attach_to: (!rest.is_empty()).then(|| rest.to_owned()),
        sleepable: kind.ends_with(".s"),
        xdp_frags: kind == "xdp.frags",
    }
}
