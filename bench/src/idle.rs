//! What skepd holds in memory with one service, idle.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::place::Place;
use crate::row::Row;

/// A daemon of our own with the example installed.
pub fn measure(place: &Place) -> Result<Vec<Row>> {
    place.example("exec")?;
    let layout = place.work("exec.oci");
    skep(place, &["pack".as_ref(), place.work("exec").as_path(), "-o".as_ref(), &layout])?;
    with_skepd(place, |daemon| settled(place, daemon, &layout))
}

/// Beside a daemon of our own, which listens by then.
pub fn with_skepd<T>(place: &Place, work: impl FnOnce(&Child) -> Result<T>) -> Result<T> {
    let pins = Path::new("/sys/fs/bpf").join(format!("skep-bench-{}", std::process::id()));
    let mut daemon = Command::new(place.ours("skepd"))
        .arg("--config-dir")
        .arg(place.work("config"))
        .arg("--state-dir")
        .arg(place.work("state"))
        .arg("--bpffs-dir")
        .arg(&pins)
        .arg("--socket")
        .arg(place.work("skepd.sock"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start skepd")?;
    let done = listens(place, &mut daemon).and_then(|()| work(&daemon));
    Command::new("kill").args(["-TERM", &daemon.id().to_string()]).status().context("run kill")?;
    daemon.wait()?;
    drop(std::fs::remove_dir_all(&pins));
    done
}

fn listens(place: &Place, daemon: &mut Child) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::os::unix::net::UnixStream::connect(place.work("skepd.sock")).is_err() {
        if daemon.try_wait()?.is_some() || Instant::now() > deadline {
            bail!("skepd did not come up");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn settled(place: &Place, daemon: &Child, layout: &Path) -> Result<Vec<Row>> {
    skep(place, &["install".as_ref(), layout, "--allow-unsigned".as_ref()])?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id()))?;
    let megabytes = |key: &str| -> Result<f64> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .with_context(|| format!("no {key}"))?;
        let kib = line.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
        Ok(kib.with_context(|| format!("{key}{line}"))? * 1024.0 / 1e6)
    };
    drop(skep(place, &["remove".as_ref(), "exec".as_ref()]));
    Ok(vec![
        Row::figure("skepd with one service, RssAnon, MB", megabytes("RssAnon:")?)
            .goal("≤ 8 MB", |row| row.ours.is_some_and(|size| size <= 8.0)),
        Row::figure("skepd with one service, VmHWM, MB", megabytes("VmHWM:")?),
    ])
}

fn skep(place: &Place, args: &[&Path]) -> Result<()> {
    let output = Command::new(place.ours("skep"))
        .args(args)
        .env("SKEP_SOCKET", place.work("skepd.sock"))
        .output()?;
    ensure!(output.status.success(), "skep {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
