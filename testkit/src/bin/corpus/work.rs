//! Workloads: a process for each, called `corpus`, that makes its events again and again until it is killed.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(20);
/// How many huge pages the kernel keeps.
const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";
/// The line that says that the stage is set.
const READY: &str = "ready";

/// A workload that runs; dropped, it is over.
pub struct Work(Child);

impl Work {
    /// Starts one and waits until its stage is set.
    pub fn start(name: &str, folder: &Path) -> Result<Self> {
        let mut command = itself(name)?;
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut work = Self(command.spawn().context("start a workload")?);
        let stdout = work.0.stdout.take().context("no output of the workload")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("read from the workload")?;
        ensure!(line.trim() == READY, "the workload '{name}' does not start: {}", line.trim());
        Ok(work)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        // A workload that was killed in the middle of it keeps its huge pages, and nobody else has memory then.
        let _ = fs::write(HUGE_PAGES, "0");
    }
}

fn itself(work: &str) -> Result<Command> {
    let mut command =
        Command::new(std::env::current_exe().context("find this program's own path")?);
    command.args(["--work", work]);
    Ok(command)
}

/// Runs a workload until somebody ends it.
pub fn forever(name: &str) -> Result<()> {
    let mut round = match stage(name) {
        Ok(round) => round,
        Err(error) => {
            println!("{error:#}");
            return Err(error);
        }
    };
    println!("{READY}");
    loop {
        round()?;
        thread::sleep(PAUSE);
    }
}

type Round = Box<dyn FnMut() -> Result<()>>;

/// Sets the stage; what is given back makes events once.
fn stage(name: &str) -> Result<Round> {
    Ok(match name {
        "bash" => Box::new(bash),
        "bind" => Box::new(|| {
            UdpSocket::bind("127.0.0.1:0").context("bind")?;
            TcpListener::bind("[::1]:0").map(drop).context("bind")
        }),
        "block" => block()?,
        "exec" => Box::new(|| run(itself("nothing")?)),
        "ext4" => ext4()?,
        "files" => Box::new(|| files(Path::new("/tmp"))),
        "hog" => Box::new(hog),
        "mount" => mounts()?,
        "nothing" => std::process::exit(0),
        "numa" => numa()?,
        "oom" => oom()?,
        "packets" => packets()?,
        "raid" => raid()?,
        "reclaim" => Box::new(reclaim),
        "resolve" => Box::new(|| run(host("usr/bin/getent", &["ahosts", "localhost"])?)),
        "serial" => serial()?,
        "signal" => Box::new(|| {
            let mut child =
                itself("sleep")?.stdout(Stdio::null()).spawn().context("start a child")?;
            child.kill().and_then(|()| child.wait()).map(drop).context("kill the child")
        }),
        "sleep" => sleep(),
        "spin" => spin(),
        "tcp" => tcp()?,
        "usdt" => Box::new(|| run(host("bin/collector", &[])?)),
        name => bail!("there is no workload '{name}'"),
    })
}

fn run(mut command: Command) -> Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().map(drop).with_context(|| format!("run {command:?}"))
}

/// A program of the machine that built the packages, where its loader finds its libraries.
fn host(program: &str, words: &[&str]) -> Result<Command> {
    let root = std::env::current_dir().context("find the folder")?.join("root");
    for folder in ["lib", "lib64"] {
        let to = Path::new("/").join(folder);
        if !to.exists() {
            std::os::unix::fs::symlink(root.join(folder), &to).context("link the libraries")?;
        }
    }
    let mut command = Command::new(root.join(program));
    command.args(words);
    Ok(command)
}

/// An interactive shell reads a line.
fn bash() -> Result<()> {
    let mut command = host("bin/bash", &["--norc", "-i"])?;
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut bash = command.spawn().context("start bash")?;
    bash.stdin
        .take()
        .context("no input of bash")?
        .write_all(b": corpus-line\n")
        .context("write to bash")?;
    bash.wait().map(drop).context("wait for bash")
}

