//! What a hundred services cost: to install, to take up again, to list, to ask for, to keep.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::daemon::Daemon;
use crate::place::Place;
use crate::row::{Row, median};
use crate::travel::{run, skep};

const SERVICES: u16 = 100;
/// Questions over one connection.
const QUESTIONS: u32 = 20_000;
/// Runs of `skep list`.
const LISTS: usize = 51;
/// How long nobody asks anything.
const QUIET: Duration = Duration::from_secs(20);

/// What `skep.toml` says of the object.
const PACKAGE: &str = r#"spec = "1.0"
[package]
name = "bench/quiet"
version = "1.0.0"
license = "GPL-2.0-only OR BSD-2-Clause"
[object.quiet]
file = { x86_64 = "quiet.o" }
[program.quiet]
function = "quiet"
[output.made]
kind = "event"
map = "made"
struct = "made"
[permissions]
hooks = ["raw_tp"]
helpers = ["*"]
map-memory = "1MiB"
"#;

/// One daemon, with one service and with a hundred.
pub fn measure(place: &Place) -> Result<Vec<Row>> {
    let layout = packed(place)?;
    let mut daemon = Daemon::start(place, "hundred")?;
    install(&daemon, &layout, 0)?;
    let mut rows = vec![listed(&daemon, 1)?];
    let clock = Instant::now();
    for number in 1..=SERVICES {
        install(&daemon, &layout, number)?;
    }
    let took = clock.elapsed().as_secs_f64();
    daemon.skep(&["remove", "quiet-0"])?;
    rows.push(
        Row::figure("install 100 services from a layout, s", took).goal("≤ 10 s", at_most(10.0)),
    );
    rows.push(listed(&daemon, SERVICES)?);
    rows.push(asked(&daemon)?);
    let memory = daemon.megabytes("RssAnon:")?;
    let row = Row::figure("skepd with 100 services, RssAnon, MB", memory);
    rows.push(row.goal("≤ 8 MB + 0.15 MB each", at_most(23.0)));
    rows.push(kept(&daemon)?);
    rows.push(taken_up(&mut daemon)?);
    for number in 1..=SERVICES {
        daemon.skep(&["remove", &format!("quiet-{number}")])?;
    }
    Ok(rows)
}

fn at_most(most: f64) -> impl Fn(&Row) -> bool {
    move |row| row.ours.is_some_and(|figure| figure <= most)
}

fn packed(place: &Place) -> Result<String> {
    let (project, layout) = (place.work("quiet"), place.work("quiet.oci"));
    std::fs::create_dir(&project)?;
    std::fs::write(project.join("skep.toml"), PACKAGE)?;
    std::fs::copy(place.object("quiet")?, project.join("quiet.o"))?;
    run(skep(place).arg("pack").arg(&project).arg("-o").arg(&layout))?;
    layout.to_str().map(str::to_owned).context("a path that is not UTF-8")
}

fn install(daemon: &Daemon<'_>, layout: &str, number: u16) -> Result<()> {
    let name = format!("quiet-{number}");
    daemon.skep(&["install", layout, "--allow-unsigned", "--as", &name]).map(drop)
}

/// From exec to exit.
fn listed(daemon: &Daemon<'_>, services: u16) -> Result<Row> {
    let mut samples = Vec::new();
    for _ in 0..LISTS {
        let clock = Instant::now();
        daemon.skep(&["list"])?;
        samples.push(clock.elapsed().as_secs_f64() * 1e3);
    }
    let row = Row::figure(&format!("skep list of {services}, ms"), median(&samples));
    Ok(row.goal("≤ 8 ms", at_most(8.0)))
}

/// Reads over one connection that stays, by what skepd's threads ran for them.
fn asked(daemon: &Daemon<'_>) -> Result<Row> {
    let mut connection = BufReader::new(daemon.connect().context("connect")?);
    let before = daemon.seconds()?;
    for _ in 0..QUESTIONS {
        ask(&mut connection, "/v1/services/quiet-1")?;
    }
    let ran = daemon.seconds()? - before;
    let name = "reads of a service of 100 over the API for each second of a processor, thousands";
    let row = Row::figure(name, f64::from(QUESTIONS) / ran / 1e3);
    Ok(row.goal("≥ 20", |row| row.ours.is_some_and(|speed| speed >= 20.0)))
}

fn ask(connection: &mut BufReader<UnixStream>, path: &str) -> Result<Vec<u8>> {
    write!(connection.get_mut(), "GET {path} HTTP/1.1\r\nHost: skepd\r\n\r\n")?;
    let (mut line, mut length) = (String::new(), 0);
    connection.read_line(&mut line)?;
    ensure!(line.contains(" 200 "), "{path}: {line}");
    while line != "\r\n" {
        line.clear();
        ensure!(connection.read_line(&mut line)? > 0, "{path}: the answer broke off");
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok(body)
}

/// What skepd runs while nobody asks it anything and no event comes.
fn kept(daemon: &Daemon<'_>) -> Result<Row> {
    let before = daemon.seconds()?;
    std::thread::sleep(QUIET); // no event ends it: what is measured is that nothing happens
    let share = (daemon.seconds()? - before) / QUIET.as_secs_f64() * 100.0;
    let row = Row::figure("skepd with 100 services, idle, % of a processor", share);
    Ok(row.goal("≤ 0.1 %", at_most(0.1)))
}

/// From the exec of skepd until it says that all of them run.
fn taken_up(daemon: &mut Daemon<'_>) -> Result<Row> {
    let mut samples = Vec::new();
    for _ in 0..5 {
        daemon.again()?;
        let clock = Instant::now();
        daemon.until(|daemon| {
            let mut connection = BufReader::new(daemon.connect().ok()?);
            let body = ask(&mut connection, "/v1/services").ok()?;
            let list: Vec<serde_json::Value> = serde_json::from_slice(&body).ok()?;
            let running = list.iter().filter(|one| one["state"] == "running").count();
            (running == usize::from(SERVICES)).then_some(())
        })?;
        samples.push(clock.elapsed().as_secs_f64());
    }
    let row = Row::figure("skepd takes up 100 services again, s", median(&samples));
    Ok(row.goal("≤ 1 s", at_most(1.0)))
}
