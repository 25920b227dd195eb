//! Opening, and what can be changed before loading.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use skep_adapt::older;
use skep_spec::{Site, Target};

use super::{
    Edit, LoadError, OpenOptions, Opened, Raw, log, map_name, program_name, section_name, version,
};
use crate::error::KernelError;
use crate::maps::{MapHandle, kind};
use crate::print::{Said, capture};
use crate::program::Program;
use crate::sys;

/// A program of an object that is not loaded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenProgram {
    /// ELF symbol.
    pub name: String,
    /// ELF section, which libbpf reads the kind and target from.
    pub section: String,
    /// `BPF_PROG_TYPE_*`; 0 if libbpf does not know the section.
    pub prog_type: u32,
    /// Whether it will be loaded.
    pub autoload: bool,
}

/// A map of an object that is not loaded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenMap {
    /// Symbol, or section for data maps (`.rodata`).
    pub name: String,
    /// One of [`crate::maps::kind`].
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries, or bytes for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Whether it holds a data section.
    pub internal: bool,
}

/// Frames of a stack (PERF_MAX_STACK_DEPTH, include/uapi/linux/perf_event.h).
const STACK_DEPTH: u32 = 127;

pub(super) fn open(bytes: &[u8], name: &str, options: &OpenOptions) -> Result<Opened, LoadError> {
    let refuse = |e: io::Error| LoadError::new(e.raw_os_error().unwrap_or(0), &Said::none(), "");
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let name = CString::new(name).unwrap_or_default();
    let btf = options.btf_path.as_deref().map(sys::cpath).transpose().map_err(refuse)?;
    let log_buffer = log::Buffer::new().map_err(refuse)?;
    let redefined = older::by_types(bytes);
    let bytes = redefined.as_deref().unwrap_or(bytes);
    let told = options.version.map(|version| version::told(bytes, version));
    let (bytes, config) = match &told {
        Some((bytes, config)) => (&**bytes, config.as_ptr()),
        None => (bytes, std::ptr::null()),
    };
    let opts = libbpf_sys::bpf_object_open_opts {
        sz: sys::size::<libbpf_sys::bpf_object_open_opts>(),
        object_name: name.as_ptr(),
        btf_custom_path: btf.as_ref().map_or(std::ptr::null(), |path| path.as_ptr()),
        kernel_log_buf: log_buffer.start(),
        kernel_log_size: log_buffer.len(),
        kconfig: config,
        ..Default::default()
    };
    let (object, said) = capture(|| {
        // SAFETY: bytes and options outlive the call; libbpf keeps copies of what it needs, but for the
        // log buffer, which `Opened` keeps as long as the object can be loaded.
        let object = unsafe {
            libbpf_sys::bpf_object__open_mem(
                bytes.as_ptr().cast(),
                bytes.len() as libbpf_sys::size_t,
                &raw const opts,
            )
        };
        NonNull::new(object).ok_or_else(io::Error::last_os_error)
    });
    let failed = |e: io::Error| LoadError::new(e.raw_os_error().unwrap_or(0), &said, "");
    let raw = Raw(object.map_err(failed)?);
    for map in raw.maps() {
        size_buffer(map).map_err(failed)?;
        take_no_pin(map).map_err(failed)?;
    }
    Ok(Opened {
        raw,
        log_buffer,
        counters: None,
        edits: Vec::new(),
        retargeted: Retargeted::new(),
        extended: Vec::new(),
    })
}

