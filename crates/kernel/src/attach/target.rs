//! What of the kernel's BTF a tracing or LSM program is bound to when it is loaded.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::error::KernelError;
use crate::program::{LoadKind, Program};
use crate::sys;
use crate::vmlinux::{self, BtfKind};

/// What of the kernel's BTF a tracing program is bound to.
#[derive(Debug, Default)]
pub(crate) struct AttachTarget {
    pub(crate) btf_id: u32,
    module: Option<OwnedFd>,
}

impl AttachTarget {
    /// Only tracing and LSM programs have one. The kernel says which (Linux 6.0), for modules too; an older
    /// one is asked by name, which reads all of its BTF.
    pub(crate) fn of(program: &Program) -> Result<Self, KernelError> {
        let kind = program.kind();
        if !is_bound(kind) {
            return Ok(Self::default());
        }
        let info = program.info()?;
        if info.attach_btf_id != 0 {
            let module = Some(open_btf(info.attach_btf_obj_id)?);
            return Ok(Self { btf_id: info.attach_btf_id, module });
        }
        Self::find(kind)
    }

    /// By name, in vmlinux's BTF.
    pub(crate) fn find(kind: &LoadKind) -> Result<Self, KernelError> {
        match kind.attach_to.as_deref().filter(|_| is_bound(kind)) {
            Some(name) => Ok(Self { btf_id: find_in_vmlinux(name, kind)?, module: None }),
            None => Ok(Self::default()),
        }
    }

    /// 0 means vmlinux.
    pub(crate) fn btf_fd(&self) -> u32 {
        self.module.as_ref().map_or(0, |fd| fd.as_raw_fd() as u32)
    }
}

fn is_bound(kind: &LoadKind) -> bool {
    use libbpf_sys::{BPF_PROG_TYPE_LSM, BPF_PROG_TYPE_TRACING};
    matches!(kind.prog_type, BPF_PROG_TYPE_TRACING | BPF_PROG_TYPE_LSM)
}

fn open_btf(id: u32) -> Result<OwnedFd, KernelError> {
    // SAFETY: takes an integer.
    sys::owned(unsafe { libbpf_sys::bpf_btf_get_fd_by_id(id) })
        .map_err(|e| KernelError::new("open", format!("the BTF object with id {id}"), e))
}

/// As libbpf names what each attach type binds to (`find_kernel_btf_id`).
fn find_in_vmlinux(name: &str, kind: &LoadKind) -> Result<u32, KernelError> {
    use libbpf_sys::{BPF_LSM_CGROUP, BPF_LSM_MAC, BPF_TRACE_ITER, BPF_TRACE_RAW_TP};
    let (full, btf_kind) = match kind.expected_attach_type {
        BPF_TRACE_RAW_TP => (format!("btf_trace_{name}"), BtfKind::Typedef),
        BPF_TRACE_ITER => (format!("bpf_iter_{name}"), BtfKind::Func),
        BPF_LSM_MAC | BPF_LSM_CGROUP => (format!("bpf_lsm_{name}"), BtfKind::Func),
        _ => (name.to_owned(), BtfKind::Func),
    };
    let found = vmlinux::ids(&[(&full, btf_kind)])?;
    found.first().copied().flatten().ok_or_else(|| {
        let missing = std::io::Error::from_raw_os_error(libc::ESRCH);
        KernelError::new("find in the kernel's BTF", full, missing)
    })
}
