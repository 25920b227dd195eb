//! Requests to the kernel's routing netlink (rtnetlink(7)): one at a time, each with its answer.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::sys;

/// A request that is being written: a header, its family's struct, attributes.
pub(crate) struct Message(Vec<u8>);

/// Says of an attribute that others are in it.
const NESTED: u16 = 0x8000;
/// Everything in a message begins at a multiple of so many bytes.
const ALIGN: usize = 4;
const HEADER: usize = size_of::<libc::nlmsghdr>();
/// The kernel's messages fit into this, unless a reader offers more (NLMSG_GOODSIZE and dumps: 32 KiB).
const BUFFER: usize = 32 << 10;

impl Message {
    /// A request of this type (`RTM_*`) with the struct of its family.
    pub(crate) fn new(kind: u16, flags: i32, family: &[u8]) -> Self {
        let flags = (libc::NLM_F_REQUEST | flags) as u16;
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        let mut message = Self(bytes);
        message.put(family);
        message
    }

    /// The struct of a family, in an attribute.
    pub(crate) fn head(&mut self, family: &[u8]) -> &mut Self {
        self.put(family)
    }

    /// Bytes, and zeros up to where the next thing may begin.
    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
        self
    }

    /// An attribute.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = (ALIGN + value.len()) as u16;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.put(value)
    }

    /// An attribute of 32 bits.
    pub(crate) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// An attribute of text, with a NUL behind it.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// An attribute that holds what `fill` writes.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.0.len();
        self.attribute(kind | NESTED, &[]);
        fill(self);
        let length = ((self.0.len() - start) as u16).to_ne_bytes();
        self.0[start..start + 2].copy_from_slice(&length);
        self
    }

    /// What is behind its header.
    #[cfg(test)]
    pub(crate) fn contents(&self) -> &[u8] {
        self.0.get(HEADER..).unwrap_or_default()
    }

    /// Sends it, and waits until it is done.
    pub(crate) fn done(mut self) -> io::Result<()> {
        let flags = self.flags() | libc::NLM_F_ACK as u16;
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.asked(|_, _| ()).map(drop)
    }

    /// Sends it, and gives `each` the type and the contents of every message of the answer.
    pub(crate) fn asked(mut self, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        let length = (self.0.len() as u32).to_ne_bytes();
        self.0[..4].copy_from_slice(&length);
        let socket = Socket::open()?;
        socket.send(&self.0)?;
        let is_dump = self.flags() & libc::NLM_F_DUMP as u16 == libc::NLM_F_DUMP as u16;
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = socket.receive(&mut buffer)?;
            let mut rest = buffer.get(..count).unwrap_or_default();
            while let Some((kind, contents, behind)) = next_message(rest) {
                rest = behind;
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => return result_of(contents),
                    libc::NLMSG_NOOP => {}
                    _ => each(kind, contents),
                }
            }
            let wants_ack = self.flags() & libc::NLM_F_ACK as u16 != 0;
            if !is_dump && !wants_ack {
                return Ok(());
            }
        }
    }

    fn flags(&self) -> u16 {
        u16_at(&self.0, 6)
    }
}

/// What an answer says came of a request.
fn result_of(contents: &[u8]) -> io::Result<()> {
    match contents.first_chunk().map(|errno| i32::from_ne_bytes(*errno)) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
        None => Err(io::Error::from_raw_os_error(libc::EPROTO)),
    }
}

/// The type and the contents of the first message, and what is behind it.
fn next_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let contents = bytes.get(HEADER..length)?;
    let behind = bytes.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
    Some((u16_at(bytes, 4), contents, behind))
}

/// The attributes in `bytes`, by their types.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let value = bytes.get(ALIGN..length)?;
        let kind = u16_at(bytes, 2) & !NESTED;
        bytes = bytes.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The attribute of a type.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(of, _)| *of == kind).map(|(_, value)| value)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let two = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    two.map_or(0, |two| u16::from_ne_bytes(*two))
}

/// A socket of the calling thread's network namespace.
struct Socket(OwnedFd);

impl Socket {
    fn open() -> io::Result<Self> {
        // SAFETY: plain integers.
        let fd = sys::errno(unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
        })?;
        // SAFETY: socket(2) made this fd for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn send(&self, message: &[u8]) -> io::Result<()> {
        // SAFETY: an open socket, and bytes with their length.
        let sent =
            unsafe { libc::send(self.0.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: an open socket, and room of that length.
        let count =
            unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let mut message = Message::new(16, 0, &[0; 16]);
        message.number(3, 7).nest(5, |message| {
            message.text(1, "lo").number(2, 9);
        });
        let rest = &message.0[HEADER + 16..];
        assert_eq!(attribute(rest, 3), Some(&7_u32.to_ne_bytes()[..]));
        let inner = attribute(rest, 5).unwrap();
        assert_eq!(attribute(inner, 1), Some(&b"lo\0"[..]));
        assert_eq!(attribute(inner, 2), Some(&9_u32.to_ne_bytes()[..]));
        assert_eq!(attribute(inner, 3), None);
        assert_eq!(attributes(&[4, 0, 0]).count(), 0, "cut off");
        assert_eq!(attributes(&[9, 0, 1, 0, 0, 0, 0, 0]).count(), 0, "longer than what is there");
    }

    #[test]
    fn the_loopback_is_listed() {
        let mut found = Vec::new();
        let request =
            Message::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &[0; size_of::<[u32; 4]>()]);
        request
            .asked(|_, link| {
                let name = attribute(link.get(16..).unwrap_or_default(), libc::IFLA_IFNAME);
                found.extend(name.map(<[u8]>::to_vec));
            })
            .unwrap();
        assert!(found.contains(&b"lo\0".to_vec()), "{found:?}");
    }

    #[test]
    fn what_the_kernel_refuses_has_its_errno() {
        let mut link = [0; 16];
        link[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
        let refused = Message::new(libc::RTM_DELLINK, 0, &link).done().unwrap_err();
        assert!(matches!(refused.raw_os_error(), Some(libc::ENODEV | libc::EPERM)), "{refused}");
    }
}