/// Reads and writes a disk past the page cache.
fn block() -> Result<Round> {
    const SIZE: usize = 4096;
    const O_DIRECT: i32 = 0o40000;
    let mut disk = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(O_DIRECT)
        .open("/dev/nullb0")
        .context("open /dev/nullb0")?;
    let mut room = vec![0; 2 * SIZE];
    let start = room.as_ptr().align_offset(SIZE);
    let mut at = 0;
    Ok(Box::new(move || {
        at = (at + 3 * SIZE as u64) % (1 << 20);
        let page = &mut room[start..start + SIZE];
        disk.seek(std::io::SeekFrom::Start(at))?;
        disk.write_all(page).context("write")?;
        disk.read_exact(page).context("read")
    }))
}

/// A disk in memory with a file system that the packages bring.
fn ext4() -> Result<Round> {
    const DISK: &str = "/dev/ram0";
    let place = Path::new("/tmp/corpus-ext4");
    if fs::create_dir(place).is_ok() {
        let image = fs::read("ext4.img").context("read the image")?;
        fs::write(DISK, image).context("write the image")?;
        mount(DISK, place, "ext4", MountFlags::empty(), None).context("mount ext4")?;
    }
    Ok(Box::new(move || {
        files(place)?;
        let file = place.join("corpus-large");
        fs::write(&file, vec![1; 1 << 20]).context("write a large file")?;
        File::open(&file).and_then(|file| file.sync_all()).context("write it out")?;
        fs::write("/proc/sys/vm/drop_caches", "1").context("drop caches")?;
        fs::read(&file).map(drop).context("read a large file")
    }))
}

/// All that people do with a file.
fn files(folder: &Path) -> Result<()> {
    let path = folder.join("corpus-file");
    let mut file = File::create(&path).context("create a file")?;
    file.write_all(b"corpus").and_then(|()| file.sync_all()).context("write a file")?;
    fs::metadata(&path).context("statx")?;
    rustix::fs::stat(&path).context("stat")?;
    rustix::fs::statfs(&path).context("statfs")?;
    fs::read(&path).context("read a file")?;
    fs::remove_file(&path).context("remove a file")
}

/// Takes more memory than it may have.
fn hog() -> Result<()> {
    fs::write("/sys/fs/cgroup/corpus/cgroup.procs", std::process::id().to_string())
        .context("go into a cgroup")?;
    let mut all = Vec::new();
    loop {
        all.push(vec![1_u8; 1 << 20]);
    }
}

fn oom() -> Result<Round> {
    let root = Path::new("/sys/fs/cgroup");
    fs::write(root.join("cgroup.subtree_control"), "+memory")
        .context("let cgroups limit memory")?;
    let own = root.join("corpus");
    fs::create_dir_all(&own).context("make a cgroup")?;
    fs::write(own.join("memory.max"), "16M").context("limit its memory")?;
    Ok(Box::new(|| run(itself("hog")?)))
}

/// Memory of another node than the processor's, which the kernel brings nearer when it is used: of two nodes that the kernel was told
/// to make of one.
fn numa() -> Result<Round> {
    const SIZE: usize = 64 << 20;
    let root = Path::new("/sys/fs/cgroup");
    fs::write(root.join("cgroup.subtree_control"), "+cpuset")
        .context("let cgroups choose memory")?;
    let own = root.join("corpus-numa");
    fs::create_dir_all(&own).context("make a cgroup")?;
    fs::write(own.join("cpuset.mems"), "1").context("choose the second node")?;
    fs::write(own.join("cgroup.procs"), std::process::id().to_string())
        .context("go into a cgroup")?;
    let mut memory = vec![1_u8; SIZE];
    fs::write(own.join("cpuset.mems"), "0-1").context("choose both nodes")?;
    Ok(Box::new(move || {
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = byte.wrapping_add(1));
        Ok(())
    }))
}

