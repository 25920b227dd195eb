//! tc: a tcx link (Linux 6.6), or a filter on a clsact qdisc, by netlink through libbpf.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::net::{index_of, no_interface};
use super::standing::Standing;
use super::{AttachPlan, Link, create_link, failed, link_options};
use crate::error::KernelError;
use crate::print::quietly;
use crate::program::Program;
use crate::sys;

/// Where among the filters of one direction: lower priorities run first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterPlace {
    /// 1 to 65535.
    pub priority: u16,
    /// Distinguishes filters of one priority; not 0.
    pub handle: u32,
}

/// One filter on a clsact qdisc: what it takes to replace or remove it, also for another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The interface.
    pub ifindex: i32,
    /// Egress instead of ingress.
    pub egress: bool,
    /// Where in it.
    pub place: FilterPlace,
}

/// A place that the kernel's users rarely take.
const DEFAULT_PLACE: FilterPlace = FilterPlace { priority: 49_000, handle: 1 };
/// Filters of ours that one direction of an interface may have.
const MOST_FILTERS: u32 = 64;

pub(super) fn attach(
    program: &Program,
    interface: &str,
    egress: bool,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    let ifindex = index_of(interface).map_err(|e| no_interface(program, plan, interface, e))?;
    if plan.clsact.is_none() {
        match tcx(program, ifindex, egress) {
            Ok(link) => return Ok(link),
            // EINVAL: the kernel does not know the attach type.
            Err(e) if e.raw_os_error() != Some(libc::EINVAL) => {
                return Err(failed(program, plan, e));
            }
            Err(_) => {}
        }
    }
    let place = plan.clsact.unwrap_or(DEFAULT_PLACE);
    let filter = free_filter(ifindex, egress, place, plan.clsact.is_some());
    filter.create(program).map_err(|e| failed(program, plan, e))?;
    Ok(Link::from_standing(Standing::Filter(filter)))
}

fn tcx(program: &Program, ifindex: i32, egress: bool) -> io::Result<Link> {
    let kind = if egress { libbpf_sys::BPF_TCX_EGRESS } else { libbpf_sys::BPF_TCX_INGRESS };
    create_link(program, ifindex, kind, &link_options()).map(Link::from_fd)
}

/// The asked place, or from the default one on the first with nobody in it.
fn free_filter(ifindex: i32, egress: bool, place: FilterPlace, asked: bool) -> Filter {
    let at = |handle| Filter { ifindex, egress, place: FilterPlace { handle, ..place } };
    if asked {
        return at(place.handle);
    }
    let free = (1..=MOST_FILTERS).map(at).find(|filter| matches!(filter.program_id(), Ok(None)));
    free.unwrap_or_else(|| at(place.handle))
}

/// Makes the clsact qdisc of an interface, if need be.
pub(super) fn make_clsact(ifindex: i32, egress: bool) -> io::Result<()> {
    let mut hook = hook(ifindex, egress);
    // SAFETY: a hook of ours; EEXIST means that somebody made the qdisc before.
    match sys::check(quietly(|| unsafe { libbpf_sys::bpf_tc_hook_create(&raw mut hook) })) {
        Err(e) if e.raw_os_error() != Some(libc::EEXIST) => Err(e),
        _ => Ok(()),
    }
}

fn hook(ifindex: i32, egress: bool) -> libbpf_sys::bpf_tc_hook {
    libbpf_sys::bpf_tc_hook {
        sz: sys::size::<libbpf_sys::bpf_tc_hook>(),
        ifindex,
        attach_point: if egress { libbpf_sys::BPF_TC_EGRESS } else { libbpf_sys::BPF_TC_INGRESS },
        ..Default::default()
    }
}

impl Filter {
    /// The filter in one of the default places that holds the program with this id, for one who died between
    /// attaching and writing down where.
    ///
    /// # Errors
    /// EPERM; a missing interface has none.
    pub fn find(interface: &str, egress: bool, program: u32) -> Result<Option<Self>, KernelError> {
        let Ok(ifindex) = index_of(interface) else { return Ok(None) };
        for handle in 1..=MOST_FILTERS {
            let filter = Self { ifindex, egress, place: FilterPlace { handle, ..DEFAULT_PLACE } };
            if filter.program_id()? == Some(program) {
                return Ok(Some(filter));
            }
        }
        Ok(None)
    }

    fn hook(&self) -> libbpf_sys::bpf_tc_hook {
        hook(self.ifindex, self.egress)
    }

    fn opts(&self) -> libbpf_sys::bpf_tc_opts {
        libbpf_sys::bpf_tc_opts {
            sz: sys::size::<libbpf_sys::bpf_tc_opts>(),
            handle: self.place.handle,
            priority: u32::from(self.place.priority),
            ..Default::default()
        }
    }

    pub(super) fn thing(&self) -> String {
        let direction = if self.egress { "egress" } else { "ingress" };
        let FilterPlace { priority, handle } = self.place;
        format!(
            "the tc filter at {direction} of interface {} (pref {priority}, handle {handle})",
            self.ifindex
        )
    }

    /// Puts `program` into a new filter; makes the clsact qdisc if need be.
    fn create(&self, program: &Program) -> io::Result<()> {
        make_clsact(self.ifindex, self.egress)?;
        self.set(program, 0)
    }

    fn set(&self, program: &Program, flags: u32) -> io::Result<()> {
        let hook = self.hook();
        let mut opts = self.opts();
        opts.prog_fd = program.as_fd().as_raw_fd();
        opts.flags = flags;
        // SAFETY: a hook and options of ours.
        sys::check(quietly(|| unsafe { libbpf_sys::bpf_tc_attach(&raw const hook, &raw mut opts) }))
            .map(drop)
    }

    /// Puts `program` in place of the one that runs, at the same handle and priority: no packet between.
    ///
    /// # Errors
    /// The interface is gone, EPERM.
    pub fn replace(&self, program: &Program) -> Result<(), KernelError> {
        self.set(program, libbpf_sys::BPF_TC_F_REPLACE)
            .map_err(|e| KernelError::new("replace", self.thing(), e))
    }

    /// The id of the program in it.
    ///
    /// # Errors
    /// EPERM; a missing interface, qdisc or filter is `None`.
    pub fn program_id(&self) -> Result<Option<u32>, KernelError> {
        let (hook, mut opts) = (self.hook(), self.opts());
        // SAFETY: a hook and options of ours.
        match sys::check(quietly(|| unsafe {
            libbpf_sys::bpf_tc_query(&raw const hook, &raw mut opts)
        })) {
            Ok(_) => Ok(Some(opts.prog_id)),
            Err(e)
                if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) =>
            {
                Ok(None)
            }
            Err(e) => Err(KernelError::new("query", self.thing(), e)),
        }
    }

    /// Removes the filter; one that isn't there, or whose interface isn't, is no error. The qdisc stays: others may use it.
    ///
    /// # Errors
    /// EPERM.
    pub fn remove(&self) -> Result<(), KernelError> {
        let (hook, opts) = (self.hook(), self.opts());
        // SAFETY: a hook and options of ours.
        match sys::check(quietly(|| unsafe {
            libbpf_sys::bpf_tc_detach(&raw const hook, &raw const opts)
        })) {
            Err(e)
                if !matches!(
                    e.raw_os_error(),
                    Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)
                ) =>
            {
                Err(KernelError::new("remove", self.thing(), e))
            }
            _ => Ok(()),
        }
    }
}
