//! What makes one event of each attach type.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink as link;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use skep_kernel::program::LoadKind;
use skep_kernel::{Program, netns};

use super::stage::{Event, Stage};

/// `BPF_PROG_TYPE_SYSCALL`.
const SYSCALL: u32 = 31;
const V4: &str = "127.0.0.1:0";
const V6: &str = "[::1]:0";

pub fn rename(_: &Stage) -> Event {
    Box::new(|| {
        let name = OpenOptions::new().write(true).open("/proc/thread-self/comm");
        name.and_then(|mut name| name.write_all(b"renamed")).expect("a new name");
    })
}

pub fn seek(_: &Stage) -> Event {
    let mut file = File::open("/dev/null").expect("/dev/null");
    Box::new(move || assert_eq!(file.seek(SeekFrom::Start(7)).expect("a seek"), 0))
}

pub fn symlink(_: &Stage) -> Event {
    let folder = tempfile::tempdir().expect("a folder");
    let next = AtomicU64::new(0);
    Box::new(move || {
        let name = next.fetch_add(1, Ordering::Relaxed).to_string();
        link("nowhere", folder.path().join(name)).expect("a symbolic link");
    })
}

/// Passes one after the other of the three places of a probe.
pub fn probe(stage: &Stage) -> Event {
    let mut program = stage.probed.start();
    let mut places = b"rmc".iter().cycle();
    Box::new(move || {
        let place = *places.next().unwrap_or(&b'r');
        assert_eq!(program.pass(place), place, "what it passed");
    })
}

/// Runs the newest generation's program, as `skep prog run` does.
pub fn run(stage: &Stage) -> Event {
    let pins = stage.pins.clone();
    Box::new(move || {
        let pin = (1..10).rev().map(|n| pins.program(n, "on_event")).find(|pin| pin.exists());
        let kind = LoadKind { prog_type: SYSCALL, ..LoadKind::default() };
        let program = pin.and_then(|pin| Program::open_pinned(&pin, kind).ok());
        program.map(|program| program.test_run(&[], 1).expect("a run"));
    })
}

/// Memory that nobody has touched yet, and of which only the allocator's own word is written.
pub fn fault(_: &Stage) -> Event {
    Box::new(|| drop(std::hint::black_box(vec![0_u8; 8 << 20])))
}

/// Reads what an iterator's link gives.
pub fn read_link(stage: &Stage) -> Event {
    let pin = stage.pins.link("on_event");
    Box::new(move || drop(fs::read(&pin).expect("the iterator's link")))
}

pub fn packet(_: &Stage) -> Event {
    datagram(V4)
}

pub fn packet6(_: &Stage) -> Event {
    datagram(V6)
}

/// From one socket to another, which reads it.
fn datagram(address: &str) -> Event {
    let (from, to) = (udp(address), udp(address));
    let at = to.local_addr().expect("an address");
    Box::new(move || {
        from.send_to(b"one", at).expect("a packet");
        to.recv_from(&mut [0; 8]).expect("the packet");
    })
}

fn udp(address: &str) -> UdpSocket {
    UdpSocket::bind(address).expect("a socket")
}

pub fn bind4(_: &Stage) -> Event {
    Box::new(|| drop(udp(V4)))
}

pub fn bind6(_: &Stage) -> Event {
    Box::new(|| drop(udp(V6)))
}

pub fn connect4(_: &Stage) -> Event {
    connected(V4, "127.0.0.1:9")
}

pub fn connect6(_: &Stage) -> Event {
    connected(V6, "[::1]:9")
}

fn connected(own: &str, to: &'static str) -> Event {
    let socket = udp(own);
    Box::new(move || socket.connect(to).expect("a peer"))
}

pub fn names4(_: &Stage) -> Event {
    names(V4, "127.0.0.1:9")
}

pub fn names6(_: &Stage) -> Event {
    names(V6, "[::1]:9")
}

/// Asks for the addresses at both ends, once each.
fn names(own: &str, to: &str) -> Event {
    let socket = udp(own);
    socket.connect(to).expect("a peer");
    Box::new(move || {
        socket.peer_addr().expect("its peer's address");
        socket.local_addr().expect("its own address");
    })
}

fn socket_file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    (folder, path)
}

pub fn connect_unix(_: &Stage) -> Event {
    let (folder, path) = socket_file();
    let listener = UnixListener::bind(&path).expect("a listener");
    Box::new(move || {
        let _folder = &folder;
        let stream = UnixStream::connect(&path).expect("a connection");
        drop((stream, listener.accept().expect("its other end")));
    })
}

pub fn datagram_unix(_: &Stage) -> Event {
    let (folder, path) = socket_file();
    let to = UnixDatagram::bind(&path).expect("a socket");
    let from = UnixDatagram::bind(path.with_extension("from")).expect("a socket");
    Box::new(move || {
        let _folder = &folder;
        from.send_to(b"one", &path).expect("a datagram");
        to.recv_from(&mut [0; 8]).expect("the datagram");
    })
}