/// A mirror of two disks in memory, made as mdadm would, of which each write is flushed.
fn raid() -> Result<Round> {
    let (module, disk) =
        (Path::new("/sys/module/md_mod/parameters"), Path::new("/sys/block/md_corpus"));
    if !disk.exists() {
        fs::write(module.join("new_array"), "md_corpus").context("make an array")?;
        let set = |name: &str, value: &str| {
            fs::write(disk.join("md").join(name), value).with_context(|| format!("set {name}"))
        };
        for (name, value) in [("metadata_version", "none"), ("level", "raid1"), ("raid_disks", "2")]
        {
            set(name, value)?;
        }
        for (slot, device) in ["1:1", "1:2"].into_iter().enumerate() {
            set("new_dev", device)?;
            set(&format!("dev-ram{}/slot", slot + 1), &slot.to_string())?;
        }
        set("component_size", "8192")?; // KiB of each disk
        set("array_state", "active")?;
    }
    let number = fs::read_to_string(disk.join("dev")).context("read its number")?;
    let mut file = node(number.trim())?;
    Ok(Box::new(move || {
        file.seek(std::io::SeekFrom::Start(0)).context("seek")?;
        file.write_all(&[1; 4096]).and_then(|()| file.sync_all()).context("write")
    }))
}

/// The disk of a number, whatever it is called in `/dev`.
fn node(number: &str) -> Result<File> {
    let folder = fs::read_dir("/dev").context("read /dev")?;
    let name = fs::canonicalize(format!("/sys/dev/block/{number}")).context("find the disk")?;
    let name = name.file_name().context("a disk without a name")?.to_owned();
    let path =
        folder.flatten().map(|entry| entry.path()).find(|path| path.file_name() == Some(&name));
    let path = path.with_context(|| format!("no {} in /dev", name.display()))?;
    OpenOptions::new().write(true).open(&path).with_context(|| format!("open {}", path.display()))
}

fn mounts() -> Result<Round> {
    let place = Path::new("/tmp/corpus-mount");
    fs::create_dir_all(place).context("make a folder")?;
    Ok(Box::new(move || {
        mount("corpus", place, "tmpfs", MountFlags::empty(), None).context("mount")?;
        unmount(place, UnmountFlags::empty()).context("unmount")
    }))
}

/// Packets of each kind through `lo`.
fn packets() -> Result<Round> {
    let mut tcp = tcp()?;
    let socket = UdpSocket::bind("127.0.0.1:0").context("bind")?;
    let to = socket.local_addr().context("ask for the address")?;
    Ok(Box::new(move || {
        socket.send_to(b"corpus", to).context("send")?;
        tcp()
    }))
}

/// More huge pages than there is memory for.
fn reclaim() -> Result<()> {
    fs::write("/tmp/corpus-ballast", vec![0; 32 << 20]).context("fill memory")?;
    fs::write(HUGE_PAGES, "4000")
        .and_then(|()| fs::write(HUGE_PAGES, "0"))
        .context("ask for huge pages")
}

/// A line that no processor waits for: each part that goes out interrupts it.
fn serial() -> Result<Round> {
    let mut port =
        OpenOptions::new().write(true).open("/dev/ttyS0").context("open the serial port")?;
    Ok(Box::new(move || port.write_all(b"corpus\n").context("write to the serial port")))
}

/// Tasks that wake each other, and one that never sleeps.
fn sleep() -> Round {
    thread::spawn(|| {
        loop {
            std::hint::spin_loop();
        }
    });
    for _ in 0..2 {
        thread::spawn(|| {
            loop {
                thread::sleep(Duration::from_millis(2));
            }
        });
    }
    Box::new(|| Ok(()))
}

fn spin() -> Round {
    Box::new(|| {
        (0..1_000_000).for_each(|_| std::hint::spin_loop());
        Ok(())
    })
}

/// Connections over IPv4 and IPv6, each with a word in both directions.
fn tcp() -> Result<Round> {
    Ok(Box::new(|| {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).context("listen")?;
            let to = listener.local_addr().context("ask for the address")?;
            let mut client = TcpStream::connect(to).context("connect")?;
            let (mut server, _) = listener.accept().context("accept")?;
            let mut room = [0; 6];
            client
                .write_all(b"corpus")
                .and_then(|()| server.read_exact(&mut room))
                .context("send")?;
            server
                .write_all(b"corpus")
                .and_then(|()| client.read_exact(&mut room))
                .context("answer")?;
        }
        Ok(())
    }))
}
