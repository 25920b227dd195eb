//! Hooks that are perf events: tracepoints, kprobes, uprobes.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::{AttachPlan, Link, create_link, failed, link_options};
use crate::error::KernelError;
use crate::program::Program;
use crate::{sys, tracefs};

// linux/perf_event.h
const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_EVENT_IOC_ENABLE: u64 = 0x2400;
const PERF_EVENT_IOC_SET_BPF: u64 = 0x4004_2408;
const PERF_FLAG_FD_CLOEXEC: u64 = 8;

/// What a perf event is opened with: the first 72 bytes of perf_event_attr (PERF_ATTR_SIZE_VER1).
#[repr(C)]
#[derive(Default)]
pub(crate) struct PerfAttr {
    pub(crate) kind: u32,
    pub(crate) size: u32,
    pub(crate) config: u64,
    pub(crate) sample_period: u64,
    pub(crate) sample_type: u64,
    pub(crate) read_format: u64,
    pub(crate) flags: u64,
    pub(crate) wakeup_events: u32,
    pub(crate) bp_type: u32,
    pub(crate) config1: u64,
    pub(crate) config2: u64,
}

pub(super) fn tracepoint(
    program: &Program,
    category: &str,
    name: &str,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    let config = tracefs::tracepoint_id(category, name)?;
    let attr =
        PerfAttr { kind: PERF_TYPE_TRACEPOINT, config, sample_period: 1, ..PerfAttr::default() };
    on_event(program, plan, attr, EVERYONE)
}

pub(super) fn kprobe(
    program: &Program,
    function: &str,
    offset: u64,
    ret: bool,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    let symbol = sys::cstring(function).map_err(|e| failed(program, plan, e))?;
    let attr = probe(program, plan, "kprobe", &symbol, offset, ret)?;
    on_event(program, plan, attr, EVERYONE).map_err(|e| match e.errno() {
        Some(libc::ENOENT | libc::EINVAL) => {
            let why =
                format!("'{function}' may be no function of this kernel, or not to be probed");
            e.with_hint(format!("{why}: see /proc/kallsyms"))
        }
        _ => e,
    })
}

/// Where in a file a probe is.
#[derive(Clone, Copy, Debug)]
pub(super) struct UserPlace {
    /// Bytes into the file.
    pub(super) offset: u64,
    /// Where in the file a counter lies that the kernel raises while the probe is there; 0 is none.
    pub(super) semaphore: u64,
    /// At return instead of entry.
    pub(super) ret: bool,
}

/// A probe at a place of the file `path`.
pub(super) fn uprobe_at(
    program: &Program,
    path: &std::path::Path,
    place: UserPlace,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    let path = sys::cpath(path).map_err(|e| failed(program, plan, e))?;
    let mut attr = probe(program, plan, "uprobe", &path, place.offset, place.ret)?;
    attr.config |= place.semaphore << format_bit("uprobe", "ref_ctr_offset").unwrap_or(32);
    let whose = plan.pid.map_or(EVERYONE, |pid| (pid as i32, -1));
    on_event(program, plan, attr, whose)
}

/// A probe of the perf unit `unit` at `offset` bytes into `place`, which must outlive the event's opening.
fn probe(
    program: &Program,
    plan: &AttachPlan,
    unit: &str,
    place: &CStr,
    offset: u64,
    ret: bool,
) -> Result<PerfAttr, KernelError> {
    let kind = pmu_type(unit).map_err(|e| {
        let option = unit.to_uppercase();
        let hint = format!("this kernel has no {unit}s (CONFIG_{option}_EVENTS)");
        failed(program, plan, e).with_hint(hint)
    })?;
    Ok(PerfAttr {
        kind,
        config: u64::from(ret) << format_bit(unit, "retprobe").unwrap_or(0),
        config1: place.as_ptr() as u64,
        config2: offset,
        ..PerfAttr::default()
    })
}

/// A probe of all processes is opened on one CPU: the program runs on all of them.
const EVERYONE: (i32, i32) = (-1, 0);

/// Opens the event of a process on a CPU (-1: of all, on all) and sets the program on it: by a link where the kernel has it
/// (5.15), else by ioctl.
pub(super) fn on_event(
    program: &Program,
    plan: &AttachPlan,
    attr: PerfAttr,
    (pid, cpu): (i32, i32),
) -> Result<Link, KernelError> {
    let refuse = |e| failed(program, plan, e);
    let event = open_event(attr, pid, cpu).map_err(refuse)?;
    match link_to(program, &event, plan.cookie) {
        Ok(link) => {
            enable(&event).map_err(refuse)?;
            Ok(Link::from_fd(link))
        }
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) && plan.cookie == 0 => {
            let program_fd = program.as_fd().as_raw_fd();
            // SAFETY: two open fds.
            sys::errno(unsafe {
                libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_SET_BPF as _, program_fd)
            })
            .map_err(refuse)?;
            enable(&event).map_err(refuse)?;
            Ok(Link::from_open(event))
        }
        Err(e) => Err(refuse(e)),
    }
}

/// Opens a perf event of a process, or of all (-1), on a CPU, or on all (-1).
pub(crate) fn open_event(attr: PerfAttr, pid: i32, cpu: i32) -> io::Result<OwnedFd> {
    let attr = PerfAttr { size: size_of::<PerfAttr>() as u32, ..attr };
    // SAFETY: `attr` carries its size; a string in config1 outlives the call (the callers hold it).
    let fd = sys::errno(unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            pid,
            cpu,
            -1,
            PERF_FLAG_FD_CLOEXEC,
        )
    } as i32)?;
    // SAFETY: perf_event_open made this fd for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn link_to(program: &Program, event: &OwnedFd, cookie: u64) -> io::Result<OwnedFd> {
    let mut opts = link_options();
    opts.__bindgen_anon_1.perf_event.bpf_cookie = cookie;
    create_link(program, event.as_raw_fd(), libbpf_sys::BPF_PERF_EVENT, &opts)
}

/// Lets it count and write from now on.
pub(crate) fn enable(event: &OwnedFd) -> io::Result<()> {
    // SAFETY: an open perf event.
    sys::errno(unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_ENABLE as _, 0) }).map(drop)
}

/// The number of a dynamic perf unit.
fn pmu_type(unit: &str) -> io::Result<u32> {
    let text = fs::read_to_string(format!("/sys/bus/event_source/devices/{unit}/type"))?;
    text.trim().parse().map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// The bit of `config` at which a field of it begins, as the unit describes it ("config:0", "config:32-63").
fn format_bit(unit: &str, field: &str) -> Option<u32> {
    let path = format!("/sys/bus/event_source/devices/{unit}/format/{field}");
    let text = fs::read_to_string(path).ok()?;
    let bits = text.trim().strip_prefix("config:")?;
    bits.split('-').next()?.parse::<u32>().ok().filter(|bit| *bit < u64::BITS)
}
