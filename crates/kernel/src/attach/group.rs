//! Sockets that share an address by `SO_REUSEPORT`: a program picks the one that gets a connection or a packet. The sockets are other
//! processes'; the program belongs to all of them together, and goes with the last.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use skep_spec::Target;
use skep_spec::site::Group as Address;

use super::standing::Standing;
use super::{AttachPlan, Link, failed};
use crate::error::KernelError;
use crate::program::Program;
use crate::sys;

/// The sockets at one address, and the one of them that the program was given by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    address: Address,
    /// That socket's number, which no other one has as long as it is there.
    pub inode: u64,
}

/// Not in libc's list (include/uapi/asm-generic/socket.h).
const SO_DETACH_REUSEPORT_BPF: i32 = 68;

pub(super) fn attach(
    program: &Program,
    address: Address,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    let refuse = |e: io::Error| failed(program, plan, e);
    let found = sockets_at(address).map_err(refuse)?;
    let mut refused = None;
    for inode in found {
        let Some(socket) = borrowed(inode).map_err(refuse)? else { continue };
        match set_program(&socket, libc::SO_ATTACH_REUSEPORT_EBPF, program.as_fd().as_raw_fd()) {
            Ok(()) => {
                return Ok(Link::from_standing(Standing::Group(Group { address, inode })));
            }
            Err(e) => refused = Some(e),
        }
    }
    Err(match refused {
        Some(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            refuse(e).with_hint("the sockets must share their address: SO_REUSEPORT, before bind")
        }
        Some(e) => refuse(e),
        None => no_sockets(address),
    })
}

/// Whether somebody has a socket at an address.
pub(super) fn is_there(address: Address) -> Result<(), KernelError> {
    match sockets_at(address) {
        Ok(found) if found.is_empty() => Err(no_sockets(address)),
        _ => Ok(()),
    }
}

fn no_sockets(address: Address) -> KernelError {
    let thing = format!("a socket at {address}");
    KernelError::new("find", thing, io::Error::from_raw_os_error(libc::ENOENT))
        .with_hint("start the program that has the sockets first: see ss -lntu")
}

impl Group {
    /// The sockets of a target, of which one was this.
    #[must_use]
    pub fn at(target: &Target, inode: u64) -> Option<Self> {
        match target {
            Target::At { place, .. } => Some(Self { address: place.parse().ok()?, inode }),
            _ => None,
        }
    }

    pub(super) fn thing(&self) -> String {
        format!("the sockets at {}", self.address)
    }

    /// Whether the socket is there that the program was given by.
    pub(super) fn is_there(&self) -> io::Result<bool> {
        Ok(sockets_at(self.address)?.contains(&self.inode))
    }

    pub(super) fn replace(&self, program: &Program) -> io::Result<()> {
        let gone = || io::Error::from_raw_os_error(libc::ENOLINK);
        let socket = borrowed(self.inode)?.ok_or_else(gone)?;
        set_program(&socket, libc::SO_ATTACH_REUSEPORT_EBPF, program.as_fd().as_raw_fd())
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        for inode in sockets_at(self.address)? {
            let Some(socket) = borrowed(inode)? else { continue };
            match set_program(&socket, SO_DETACH_REUSEPORT_BPF, 0) {
                // The kernel takes it off the sockets of the group all at once.
                Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => {}
                other => return other,
            }
        }
        Ok(())
    }
}

fn set_program(socket: &OwnedFd, option: i32, value: i32) -> io::Result<()> {
    let size = size_of::<i32>() as libc::socklen_t;
    let value: *const i32 = &raw const value;
    // SAFETY: an open socket, and an integer of ours of that size.
    sys::errno(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value.cast(), size)
    })
    .map(drop)
}

/// The numbers of the sockets that are bound to an address in this thread's network namespace: of TCP those that listen.
fn sockets_at(Address { udp, address }: Address) -> io::Result<Vec<u64>> {
    const LISTENS: &str = "0A";
    const BOUND: &str = "07"; // and connected to nobody
    let protocol = if udp { "udp" } else { "tcp" };
    let six = if address.is_ipv6() { "6" } else { "" };
    let text = fs::read_to_string(format!("/proc/thread-self/net/{protocol}{six}"))?;
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let at = address_of(fields.get(1)?)?;
        let state = if udp { BOUND } else { LISTENS };
        let inode = fields.get(9)?.parse().ok()?;
        (at == address && *fields.get(3)? == state).then_some(inode)
    };
    Ok(text.lines().skip(1).filter_map(socket).collect())
}

/// As the kernel lists it: words of 32 bits in its byte order, in hexadecimal, and the port.
fn address_of(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words = address.as_bytes().chunks(8).map(|word| {
        let word = std::str::from_utf8(word).ok().filter(|word| word.len() == 8)?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    });
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    let address = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

/// A socket by its number, of whichever process has it.
fn borrowed(inode: u64) -> io::Result<Option<OwnedFd>> {
    let name = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Some(number) = fd_named(&process.path(), &name) else { continue };
        // The number may be another file's by the time that it is copied.
        let Ok(socket) = fd_of(pid, number) else { continue };
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd()));
        if link.is_ok_and(|link| link.to_str() == Some(&name)) {
            return Ok(Some(socket));
        }
    }
    Ok(None)
}

/// The number that a process has a file of this name by.
fn fd_named(process: &Path, name: &str) -> Option<i32> {
    let fds = fs::read_dir(process.join("fd")).ok()?.flatten();
    let mut fds =
        fds.filter(|fd| fs::read_link(fd.path()).is_ok_and(|link| link.to_str() == Some(name)));
    fds.next()?.file_name().to_str()?.parse().ok()
}

/// A copy of another process's fd (Linux 5.6).
fn fd_of(pid: u32, number: i32) -> io::Result<OwnedFd> {
    let process = opened(libc::SYS_pidfd_open, [pid as libc::c_long, 0, 0])?;
    opened(libc::SYS_pidfd_getfd, [process.as_raw_fd().into(), number.into(), 0])
}

/// The fd that a system call of three integers opens.
fn opened(call: libc::c_long, [a, b, c]: [libc::c_long; 3]) -> io::Result<OwnedFd> {
    // SAFETY: one of the two calls above, which take integers.
    let fd = unsafe { libc::syscall(call, a, b, c) };
    match i32::try_from(fd) {
        // libc's syscall(2) leaves the reason in errno.
        Ok(fd) if fd >= 0 => sys::owned(fd),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_lists_them() {
        let read = |text: &str| address_of(text).unwrap().to_string();
        if cfg!(target_endian = "little") {
            assert_eq!(read("0100007F:0035"), "127.0.0.1:53");
            assert_eq!(read("00000000000000000000000001000000:1F90"), "[::1]:8080");
        }
        assert_eq!(address_of("0100007F"), None);
        assert_eq!(address_of("01:02"), None);
    }

    #[test]
    fn a_socket_is_found_by_its_address_and_borrowed() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let socket = UdpSocket::bind(local).unwrap();
            let address = Address { udp: true, address: socket.local_addr().unwrap() };
            let found = sockets_at(address).unwrap();
            assert_eq!(found.len(), 1, "{address}");
            let copy = UdpSocket::from(borrowed(found[0]).unwrap().unwrap());
            assert_eq!(copy.local_addr().unwrap(), socket.local_addr().unwrap());
            drop((copy, socket));
            assert_eq!(is_there(address).unwrap_err().errno(), Some(libc::ENOENT));
        }
    }
}
