//! Loaded programs: their fd, what the kernel says of them, and test runs.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use skep_spec::site::Extended;

use crate::asm::Insn;
use crate::attach::target::AttachTarget;
use crate::error::KernelError;
use crate::pin::{fd_kind, open_pinned, pin};
use crate::sys;

/// As what the kernel loads a program (include/uapi/linux/bpf.h): two programs of one hook must agree in all of it, and so must
/// a stub.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadKind {
    /// `BPF_PROG_TYPE_*`.
    pub prog_type: u32,
    /// `BPF_*` of enum bpf_attach_type; 0 where the type has none.
    pub expected_attach_type: u32,
    /// What of vmlinux's BTF it attaches to, by name (`vfs_read`, `sched_switch`), for tracing types.
    pub attach_to: Option<String>,
    /// May sleep (`BPF_F_SLEEPABLE`).
    pub sleepable: bool,
    /// Takes multi-buffer XDP frames (`BPF_F_XDP_HAS_FRAGS`).
    pub xdp_frags: bool,
}

impl LoadKind {
    /// Whether a hook of this kind may run a program of kind `other`.
    #[must_use]
    pub fn takes(&self, other: &Self) -> bool {
        const TRACING: u32 = 26; // BPF_PROG_TYPE_*, include/uapi/linux/bpf.h
        const LSM: u32 = 29;
        let bound = matches!(self.prog_type, TRACING | LSM);
        let rest = |kind: &Self| {
            (kind.prog_type, kind.expected_attach_type, kind.sleepable, kind.xdp_frags)
        };
        rest(self) == rest(other) && (!bound || self.attach_to == other.attach_to)
    }
}

/// A program in the kernel. It goes with its last fd, pin, link or prog-array slot.
#[derive(Debug)]
pub struct Program {
    name: String,
    kind: LoadKind,
    fd: OwnedFd,
}

/// What BPF_OBJ_GET_INFO_BY_FD says of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Id in this kernel, since boot.
    pub id: u32,
    /// `BPF_PROG_TYPE_*`.
    pub prog_type: u32,
    /// Name, cut to 15 bytes by the kernel.
    pub name: String,
    /// SHA-1 of the instructions, cut.
    pub tag: [u8; 8],
    /// Ids of the maps that it uses.
    pub map_ids: Vec<u32>,
    /// Id of its own BTF, 0 without.
    pub btf_id: u32,
    /// Events that the kernel kept from it: it, or with kprobes any program, was under way on that processor already.
    /// 0 on kernels that don't count them (before 5.12; of kprobes and perf events before 6.7).
    pub missed: u64,
    /// BTF type id of the attach target; 0 on kernels that don't say (before 6.0).
    pub attach_btf_id: u32,
    /// Id of the BTF object that `attach_btf_id` is in; 0 on kernels that don't say.
    pub attach_btf_obj_id: u32,
    /// Size of the program's translated instructions in bytes.
    pub translated_bytes: u32,
    /// Size of its machine code in bytes; 0 without a just-in-time compiler.
    pub machine_bytes: u32,
    /// Instructions that the verifier went through, again where it came again; 0 before 5.16.
    pub verified: u32,
    /// When it was loaded, in nanoseconds since boot.
    pub loaded_ns: u64,
    /// Runs while statistics were on (see [`RunStats`]).
    pub runs: u64,
    /// Nanoseconds that these took.
    pub run_ns: u64,
}

/// The maps of a program for which one question has room; for more it is asked again.
const MAPS: usize = 64;

/// What a test run gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The program's return value.
    pub retval: u32,
    /// Mean time of one run.
    pub duration: Duration,
    /// What a program of the kind `syscall` left of its context.
    pub context: Option<Vec<u8>>,
}

impl Program {
    pub(crate) fn new(name: String, kind: LoadKind, fd: OwnedFd) -> Self {
        Self { name, kind, fd }
    }

    /// Loads instructions of our own, GPL; tracing kinds are bound to `kind.attach_to` of vmlinux's BTF.
    ///
    /// # Errors
    /// The verifier refuses: its last message is the hint.
    pub fn load(name: &str, kind: &LoadKind, insns: &[Insn]) -> Result<Self, KernelError> {
        load_insns(name, kind, insns, &AttachTarget::find(kind)?)
    }

