//! One guest's QEMU: started, watched, ended.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Guest, GuestError, Outcome, STARTED, file, splat};

const PROGRAM: &str = "qemu-system-x86_64";
/// Boots that die before the command begins are tried again so often.
const RETRIES: u32 = 2;
/// How often its output is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Boots until the command began, at most three times.
pub fn boot(guest: &Guest, initramfs: &Path, output: &Path) -> Result<Outcome, GuestError> {
    let mut retries = 0;
    loop {
        let (boot, run) = once(guest, initramfs, output)?;
        let console = read(&guest.console)?;
        if let Some(boot) = boot {
            let (output, status) = parse(&read(output)?);
            let splats = splat::find(&console, STARTED);
            return Ok(Outcome { status, output, splats, retries, boot, run });
        }
        if retries == RETRIES {
            let lines: Vec<&str> = console.lines().collect();
            let tail = lines[lines.len().saturating_sub(15)..].join("\n");
            let release = guest.kernel.release.clone();
            return Err(GuestError::NeverStarted { release, tries: retries + 1, tail });
        }
        retries += 1;
    }
}

/// One try: how long until the command began, if it did, and from there to the end.
fn once(
    guest: &Guest,
    initramfs: &Path,
    output: &Path,
) -> Result<(Option<Duration>, Duration), GuestError> {
    for path in [output, &guest.console] {
        fs::write(path, "").map_err(|source| file("write", path, source))?;
    }
    let clock = Instant::now();
    let child = command(guest, initramfs, output).spawn();
    let child = child.map_err(|source| GuestError::Qemu { program: PROGRAM, source })?;
    let mut qemu = Qemu(child);
    let mut boot = None;
    loop {
        let over = qemu.is_over() || clock.elapsed() > guest.limit;
        if boot.is_none() && read(output)?.contains(STARTED) {
            boot = Some(clock.elapsed());
        }
        if over {
            return Ok((boot, clock.elapsed() - boot.unwrap_or_default()));
        }
        thread::sleep(LOOK);
    }
}

fn command(guest: &Guest, initramfs: &Path, output: &Path) -> Command {
    let serial = |path: &Path| format!("file:{}", path.display());
    let line = format!(
        "console=ttyS0 loglevel=5 panic=-1 mitigations=off random.trust_cpu=on lsm=capability,bpf {}",
        guest.append
    );
    // Nobody else would end it if we were killed.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", PROGRAM])
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-no-reboot"])
        .args(["-m", &guest.memory.to_string(), "-smp", &guest.cpus.to_string()])
        .arg("-kernel")
        .arg(&guest.kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-serial", &serial(&guest.console), "-serial", &serial(output), "-append", &line])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Ends with us.
struct Qemu(Child);

impl Qemu {
    fn is_over(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(path: &Path) -> Result<String, GuestError> {
    let bytes = fs::read(path).map_err(|source| file("read", path, source))?;
    Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
}

/// What the command printed, and its status if it ended.
fn parse(printed: &str) -> (String, Option<i32>) {
    let text = printed.split_once(STARTED).map_or("", |(_, text)| text.trim_start_matches('\n'));
    let Some((output, end)) = text.rsplit_once("@@ENDED ") else { return (text.to_owned(), None) };
    let status = end.split_once("@@").and_then(|(status, _)| status.parse().ok());
    (output.to_owned(), status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_lie_between_the_marks() {
        let printed = format!("noise\n{STARTED}\none\ntwo\n{}\n", super::super::ended(3));
        assert_eq!(parse(&printed), ("one\ntwo\n".to_owned(), Some(3)));
        assert_eq!(parse(&format!("{STARTED}\nhalf")), ("half".to_owned(), None));
        assert_eq!(parse("nothing"), (String::new(), None));
    }
}