/// Gives a buffer the sizes of keys and values that the kernel wants: where the object declares types (Aya does, for the
/// ring's records), they are no sizes of what the map holds. Stacks of open size get the kernel's own depth.
fn size_buffer(map: *mut libbpf_sys::bpf_map) -> io::Result<()> {
    // SAFETY: a map of an open object.
    let (kind, value) =
        unsafe { (libbpf_sys::bpf_map__type(map), libbpf_sys::bpf_map__value_size(map)) };
    let word = size_of::<u32>() as u32;
    let (key, value) = match kind {
        kind::RINGBUF | kind::USER_RINGBUF => (0, 0),
        kind::PERF_EVENT_ARRAY => (word, word),
        kind::STACK_TRACE if value == 0 => (word, STACK_DEPTH * size_of::<u64>() as u32),
        _ => return Ok(()),
    };
    // SAFETY: a map of an object that is not loaded yet.
    unsafe {
        sys::check(libbpf_sys::bpf_map__set_key_size(map, key))?;
        sys::check(libbpf_sys::bpf_map__set_value_size(map, value)).map(drop)
    }
}

/// A map that asks for a pin (`LIBBPF_PIN_BY_NAME`) would be one that whoever else has pinned under that name, and would stay
/// when all else goes. Where maps are pinned is for the caller to say.
fn take_no_pin(map: *mut libbpf_sys::bpf_map) -> io::Result<()> {
    // SAFETY: a map of an object that is not loaded yet; without a path libbpf pins and opens none.
    sys::check(unsafe { libbpf_sys::bpf_map__set_pin_path(map, std::ptr::null()) }).map(drop)
}

impl Opened {
    /// Its programs, in the order of the file.
    #[must_use]
    pub fn programs(&self) -> Vec<OpenProgram> {
        let describe = |p: *mut libbpf_sys::bpf_program| OpenProgram {
            name: program_name(p),
            section: section_name(p),
            // SAFETY: a program of an open object.
            prog_type: unsafe { libbpf_sys::bpf_program__type(p) },
            // SAFETY: a program of an open object.
            autoload: unsafe { libbpf_sys::bpf_program__autoload(p) },
        };
        self.raw.programs().into_iter().map(describe).collect()
    }

    /// Its maps, data sections included.
    #[must_use]
    pub fn maps(&self) -> Vec<OpenMap> {
        // SAFETY: maps of an open object.
        let describe = |m: *mut libbpf_sys::bpf_map| unsafe {
            OpenMap {
                name: map_name(m),
                kind: libbpf_sys::bpf_map__type(m),
                key_size: libbpf_sys::bpf_map__key_size(m),
                value_size: libbpf_sys::bpf_map__value_size(m),
                max_entries: libbpf_sys::bpf_map__max_entries(m),
                flags: libbpf_sys::bpf_map__map_flags(m),
                internal: libbpf_sys::bpf_map__is_internal(m),
            }
        };
        self.raw.maps().into_iter().map(describe).collect()
    }

    /// Whether program `name` is loaded with the object.
    ///
    /// # Errors
    /// There is no such program.
    pub fn set_autoload(&mut self, name: &str, load: bool) -> Result<(), KernelError> {
        let program = self.find_program(name)?;
        // SAFETY: a program of an object that is not loaded yet.
        sys::check(unsafe { libbpf_sys::bpf_program__set_autoload(program, load) })
            .map(drop)
            .map_err(|e| KernelError::new("choose the program", name, e))
    }

    /// Gives program `name` another target of its kind: the function of an fentry, the tracepoint of a tp_btf.
    ///
    /// For kinds whose target only matters when attaching (tracepoint, kprobe, xdp…) there is nothing to do here.
    ///
    /// # Errors
    /// There is no such program, or this kernel has no such function (ESRCH).
    pub fn set_attach_target(&mut self, name: &str, target: &Target) -> Result<(), KernelError> {
        let program = self.find_program(name)?;
        if target.site() == Some(Site::Program) {
            return self.extend(name, target);
        }
        let to = match target {
            Target::Fentry(to) | Target::Fexit(to) | Target::TpBtf(to) => to.as_str(),
            target => match bound_by_word(target) {
                Some(to) => to,
                None => return Ok(()),
            },
        };
        let (_, section) = section_target(program);
        if section == to {
            return Ok(()); // as the object has it: libbpf looks it up while loading
        }
        let failed =
            |e| KernelError::new("set the attach target of", format!("'{name}' to {target}"), e);
        let to = sys::cstring(to).map_err(failed)?;
        let (done, said) = capture(|| {
            // SAFETY: a program of an object that is not loaded yet, and a string that outlives the call.
            sys::check(unsafe {
                libbpf_sys::bpf_program__set_attach_target(program, 0, to.as_ptr())
            })
        });
        done.map_err(|e| match said.last_line() {
            Some(line) => failed(e).with_hint(format!("libbpf says: {line}")),
            None => failed(e),
        })?;
        self.retargeted.insert(name.to_owned(), to.to_string_lossy().into_owned());
        Ok(())
    }

