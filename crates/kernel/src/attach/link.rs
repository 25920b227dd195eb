//! What holds a program on a hook.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use super::standing::Standing;
use crate::bpffs;
use crate::error::KernelError;
use crate::maps::MapHandle;
use crate::pin::{fd_kind, open_pinned, pin};
use crate::program::Program;
use crate::sys;

/// An attachment. Dropping it detaches, unless it is pinned, kept, or held by another process.
#[derive(Debug)]
pub struct Link(Held);

#[derive(Debug)]
enum Held {
    /// A bpf_link.
    Bpf(OwnedFd),
    /// What lives as long as the fd: a perf event that the program was set on by ioctl (before Linux 5.15), a socket with a filter.
    Fd(OwnedFd),
    /// Lives in the kernel until it is removed.
    Standing(Standing),
    /// One for each CPU, at least one: pinned beside the first.
    Several(Vec<Link>),
    /// One that libbpf made and alone knows how to undo.
    Libbpf(LibbpfLink),
    /// Detached or given away.
    Gone,
}

#[derive(Debug)]
struct LibbpfLink(NonNull<libbpf_sys::bpf_link>);

// SAFETY: a bpf_link is plain memory with one owner.
unsafe impl Send for LibbpfLink {}

impl Drop for LibbpfLink {
    fn drop(&mut self) {
        // SAFETY: made by libbpf, owned by us, destroyed once.
        unsafe { libbpf_sys::bpf_link__destroy(self.0.as_ptr()) };
    }
}

/// What kind of thing holds an attachment, for the journal and the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A bpf_link: can be pinned and has an id.
    BpfLink,
    /// The fd of a perf event or a socket: somebody must keep it open.
    Fd,
    /// No link: stays by itself.
    Standing(Standing),
    /// Made by libbpf from a section, of more parts than a bpf_link.
    Section,
}

