//! Network namespaces: for tests and trials that must touch no interface of the machine.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::netlink::Message;
use crate::sys;

/// Puts the calling thread into a new network namespace; it goes with its last thread, interface and socket.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN.
pub fn enter_new() -> io::Result<()> {
    // SAFETY: changes the namespace of this thread only.
    sys::errno(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(drop)
}

/// Puts the calling thread into the namespace that `file` (`/proc/PID/ns/net`) is.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN; EINVAL for another kind of file.
pub fn enter(file: &std::fs::File) -> io::Result<()> {
    // SAFETY: an open fd; changes the namespace of this thread only.
    sys::errno(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Brings up `interface` of the thread's namespace; a new one has only `lo`, down.
///
/// # Errors
/// ENODEV if it isn't there, EPERM.
pub fn up(interface: &str) -> io::Result<()> {
    set_up(interface, true)
}

/// Gives `interface` of the thread's namespace another name.
///
/// # Errors
/// ENODEV if it isn't there, EEXIST if another one has the name, EPERM.
pub fn rename(interface: &str, name: &str) -> io::Result<()> {
    set_up(interface, false)?;
    let mut request = request(interface)?;
    // SAFETY: the member that the call reads, zeroed before, so that a NUL follows.
    put(unsafe { &mut request.ifr_ifru.ifru_newname }, name)?;
    ask(libc::SIOCSIFNAME, &mut request)?;
    set_up(name, true)
}

/// Makes two interfaces of this kind (`veth`, `netkit`), each the other's other end, and brings them up.
///
/// # Errors
/// EOPNOTSUPP where the kernel has no such kind; EEXIST, EPERM.
pub fn pair(kind: &str, one: &str, other: &str) -> io::Result<()> {
    const PEER: u16 = 1; // VETH_INFO_PEER, IFLA_NETKIT_PEER_INFO
    const LINK: [u8; 16] = [0; size_of::<libc::ifinfomsg>()];
    let mut message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &LINK);
    message.text(libc::IFLA_IFNAME, one).nest(libc::IFLA_LINKINFO, |message| {
        message.text(libc::IFLA_INFO_KIND, kind).nest(libc::IFLA_INFO_DATA, |message| {
            message.nest(PEER, |message| {
                message.head(&LINK).text(libc::IFLA_IFNAME, other);
            });
        });
    });
    message.done()?;
    up(one).and_then(|()| up(other))
}

/// A socket of UDP that shares its address with others that do (`SO_REUSEPORT`).
///
/// # Errors
/// EADDRINUSE where somebody has it alone.
pub fn sharing(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: plain integers.
    let fd = sys::errno(unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: socket(2) made this fd for us.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    set_option(&socket, (libc::SOL_SOCKET, libc::SO_REUSEPORT), &1_i32.to_ne_bytes())?;
    bind(&socket, address)?;
    Ok(UdpSocket::from(socket))
}

/// Has packets of a socket go out of one interface, whatever routes there are.
///
/// # Errors
/// ENODEV if it isn't there.
pub fn only_by(socket: &UdpSocket, interface: &str) -> io::Result<()> {
    set_option(socket, (libc::SOL_SOCKET, libc::SO_BINDTODEVICE), interface.as_bytes())
}

/// Has packets of a socket go by way of `segment` (segment routing, RFC 8754).
///
/// # Errors
/// EINVAL where the kernel has none.
pub fn by_way_of(socket: &UdpSocket, segment: Ipv6Addr) -> io::Result<()> {
    // Next header, length, type 4, segments left, last entry, flags and tag. The kernel finds the route to the first address, and
    // writes the last hop there.
    let head = [0, 4, 4, 1, 1, 0, 0, 0];
    let segments = [segment.octets(); 2].concat();
    set_option(socket, (libc::IPPROTO_IPV6, libc::IPV6_RTHDR), &[&head[..], &segments].concat())
}

fn set_option(socket: &impl AsRawFd, (level, option): (i32, i32), value: &[u8]) -> io::Result<()> {
    let (size, value) = (value.len() as libc::socklen_t, value.as_ptr());
    // SAFETY: an open socket, and a value with its length.
    sys::errno(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value.cast(), size) })
        .map(drop)
}

fn bind(socket: &impl AsRawFd, address: SocketAddr) -> io::Result<()> {
    let mut bytes = Vec::new();
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(address) => {
            bytes.extend((libc::AF_INET as u16).to_ne_bytes());
            bytes.extend(port);
            bytes.extend(address.ip().octets());
            bytes.resize(size_of::<libc::sockaddr_in>(), 0);
        }
        SocketAddr::V6(address) => {
            bytes.extend((libc::AF_INET6 as u16).to_ne_bytes());
            bytes.extend(port);
            bytes.extend([0; 4]);
            bytes.extend(address.ip().octets());
            bytes.resize(size_of::<libc::sockaddr_in6>(), 0);
        }
    }
    let size = bytes.len() as libc::socklen_t;
    // SAFETY: an open socket, and an address of its family as the kernel lays it out, with its length.
    sys::errno(unsafe { libc::bind(socket.as_raw_fd(), bytes.as_ptr().cast(), size) }).map(drop)
}

fn set_up(interface: &str, up: bool) -> io::Result<()> {
    let mut request = request(interface)?;
    ask(libc::SIOCGIFFLAGS, &mut request)?;
    let flag = libc::IFF_UP as libc::c_short;
    // SAFETY: the call above filled the flags.
    let flags = unsafe { &mut request.ifr_ifru.ifru_flags };
    *flags = if up { *flags | flag } else { *flags & !flag };
    ask(libc::SIOCSIFFLAGS, &mut request)
}

fn request(interface: &str) -> io::Result<libc::ifreq> {
    // SAFETY: zeroes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    put(&mut request.ifr_name, interface)?;
    Ok(request)
}

/// A name with a NUL behind it.
fn put(place: &mut [libc::c_char], name: &str) -> io::Result<()> {
    if name.len() >= place.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in place.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(())
}

fn ask(what: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let request = std::ptr::from_mut(request);
    // SAFETY: an open socket and an ifreq of ours with a NUL-terminated name.
    sys::errno(unsafe { libc::ioctl(socket.as_raw_fd(), what as _, request) }).map(drop)
}