    /// Makes a program replace a function of one that is loaded.
    fn extend(&mut self, name: &str, target: &Target) -> Result<(), KernelError> {
        let failed =
            |e| KernelError::new("set the attach target of", format!("'{name}' to {target}"), e);
        let invalid = || failed(std::io::Error::from_raw_os_error(libc::EINVAL));
        let Target::At { section, place } = target else { return Err(invalid()) };
        let (_, function) = section.split_once('/').unwrap_or((section, ""));
        let program = self.find_program(name)?;
        let named = place.parse().map_err(|why: &str| invalid().with_hint(why))?;
        let other = Program::extended(&named)?;
        let function = sys::cstring(function).map_err(failed)?;
        let (done, said) = capture(|| {
            // SAFETY: a program of an object that is not loaded yet, an open program, and a string that outlives the call.
            sys::check(unsafe {
                libbpf_sys::bpf_program__set_attach_target(
                    program,
                    other.as_fd().as_raw_fd(),
                    function.as_ptr(),
                )
            })
        });
        done.map_err(|e| match said.last_line() {
            Some(line) => failed(e).with_hint(format!("libbpf says: {line}")),
            None => failed(e),
        })?;
        self.extended.push(other);
        Ok(())
    }

    /// Gives map `name` another size: entries, or bytes for a ring buffer (a power of two of pages).
    ///
    /// # Errors
    /// There is no such map.
    pub fn set_max_entries(&mut self, name: &str, entries: u32) -> Result<(), KernelError> {
        let map = self.find_map(name)?;
        // SAFETY: a map of an object that is not loaded yet.
        sys::check(unsafe { libbpf_sys::bpf_map__set_max_entries(map, entries) })
            .map(drop)
            .map_err(|e| KernelError::new("set the size of the map", name, e))
    }