impl Link {
    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(Held::Bpf(fd))
    }

    pub(crate) fn from_open(fd: OwnedFd) -> Self {
        Self(Held::Fd(fd))
    }

    pub(crate) fn from_standing(standing: Standing) -> Self {
        Self(Held::Standing(standing))
    }

    /// One attachment of many parts.
    pub(crate) fn several(mut links: Vec<Self>) -> Self {
        match links.pop() {
            Some(one) if links.is_empty() => one,
            Some(last) => {
                links.push(last);
                Self(Held::Several(links))
            }
            None => Self(Held::Gone),
        }
    }

    /// A link that libbpf made. Where it is a bpf_link and no more, an fd of our own holds it from here on.
    pub(crate) fn from_libbpf(link: *mut libbpf_sys::bpf_link) -> io::Result<Self> {
        let link = LibbpfLink(NonNull::new(link).ok_or_else(io::Error::last_os_error)?);
        let held = Self(Held::Libbpf(link));
        let alone = |info: libbpf_sys::bpf_link_info| {
            // libbpf disables the perf event of such a link when it destroys its own part.
            info.type_ != libbpf_sys::BPF_LINK_TYPE_PERF_EVENT
        };
        match held.bpf_fd() {
            Some(fd) if held.info().is_ok_and(alone) => Ok(Self::from_fd(fd.try_clone_to_owned()?)),
            _ => Ok(held),
        }
    }

    /// Opens the link pinned at `path`.
    ///
    /// # Errors
    /// ENOENT; EINVAL if it is no link.
    pub fn open_pinned(path: &Path) -> Result<Self, KernelError> {
        let failed = |e| KernelError::new("open the link", path.display().to_string(), e);
        Ok(Self(Held::Bpf(open_pinned(path, fd_kind::LINK).map_err(failed)?)))
    }

    /// The pin that stands for all of an attachment, of any of its pins.
    #[must_use]
    pub fn first_pin(pin: &Path) -> PathBuf {
        let name = pin.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match name.rsplit_once('_') {
            Some((first, number)) if number.parse::<usize>().is_ok() => pin.with_file_name(first),
            _ => pin.to_path_buf(),
        }
    }

    /// Its parts, each with its pin where `path` is the first one's. The first comes last: where it is pinned, all are.
    #[must_use]
    pub fn parts(&self, path: &Path) -> Vec<(&Self, PathBuf)> {
        let Held::Several(links) = &self.0 else { return vec![(self, path.to_owned())] };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let pin = |number| match number {
            0 => path.to_owned(),
            more => path.with_file_name(format!("{name}_{more}")),
        };
        let mut parts: Vec<_> =
            links.iter().enumerate().map(|(at, link)| (link, pin(at))).collect();
        parts.rotate_left(1);
        parts
    }

    /// Removes the pin at `path`, with those of its other parts, and detaches the link that it held: when this returns, its
    /// program is off the hook. After unlink(2) a worker of the kernel takes it off some time, and attaching the same program again
    /// meets EEXIST or EBUSY until then. Nothing there is no error, and what is no link is unpinned.
    ///
    /// # Errors
    /// What unlink(2) says.
    pub fn take_off(path: &Path) -> Result<(), KernelError> {
        // Whoever pinned them may have been stopped after any of them.
        let beside = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
        let beside = beside.into_iter().flatten().flatten().map(|entry| entry.path());
        let parts = beside.filter(|pin| pin != path && Self::first_pin(pin) == path);
        // The first goes last: while it is there all of them are known.
        parts.chain([path.to_owned()]).try_for_each(|part| {
            let link = Self::open_pinned(&part).ok();
            bpffs::unpin(&part)?;
            link.map_or(Ok(()), Self::detach)
        })
    }

    /// Opens a link by the id that it has in this kernel.
    ///
    /// # Errors
    /// ENOENT if there is none.
    pub fn by_id(id: u32) -> Result<Self, KernelError> {
        // SAFETY: takes an integer.
        let fd = sys::owned(unsafe { libbpf_sys::bpf_link_get_fd_by_id(id) })
            .map_err(|e| KernelError::new("open", format!("the link with id {id}"), e))?;
        Ok(Self(Held::Bpf(fd)))
    }

    /// What kind of thing holds it.
    #[must_use]
    pub fn kind(&self) -> LinkKind {
        match &self.0 {
            Held::Bpf(_) => LinkKind::BpfLink,
            Held::Several(links) => links.first().map_or(LinkKind::Fd, Self::kind),
            Held::Fd(_) | Held::Gone => LinkKind::Fd,
            Held::Standing(standing) => LinkKind::Standing(*standing),
            Held::Libbpf(_) => LinkKind::Section,
        }
    }

    /// The link's id in this kernel, for a bpf_link.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.info().ok().map(|info| info.id)
    }

    /// The id of the program behind it, for a bpf_link.
    #[must_use]
    pub fn program_id(&self) -> Option<u32> {
        self.info().ok().map(|info| info.prog_id)
    }

    /// The id of the map behind it, for a link of an interface's functions.
    #[must_use]
    pub fn map_id(&self) -> Option<u32> {
        let info = self.info().ok()?;
        // SAFETY: the kernel fills what belongs to the type; all of it is integers.
        let map = unsafe { info.__bindgen_anon_1.struct_ops.map_id };
        (info.type_ == libbpf_sys::BPF_LINK_TYPE_STRUCT_OPS).then_some(map)
    }

    /// Whether [`Self::pin`] can work. What can't be pinned is kept by a holder of its fd, or stays by itself.
    #[must_use]
    pub fn pinnable(&self) -> bool {
        match &self.0 {
            Held::Several(links) => links.iter().all(Self::pinnable),
            Held::Libbpf(_) => false,
            _ => self.info().is_ok(),
        }
    }

    /// Pins it at `path` on a bpffs: it stays when this process ends.
    ///
    /// # Errors
    /// It is no bpf_link; EEXIST; ENOENT for the folder; EPERM for a dot in the name.
    pub fn pin(&self, path: &Path) -> Result<(), KernelError> {
        if let (Held::Several(_), true) = (&self.0, self.pinnable()) {
            return self.parts(path).into_iter().try_for_each(|(link, pin)| link.pin(&pin));
        }
        match (self.bpf_fd(), self.pinnable()) {
            (Some(fd), true) => pin(fd, "pin the link at", path),
            _ => Err(KernelError::unsupported(
                "pin",
                "this attachment",
                "before Linux 5.15 a perf event has no link; a tc filter, a route and a socket have none at all",
            )),
        }
    }

    /// Puts `program` in place of the one that runs, with no event between: xdp, tcx, cgroup, tc.
    ///
    /// # Errors
    /// EINVAL or EOPNOTSUPP for hooks whose program the kernel can't replace (all tracing hooks).
    pub fn update(&mut self, program: &Program) -> Result<(), KernelError> {
        let failed = |e: io::Error| {
            match e.raw_os_error() {
            Some(libc::ENOLINK) => KernelError::new("update the link to", program.name(), e)
                .with_hint("what it was attached to is gone, such as its interface or cgroup; remove the service and install it again"),
            _ => KernelError::new("update the link to", program.name(), e),
        }
        };
        if let Held::Standing(standing) = &self.0 {
            return standing.replace(program);
        }
        let Some(fd) = self.bpf_fd().filter(|_| self.pinnable()) else {
            return Err(KernelError::unsupported(
                "update the link to",
                program.name(),
                "a perf event keeps its program",
            ));
        };
        let (link, program_fd) = (fd.as_raw_fd(), program.as_fd().as_raw_fd());
        // SAFETY: two open fds; no options.
        sys::check(unsafe { libbpf_sys::bpf_link_update(link, program_fd, std::ptr::null()) })
            .map(drop)
            .map_err(failed)
    }

    /// Puts the functions of `map` in place of those that an interface has.
    ///
    /// # Errors
    /// EOPNOTSUPP for interfaces that cannot be replaced (sched_ext, qdisc); EINVAL for one of another name.
    pub fn update_map(&mut self, map: &MapHandle) -> Result<(), KernelError> {
        let failed = |e: io::Error| {
            let error = KernelError::new("update the link to the functions of", map.name(), e);
            match error.errno() {
                Some(libc::EOPNOTSUPP) => error.with_hint(
                    "the kernel cannot replace this interface while it runs; remove the service and install it again",
                ),
                Some(libc::EINVAL) => error.with_hint("it must be of the kind and the name of the one that runs"),
                _ => error,
            }
        };
        let fd = self.bpf_fd().ok_or_else(|| failed(io::Error::from_raw_os_error(libc::EINVAL)))?;
        let (link, map_fd) = (fd.as_raw_fd(), map.as_fd().as_raw_fd());
        // SAFETY: two open fds; no options.
        sys::check(unsafe { libbpf_sys::bpf_link_update(link, map_fd, std::ptr::null()) })
            .map(drop)
            .map_err(failed)
    }

    /// Detaches now, also if it is pinned (where the kernel can: 5.9 for xdp, cgroup, netns; elsewhere the pin must go too).
    ///
    /// # Errors
    /// What is no link could not be removed.
    pub fn detach(mut self) -> Result<(), KernelError> {
        if let Some(fd) = self.bpf_fd() {
            // SAFETY: an open fd. EOPNOTSUPP where closing is the only way: then closing it is.
            let _ = unsafe { libbpf_sys::bpf_link_detach(fd.as_raw_fd()) };
        }
        match std::mem::replace(&mut self.0, Held::Gone) {
            Held::Standing(standing) => standing.remove(),
            Held::Several(links) => links.into_iter().try_for_each(Self::detach),
            Held::Bpf(_) | Held::Fd(_) | Held::Libbpf(_) | Held::Gone => Ok(()),
        }
    }

    /// Leaves what is no link in the kernel, and any other attachment to its pin or holder, when this value goes.
    pub fn keep(mut self) {
        if let Held::Standing(_) = self.0 {
            self.0 = Held::Gone;
        }
    }

    /// The fd that holds it, for a holder; `None` for what stays by itself.
    #[must_use]
    pub fn into_fd(mut self) -> Option<OwnedFd> {
        match std::mem::replace(&mut self.0, Held::Gone) {
            Held::Bpf(fd) | Held::Fd(fd) => Some(fd),
            other => {
                self.0 = other;
                None
            }
        }
    }

    fn bpf_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Held::Bpf(fd) => Some(fd.as_fd()),
            Held::Libbpf(link) => {
                // SAFETY: a link of ours.
                let fd = unsafe { libbpf_sys::bpf_link__fd(link.0.as_ptr()) };
                // SAFETY: libbpf keeps it open as long as the link, which `self` owns.
                (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
            }
            Held::Several(links) => links.first()?.bpf_fd(),
            Held::Fd(_) | Held::Standing(_) | Held::Gone => None,
        }
    }

    pub(super) fn info(&self) -> Result<libbpf_sys::bpf_link_info, KernelError> {
        let failed = |e| KernelError::new("read the information of", "a link", e);
        let fd = self.bpf_fd().ok_or_else(|| failed(io::Error::from_raw_os_error(libc::EINVAL)))?;
        let mut raw = libbpf_sys::bpf_link_info::default();
        let mut len = size_of::<libbpf_sys::bpf_link_info>() as u32;
        // SAFETY: `raw` is `len` bytes; its pointers are null, so the kernel writes nowhere else.
        sys::check(unsafe {
            libbpf_sys::bpf_obj_get_info_by_fd(fd.as_raw_fd(), (&raw mut raw).cast(), &raw mut len)
        })
        .map_err(failed)?;
        Ok(raw)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Held::Standing(standing) = &self.0
            && let Err(error) = standing.remove()
        {
            tracing::warn!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_pinned_beside_the_first_which_comes_last() {
        let first = Path::new("/sys/fs/bpf/a/link");
        let link = Link::several((0..4).map(|_| Link(Held::Gone)).collect());
        let pins: Vec<PathBuf> = link.parts(first).into_iter().map(|(_, pin)| pin).collect();
        let names = ["link_1", "link_2", "link_3", "link"];
        assert_eq!(pins, names.map(|name| first.with_file_name(name)));
        for pin in &pins {
            assert_eq!(Link::first_pin(pin), first);
        }
        let other = first.with_file_name("a_b");
        assert_eq!(Link::first_pin(&other), other);
    }
}
