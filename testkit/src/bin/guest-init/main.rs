//! The init of a guest: mounts, loads modules, runs the command with its output on the second serial port, powers off.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is the guest's")]

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot, sethostname};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use skep_kit::guest;

/// What is mounted where; those that a kernel lacks are left out.
const MOUNTS: [(&str, &str); 12] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/dev/shm"),
    ("bpf", "/sys/fs/bpf"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("debugfs", "/sys/kernel/debug"),
    ("tracefs", "/sys/kernel/tracing"),
    ("securityfs", "/sys/kernel/security"),
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/var"),
];

fn main() {
    if let Err(error) = work() {
        say(&format!("guest-init: {error:#}"));
    }
    // Nothing is left to do if this is refused: the kernel panics when init ends, and the guest is over.
    let _ = reboot(RebootCommand::PowerOff);
}

fn work() -> Result<()> {
    for (kind, path) in MOUNTS {
        let _ = fs::create_dir_all(path);
        if let Err(error) = mount(kind, path, kind, MountFlags::empty(), None) {
            say(&format!("guest-init: no {kind} at {path}: {error}"));
        }
    }
    for folder in ["/var/lib", "/var/tmp", "/etc"] {
        fs::create_dir_all(folder).with_context(|| format!("make {folder}"))?;
    }
    // Maps are given to groups by name.
    fs::write("/etc/group", "root:x:0:\ndaemon:x:1:\n").context("write /etc/group")?;
    let _ = sethostname(b"guest");
    load_modules()?;
    skep_kernel::netns::up("lo").context("bring lo up")?;
    let mut port = port()?;
    say(guest::STARTED);
    writeln!(port, "{}", guest::STARTED)?;
    let status = run(&port).unwrap_or_else(|error| {
        say(&format!("guest-init: {error:#}"));
        127
    });
    writeln!(port, "\n{}", guest::ended(status))?;
    rustix::termios::tcdrain(&port).context("wait for the serial port")
}

fn load_modules() -> Result<()> {
    let list =
        fs::read_to_string(format!("/{}", guest::MODULES)).context("read the module list")?;
    for path in list.lines() {
        let file = File::open(path).with_context(|| format!("open {path}"))?;
        if let Err(error) = finit_module(&file, c"", 0)
            && error != rustix::io::Errno::EXIST
        {
            say(&format!("guest-init: {path} does not load: {error}"));
        }
    }
    Ok(())
}

/// The second serial port, which changes no byte.
fn port() -> Result<File> {
    let port = OpenOptions::new().read(true).write(true).open("/dev/ttyS1");
    let port = port.context("open the second serial port")?;
    let mut attributes = tcgetattr(&port)?;
    attributes.make_raw();
    tcsetattr(&port, OptionalActions::Now, &attributes)?;
    Ok(port)
}

fn run(port: &File) -> Result<i32> {
    let words = fs::read_to_string(format!("/{}", guest::COMMAND)).context("read the command")?;
    let mut words = words.lines();
    let program = words.next().context("no command")?;
    let status = Command::new(program)
        .args(words)
        .env("PATH", "/bin")
        .env("HOME", "/root")
        .env("TMPDIR", "/tmp")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(port.try_clone()?)
        .stderr(port.try_clone()?)
        .status()
        .with_context(|| format!("run {program}"))?;
    use std::os::unix::process::ExitStatusExt as _;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

/// A line on the console.
fn say(text: &str) {
    let device = OpenOptions::new().write(true).open("/dev/kmsg");
    let _ = device.and_then(|mut device| writeln!(device, "<0>{text}"));
}