    /// Writes `bytes` over the first value of a global, by its section and offset in it.
    ///
    /// # Errors
    /// There is no such data section, or the bytes are not all inside.
    pub fn set_global(
        &mut self,
        section: &str,
        offset: usize,
        bytes: &[u8],
    ) -> Result<(), KernelError> {
        let map = self.find_map(section)?;
        let mut size: libbpf_sys::size_t = 0;
        // SAFETY: a map of an object that is not loaded yet.
        let start = unsafe { libbpf_sys::bpf_map__initial_value(map, &raw mut size) };
        let end = offset.checked_add(bytes.len());
        if start.is_null() || end.is_none_or(|end| end > size as usize) {
            let why = format!("{} bytes at {offset} are not in its {size}", bytes.len());
            return Err(KernelError::unsupported("set a global of", section, why));
        }
        // SAFETY: libbpf's buffer has `size` bytes and `offset + len` is within; nobody else writes it.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                start.cast::<u8>().add(offset),
                bytes.len(),
            );
        }
        Ok(())
    }

    /// Uses `with` in place of a new map for `name`.
    ///
    /// libbpf compares type, sizes and flags only: that the layouts are the same is for the caller to see.
    ///
    /// # Errors
    /// There is no such map; EINVAL if type, sizes or flags differ.
    pub fn reuse_map(&mut self, name: &str, with: &MapHandle) -> Result<(), KernelError> {
        let map = self.find_map(name)?;
        let failed = |e| KernelError::new("reuse the map", name, e);
        let (theirs, ours) = (with.info(), self.maps().into_iter().find(|m| m.name == name));
        let same = ours.is_some_and(|m| {
            (m.kind, m.key_size, m.value_size) == (theirs.kind, theirs.key_size, theirs.value_size)
        });
        if !same {
            let why = "its type or the size of its keys or values differ";
            return Err(KernelError::unsupported("reuse the map", name, why));
        }
        // SAFETY: a map of an object that is not loaded yet; libbpf copies the fd.
        sys::check(unsafe { libbpf_sys::bpf_map__reuse_fd(map, with.as_fd().as_raw_fd()) })
            .map(drop)
            .map_err(failed)
    }

    /// Counts failed ring-buffer output from now on: `counters` is made by [`MapHandle::create_u64s`]
    /// with at least one word per program; [`super::Loaded::counted`] says which is whose. Where the verifier takes the program
    /// only uncounted, load fails: open again and do without.
    ///
    /// # Errors
    /// The map is no mmapable array of u64, or is too small.
    pub fn count_lost(&mut self, counters: &MapHandle) -> Result<(), KernelError> {
        let info = counters.info();
        if info.value_size < self.raw.programs().len() as u32 * 8 || info.max_entries != 1 {
            let why = "it needs a word for each program, all in one value";
            return Err(KernelError::unsupported("count lost events in", counters.name(), why));
        }
        self.counters = Some(counters.try_clone()?);
        Ok(())
    }

    /// Changes the instructions of its programs so before they are loaded.
    pub fn edit(&mut self, edit: Edit) {
        self.edits.push(edit);
    }

    fn find_program(&self, name: &str) -> Result<*mut libbpf_sys::bpf_program, KernelError> {
        let found = self.raw.programs().into_iter().find(|p| program_name(*p) == name);
        found.ok_or_else(|| missing("program", name, self.programs().into_iter().map(|p| p.name)))
    }

    /// Leaves out a map that no program of those to be loaded needs, such as an interface's.
    ///
    /// # Errors
    /// There is no such map.
    pub fn leave_out(&mut self, name: &str) -> Result<(), KernelError> {
        let map = self.find_map(name)?;
        // SAFETY: a map of an object that is not loaded yet.
        sys::check(unsafe { libbpf_sys::bpf_map__set_autocreate(map, false) })
            .map(drop)
            .map_err(|e| KernelError::new("leave out the map", name, e))
    }

    fn find_map(&self, name: &str) -> Result<*mut libbpf_sys::bpf_map, KernelError> {
        let found = self.raw.maps().into_iter().find(|m| map_name(*m) == name);
        found.ok_or_else(|| missing("map", name, self.maps().into_iter().map(|m| m.name)))
    }
}

/// The function or hook of LSM that a target of a kind without a type of its own names.
fn bound_by_word(target: &Target) -> Option<&str> {
    let section = match target {
        Target::Other(text) => text,
        Target::At { section, .. } => section,
        _ => return None,
    };
    let (word, to) = section.split_once('/')?;
    let word = word.strip_suffix(".s").unwrap_or(word);
    matches!(word, "fmod_ret" | "fsession" | "lsm" | "lsm_cgroup").then_some(to)
}

fn section_target(program: *const libbpf_sys::bpf_program) -> (String, String) {
    let section = section_name(program);
    let (kind, rest) = section.split_once('/').unwrap_or((&section, ""));
    (kind.to_owned(), rest.to_owned())
}

/// The targets that [`Opened::set_attach_target`] set, by program.
pub(super) type Retargeted = BTreeMap<String, String>;

fn missing(what: &str, name: &str, there: impl Iterator<Item = String>) -> KernelError {
    let there: Vec<String> = there.collect();
    KernelError::unsupported(
        "find",
        format!("the {what} '{name}'"),
        "the object has none of that name",
    )
    .with_hint(format!("the object has: {}", there.join(", ")))
}