    /// The full name: the ELF symbol, or the name that a stub was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is to the kernel.
    #[must_use]
    pub fn kind(&self) -> &LoadKind {
        &self.kind
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// The kernel refuses information (never seen for an open program).
    pub fn info(&self) -> Result<ProgramInfo, KernelError> {
        info(self.as_fd())
    }

    /// [`ProgramInfo::missed`] alone.
    ///
    /// # Errors
    /// The kernel refuses information (never seen for an open program).
    pub fn missed(&self) -> Result<u64, KernelError> {
        raw_info(self.as_fd()).map(|raw| raw.recursion_misses)
    }

    /// Its instructions as the verifier left them; maps are named by their ids. Empty where the kernel hides them.
    ///
    /// # Errors
    /// As [`Self::info`].
    pub fn translated(&self) -> Result<Vec<u8>, KernelError> {
        let mut bytes = vec![0u8; raw_info(self.as_fd())?.xlated_prog_len as usize];
        let mut raw = libbpf_sys::bpf_prog_info {
            xlated_prog_len: bytes.len() as u32,
            xlated_prog_insns: bytes.as_mut_ptr() as u64,
            ..Default::default()
        };
        fill_info(self.as_fd(), &mut raw)?;
        bytes.truncate(if raw.xlated_prog_insns == 0 { 0 } else { raw.xlated_prog_len as usize });
        Ok(bytes)
    }

    /// The machine code that the kernel made of it, that of its functions one behind the other. Empty where there is none
    /// (`net.core.bpf_jit_enable`), or the kernel hides it.
    ///
    /// # Errors
    /// As [`Self::info`].
    pub fn machine_code(&self) -> Result<Vec<u8>, KernelError> {
        let mut bytes = vec![0u8; raw_info(self.as_fd())?.jited_prog_len as usize];
        let mut raw = libbpf_sys::bpf_prog_info {
            jited_prog_len: bytes.len() as u32,
            jited_prog_insns: bytes.as_mut_ptr() as u64,
            ..Default::default()
        };
        fill_info(self.as_fd(), &mut raw)?;
        bytes.truncate(if raw.jited_prog_insns == 0 { 0 } else { raw.jited_prog_len as usize });
        Ok(bytes)
    }

    /// Its id in this kernel.
    ///
    /// # Errors
    /// As [`Self::info`].
    pub fn id(&self) -> Result<u32, KernelError> {
        raw_info(self.as_fd()).map(|raw| raw.id)
    }

    /// Pins it at `path` on a bpffs.
    ///
    /// # Errors
    /// EEXIST, ENOENT for the folder, EPERM for a dot in the name.
    pub fn pin(&self, path: &Path) -> Result<(), KernelError> {
        pin(self.as_fd(), "pin the program at", path)
    }

    /// Opens the program pinned at `path`. `kind` is what the caller's records say that it is.
    ///
    /// # Errors
    /// ENOENT; EINVAL if it is no program.
    pub fn open_pinned(path: &Path, kind: LoadKind) -> Result<Self, KernelError> {
        let failed = |e| KernelError::new("open the program", path.display().to_string(), e);
        let fd = open_pinned(path, fd_kind::PROGRAM).map_err(failed)?;
        let info = raw_info(fd.as_fd())?;
        if kind.prog_type != 0 && kind.prog_type != info.type_ {
            return Err(failed(std::io::Error::from_raw_os_error(libc::EINVAL)));
        }
        let kind = LoadKind { prog_type: info.type_, ..kind };
        Ok(Self { name: sys::name_of(&info.name), kind, fd })
    }

    /// Opens a program by the id that it has in this kernel.
    ///
    /// # Errors
    /// ENOENT if there is none.
    pub fn by_id(id: u32) -> Result<Self, KernelError> {
        // SAFETY: takes an integer.
        let fd = sys::owned(unsafe { libbpf_sys::bpf_prog_get_fd_by_id(id) })
            .map_err(|e| KernelError::new("open", format!("the program with id {id}"), e))?;
        let info = info(fd.as_fd())?;
        let kind = LoadKind { prog_type: info.prog_type, ..LoadKind::default() };
        Ok(Self { name: info.name, kind, fd })
    }

    /// The program that another one is to replace a function of.
    ///
    /// # Errors
    /// ENOENT if there is none.
    pub fn extended(named: &Extended) -> Result<Self, KernelError> {
        match named {
            Extended::Pinned(path) => Self::open_pinned(Path::new(path), LoadKind::default()),
            Extended::Numbered(id) => Self::by_id(*id),
        }
    }

    /// One test run: what it returns.
    pub(crate) fn run(&self, packet: &[u8]) -> Result<u32, KernelError> {
        Ok(self.test_run(packet, 1)?.retval)
    }

    /// Runs the program `repeat` times on `packet` (XDP, tc, cgroup_skb…: BPF_PROG_TEST_RUN, Linux 4.12); one of the kind
    /// `syscall` once (Linux 5.14), with what is given as its context, which it may write.
    ///
    /// # Errors
    /// EINVAL for a packet under 14 bytes or a context that is shorter than the program looks, ENOTSUPP for a type that can't be
    /// test-run.
    pub fn test_run(&self, packet: &[u8], repeat: u32) -> Result<TestRun, KernelError> {
        if self.kind.prog_type == libbpf_sys::BPF_PROG_TYPE_SYSCALL {
            return self.call(packet);
        }
        let mut opts = libbpf_sys::bpf_test_run_opts {
            sz: sys::size::<libbpf_sys::bpf_test_run_opts>(),
            data_in: packet.as_ptr().cast(),
            data_size_in: packet.len() as u32,
            repeat: repeat.max(1) as i32,
            ..Default::default()
        };
        // SAFETY: the options point at `packet`, whose length they carry, and which outlives the call.
        sys::check(unsafe {
            libbpf_sys::bpf_prog_test_run_opts(self.fd.as_raw_fd(), &raw mut opts)
        })
        .map_err(|e| KernelError::new("test-run the program", self.name.as_str(), e))?;
        let duration = Duration::from_nanos(u64::from(opts.duration));
        Ok(TestRun { retval: opts.retval, duration, context: None })
    }

    fn call(&self, context: &[u8]) -> Result<TestRun, KernelError> {
        let mut context = context.to_vec();
        let mut opts = libbpf_sys::bpf_test_run_opts {
            sz: sys::size::<libbpf_sys::bpf_test_run_opts>(),
            ctx_size_in: context.len() as u32,
            ..Default::default()
        };
        if !context.is_empty() {
            opts.ctx_in = context.as_mut_ptr().cast();
        }
        let began = Instant::now();
        // SAFETY: the options point at `context`, whose length they carry, which the kernel writes back, and which is ours.
        sys::check(unsafe {
            libbpf_sys::bpf_prog_test_run_opts(self.fd.as_raw_fd(), &raw mut opts)
        })
        .map_err(|e| {
            let failed = KernelError::new("run the program", self.name.as_str(), e);
            match failed.errno() {
                Some(libc::EINVAL) => failed.with_hint(
                    "its context must be as long as the program looks, at most 65535 bytes: --data has it",
                ),
                _ => failed,
            }
        })?;
        let duration = began.elapsed();
        Ok(TestRun { retval: opts.retval, duration, context: Some(context) })
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Loads `insns`, GPL, as a program of `kind`; the verifier's last message is in the error's hint.
pub(crate) fn load_insns(
    name: &str,
    kind: &LoadKind,
    insns: &[Insn],
    target: &AttachTarget,
) -> Result<Program, KernelError> {
    let load = |log: &mut [u8]| try_load(name, kind, insns, target, log);
    let error = match load(&mut []) {
        Ok(fd) => return Ok(Program::new(name.to_owned(), kind.clone(), fd)),
        Err(error) => error,
    };
    let mut log = vec![0u8; 64 << 10];
    let _ = load(&mut log);
    let failed = KernelError::new("load the program", name, error);
    Err(match last_line(&log) {
        Some(line) => failed.with_hint(format!("the verifier says: {line}")),
        None => failed,
    })
}

/// BPF_PROG_LOAD; the verifier writes into `log` unless it is empty.
fn try_load(
    name: &str,
    kind: &LoadKind,
    insns: &[Insn],
    target: &AttachTarget,
    log: &mut [u8],
) -> std::io::Result<OwnedFd> {
    let name = sys::kernel_name(name);
    let sleepable = if kind.sleepable { libbpf_sys::BPF_F_SLEEPABLE } else { 0 };
    let frags = if kind.xdp_frags { libbpf_sys::BPF_F_XDP_HAS_FRAGS } else { 0 };
    let mut opts = libbpf_sys::bpf_prog_load_opts {
        sz: sys::size::<libbpf_sys::bpf_prog_load_opts>(),
        attempts: 5,
        expected_attach_type: kind.expected_attach_type,
        prog_flags: sleepable | frags,
        attach_btf_id: target.btf_id,
        attach_btf_obj_fd: target.btf_fd(),
        ..Default::default()
    };
    if !log.is_empty() {
        opts.log_level = 1;
        opts.log_size = log.len() as u32;
        opts.log_buf = log.as_mut_ptr().cast();
    }
    // SAFETY: `Insn` has the layout of `bpf_insn`; every pointer outlives the call and carries its length.
    sys::owned(unsafe {
        libbpf_sys::bpf_prog_load(
            kind.prog_type,
            name.as_ptr(),
            c"GPL".as_ptr(),
            insns.as_ptr().cast(),
            insns.len() as libbpf_sys::size_t,
            &raw mut opts,
        )
    })
}

fn last_line(log: &[u8]) -> Option<String> {
    let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty() && !line.starts_with("processed "))
        .map(str::to_owned)
}

fn raw_info(fd: BorrowedFd<'_>) -> Result<libbpf_sys::bpf_prog_info, KernelError> {
    let mut raw = libbpf_sys::bpf_prog_info::default();
    fill_info(fd, &mut raw)?;
    Ok(raw)
}

fn fill_info(fd: BorrowedFd<'_>, raw: &mut libbpf_sys::bpf_prog_info) -> Result<(), KernelError> {
    let mut len = size_of::<libbpf_sys::bpf_prog_info>() as u32;
    // SAFETY: `raw` is `len` bytes; pointers in it are zero or point at buffers that the caller holds.
    sys::check(unsafe {
        libbpf_sys::bpf_obj_get_info_by_fd(
            fd.as_raw_fd(),
            std::ptr::from_mut(raw).cast(),
            &raw mut len,
        )
    })
    .map(drop)
    .map_err(|e| KernelError::new("read the information of", "a program", e))
}

fn info(fd: BorrowedFd<'_>) -> Result<ProgramInfo, KernelError> {
    let mut map_ids = vec![0u32; MAPS];
    let raw = loop {
        let mut raw = libbpf_sys::bpf_prog_info {
            nr_map_ids: map_ids.len() as u32,
            map_ids: map_ids.as_mut_ptr() as u64,
            ..Default::default()
        };
        fill_info(fd, &mut raw)?;
        let there = raw.nr_map_ids as usize;
        if there <= map_ids.len() {
            map_ids.truncate(there);
            break raw;
        }
        map_ids.resize(there, 0);
    };
    Ok(ProgramInfo {
        id: raw.id,
        prog_type: raw.type_,
        name: sys::name_of(&raw.name),
        tag: raw.tag,
        map_ids,
        btf_id: raw.btf_id,
        missed: raw.recursion_misses,
        attach_btf_id: raw.attach_btf_id,
        attach_btf_obj_id: raw.attach_btf_obj_id,
        translated_bytes: raw.xlated_prog_len,
        machine_bytes: raw.jited_prog_len,
        verified: raw.verified_insns,
        loaded_ns: raw.load_time,
        runs: raw.run_cnt,
        run_ns: raw.run_time_ns,
    })
}

/// While it is there, the kernel counts runs of all programs and their time (Linux 5.8), which costs each run some nanoseconds.
#[derive(Debug)]
pub struct RunStats {
    _on: OwnedFd,
}

impl RunStats {
    /// Switches them on.
    ///
    /// # Errors
    /// EPERM; EINVAL where the kernel has none.
    pub fn begin() -> Result<Self, KernelError> {
        // SAFETY: takes an integer.
        let fd =
            sys::owned(unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) });
        let on = fd.map_err(|e| KernelError::new("count the runs of", "programs", e))?;
        Ok(Self { _on: on })
    }
}