pub fn names_unix(_: &Stage) -> Event {
    let (folder, path) = socket_file();
    let listener = UnixListener::bind(&path).expect("a listener");
    let stream = UnixStream::connect(&path).expect("a connection");
    Box::new(move || {
        let _folder = &folder;
        stream.peer_addr().expect("its peer's address");
        listener.local_addr().expect("its own address"); // the other end has none
    })
}

/// Reads an option of a socket and sets one.
pub fn options(_: &Stage) -> Event {
    let socket = udp(V4);
    Box::new(move || {
        socket.broadcast().expect("an option");
        socket.set_broadcast(true).expect("an option");
    })
}

/// One read(2): what reads to the end reads twice.
pub fn sysctl(_: &Stage) -> Event {
    Box::new(|| {
        let mut file = File::open("/proc/sys/kernel/ostype").expect("a sysctl");
        assert!(file.read(&mut [0; 64]).expect("its value") > 0);
    })
}

pub fn open_null(_: &Stage) -> Event {
    Box::new(|| drop(File::open("/dev/null").expect("/dev/null")))
}

/// What one socket of a map sends, the other end reads.
pub fn sent(stage: &Stage) -> Event {
    let (mut own, mut other) = pair();
    stage.put(&own);
    Box::new(move || pass(&mut own, &mut other))
}

/// What the other end sends, a socket of a map reads.
pub fn received(stage: &Stage) -> Event {
    let (mut own, mut other) = pair();
    stage.put(&own);
    Box::new(move || pass(&mut other, &mut own))
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(V4).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let one = TcpStream::connect(address).expect("a connection");
    let (other, _) = listener.accept().expect("its other end");
    for end in [&one, &other] {
        end.set_read_timeout(Some(std::time::Duration::from_secs(10))).expect("a deadline");
        end.set_nodelay(true).expect("no delay");
    }
    (one, other)
}

fn pass(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"1").expect("a byte");
    to.read_exact(&mut [0]).expect("the byte");
}

/// A packet by a route of the service's, which leads nowhere.
pub fn routed(_: &Stage) -> Event {
    let socket = udp("0.0.0.0:0");
    Box::new(move || drop(socket.send_to(b"one", "192.0.2.7:9"))) // there is none without the route
}

/// One whose next segment is a route of the service's.
pub fn segmented(_: &Stage) -> Event {
    let socket = udp("[::]:0");
    let segment = "2001:db8::1".parse().expect("an address");
    netns::by_way_of(&socket, segment).expect("segment routing");
    Box::new(move || drop(socket.send_to(b"one", "[::1]:9")))
}

/// One to an address that two sockets share, either of which may get it.
pub fn shared(stage: &Stage) -> Event {
    let (address, own) = (stage.sharing[0].local_addr(), udp(V4));
    let address = address.expect("an address");
    let sockets = stage.sharing.iter().map(|socket| socket.try_clone().expect("a copy"));
    let sockets: Vec<UdpSocket> = sockets.collect();
    for socket in &sockets {
        socket.set_nonblocking(true).expect("no waiting");
    }
    Box::new(move || {
        own.send_to(b"one", address).expect("a packet");
        while !sockets.iter().any(|socket| socket.recv(&mut [0; 8]).is_ok()) {
            std::thread::yield_now();
        }
    })
}

/// A packet out of one of a pair of interfaces.
pub fn out_of_one_end(_: &Stage) -> Event {
    out_of("nk0")
}

/// One out of the other.
pub fn out_of_the_other_end(_: &Stage) -> Event {
    out_of("nk1")
}

fn out_of(interface: &str) -> Event {
    let socket = udp("0.0.0.0:0");
    netns::only_by(&socket, interface).expect("the interface");
    Box::new(move || {
        socket.send_to(b"one", "192.0.2.7:9").expect("a packet");
    })
}

/// Sleeps: whoever runs next is told to the scheduler.
pub fn sleep(_: &Stage) -> Event {
    Box::new(|| std::thread::sleep(std::time::Duration::from_millis(1)))
}

/// A connection whose ends are controlled by the service, where it is there. Who has chosen it as the default keeps it, so that it is
/// chosen anew each time.
pub fn controlled(_: &Stage) -> Event {
    let listener = TcpListener::bind(V4).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let choose = |name: &str| fs::write("/proc/sys/net/ipv4/tcp_congestion_control", name);
    Box::new(move || {
        let _ = choose("skep_test");
        let stream = TcpStream::connect(address).expect("a connection");
        drop((stream, listener.accept().expect("its other end")));
        choose("reno").expect("what every kernel has");
    })
}

pub fn connect_tcp(_: &Stage) -> Event {
    let listener = TcpListener::bind(V4).expect("a listener");
    let address = listener.local_addr().expect("an address");
    Box::new(move || {
        let stream = TcpStream::connect(address).expect("a connection");
        drop((stream, listener.accept().expect("its other end")));
    })
}
