//! `skepd --ephemeral`: one package or object, for as long as this process lives. `skep run` becomes this process.
//!
//! Prints events itself, so that no byte is copied twice.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use skep_adapt::{Change, Pass};
use skep_api::{EVENT_TAIL, ErrorBody, Metric, MetricRow, Mode, Rows, Run, csv_line, event_head};
use skep_kernel::ring::Waker;
use skep_object::{shown, shown_json, shown_lines};
use skep_runtime::RuntimeError;
use skep_runtime::ephemeral::{Options, Record, Session, run};
use skep_spec::manifest::OutputKind;
use skep_spec::{Digest, Target};
use skep_trust::{Package, Verified};

use crate::counters::metric;
use crate::ending::stopped;
use crate::selection::{Selection, View};

/// Most bytes of the objects of one run.
const MOST: usize = 128 << 20;
/// Records that are taken between two looks at the clock.
const BATCH: usize = 16 * 1024;
/// Bytes of lines that are written at once.
const OUT: usize = 64 << 10;
/// One wait; a signal ends it earlier.
const WAIT: Duration = Duration::from_secs(1);

/// The exit status of `skep` for what needs more rights.
const NO_PERMISSION: u8 = 3;
// include/uapi/linux/capability.h
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;

/// Most rows of a metric that people are shown.
const ROWS: usize = 20;

/// A metric, for programs: its rows under the name of what it is.
fn metric_line(metric: &Metric) -> serde_json::Result<String> {
    let rows = metric.rows.iter().map(|row| MetricRow { cells: Vec::new(), ..row.clone() });
    let rows: Vec<MetricRow> = rows.collect();
    let kind = match metric.kind {
        OutputKind::Histogram => "histogram",
        OutputKind::Snapshot => "snapshot",
        OutputKind::Stacks => "stacks",
        _ => "counter",
    };
    let (output, rows) = (Value::from(metric.output.as_str()), serde_json::to_string(&rows)?);
    Ok(format!(r#"{{"output":{output},"{kind}":{rows},"more":{}}}"#, metric.more))
}

/// This process may not load programs; the kernel's own answer would be a bare EPERM.
#[derive(Debug, thiserror::Error)]
#[error(
    "no permission to load programs into the kernel: that takes root, or CAP_BPF and CAP_PERFMON"
)]
struct NoPermission;

/// Reads a [`Run`] from the standard input and runs it until Ctrl-C or its limits. Objects are made to fit the kernel types in
/// `btf`, if there are some.
#[must_use]
pub fn serve_standard_input(btf: Option<PathBuf>) -> ExitCode {
    let mut is_json = false;
    let done = request().and_then(|(request, package)| {
        is_json = request.mode.is_json();
        follow(&request, &package, btf)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match is_json {
                true => say_json(&error),
                false => explain(&error),
            }
            match error.downcast_ref::<NoPermission>() {
                Some(_) => ExitCode::from(NO_PERMISSION),
                None => ExitCode::FAILURE,
            }
        }
    }
}

/// As `skep` says it for programs.
fn say_json(error: &anyhow::Error) {
    let of_runtime = error.downcast_ref::<RuntimeError>();
    let code = match error.downcast_ref::<NoPermission>() {
        Some(_) => "not-root",
        None => of_runtime.map_or("failed", RuntimeError::code),
    };
    let body = ErrorBody {
        code: code.to_owned(),
        standard: None,
        message: error.to_string(),
        causes: error.chain().skip(1).map(ToString::to_string).collect(),
        hint: hint(error).map(str::to_owned),
    };
    let _ = writeln!(io::stderr(), "{}", shown_json(&body.line()));
}

fn explain(error: &anyhow::Error) {
    say(&format!("error: {}", error.to_string().replace('\n', "\n  ")));
    for cause in error.chain().skip(1) {
        say(&format!("  because {}", cause.to_string().replace('\n', "\n          ")));
    }
    if let Some(hint) = hint(error) {
        say(&format!("hint: {hint}"));
    }
}

fn hint(error: &anyhow::Error) -> Option<&str> {
    match error.downcast_ref::<NoPermission>() {
        Some(_) => Some("run it as root, with sudo for instance"),
        None => error.downcast_ref::<RuntimeError>().and_then(RuntimeError::hint),
    }
}

/// Something beside the events, which may name what a stranger named; a closed standard error is no reason to fail.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", shown_lines(text));
}

fn request() -> Result<(Run, Verified<Package>)> {
    let mut input = BufReader::new(io::stdin());
    let mut line = String::new();
    (&mut input).take(4 << 20).read_line(&mut line).context("read what to run")?;
    let request: Run =
        serde_json::from_str(&line).context("skepd --ephemeral is started by skep run")?;
    let mut objects = BTreeMap::new();
    let mut room = MOST;
    for (name, size) in &request.objects {
        room = room.checked_sub(*size).context("the objects are too large")?;
        let mut bytes = vec![0; *size];
        input.read_exact(&mut bytes).with_context(|| format!("read the object '{name}'"))?;
        objects.insert(name.clone(), bytes);
    }
    let manifest_bytes = request.manifest.canonical();
    let digest = Digest::of(&manifest_bytes);
    let manifest = request.manifest.clone();
    let package = Package {
        index: digest,
        platform: digest,
        manifest,
        manifest_bytes,
        objects,
        readme: None,
    };
    Ok((request, Verified::local(package)))
}

fn follow(request: &Run, package: &Verified<Package>, btf: Option<PathBuf>) -> Result<()> {
    may_load()?;
    let mut targets = BTreeMap::new();
    for (program, target) in &request.targets {
        targets.insert(
            program.clone(),
            target.parse().with_context(|| format!("the target of {program}"))?,
        );
    }
    let options = Options {
        params: request.params.clone(),
        interface: request.interface.clone(),
        cgroup: request.cgroup.clone(),
        targets,
        pid: request.pid,
        btf,
    };
    let selection = Selection::new(request.filter.as_deref(), request.fields.clone())?;
    let clock = Instant::now();
    let mut session = run(package, &options)?;
    selection.fits(session.outputs().map(|(_, decoder)| decoder))?;
    let stop = stop_at_signals(session.waker()).context("can't wait for Ctrl-C")?;
    introduce(request, &session, clock.elapsed());
    let mut printer = Printer {
        request,
        selection,
        views: BTreeMap::new(),
        out: Lines::default(),
        rows: Rows::new(request.width),
        csv: Vec::new(),
        count: 0,
    };
    printer.follow(&mut session, &stop)?;
    printer.total(&session)
}

fn may_load() -> Result<()> {
    let has = skep_kernel::process::effective_capabilities()
        .context("can't read which capabilities this process has")?;
    let enough = has & CAP_SYS_ADMIN != 0 || has & CAP_BPF != 0 && has & CAP_PERFMON != 0;
    if enough { Ok(()) } else { Err(NoPermission.into()) }
}

/// Says what runs, what does not, and what was adapted. That lost events are counted is nothing to tell.
fn introduce(request: &Run, session: &Session, took: Duration) {
    if request.quiet {
        return;
    }
    let took = took.as_millis();
    match session.attached() {
        [one] => say(&format!("attached {} in {took} ms", placed(one))),
        programs => {
            say(&format!("attached {} programs in {took} ms:", programs.len()));
            programs.iter().for_each(|one| say(&format!("  {}", placed(one))));
        }
    }
    for (program, why) in session.skipped() {
        say(&format!("left out {}: {}", shown(program), why.replace('\n', "\n  ")));
    }
    let counted =
        |change: &&Change| change.pass != Pass::LostEvents || change.what.contains("not counted");
    session.report().changes.iter().filter(counted).for_each(|change| say(&change.to_string()));
    match (session.has_events(), session.has_metrics()) {
        (true, _) => {}
        (false, true) => say("it has no events; Ctrl-C ends it and shows its counters"),
        (false, false) => say("it has no events to show; Ctrl-C ends it"),
    }
    if matches!(request.mode, Mode::Table | Mode::Ndjson | Mode::Csv) {
        let untyped = session.outputs().filter_map(|(output, decoder)| decoder.untyped(output));
        untyped.for_each(|why| say(&why));
    }
}

/// A program and where it is attached: on one line, whatever its author named it.
fn placed((program, target): &(String, Target)) -> String {
    format!("{} to {}", shown(program), shown(&target.to_string()))
}

/// A flag that SIGINT, SIGTERM and SIGHUP raise.
fn stop_at_signals(waker: Waker) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let threads = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let guard = threads.enter();
    let stopped = stopped()?;
    drop(guard);
    std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
        threads.block_on(stopped);
        flag.store(true, Ordering::Relaxed);
        waker.wake();
    })?;
    Ok(stop)
}

fn address(record: &Record<'_>) -> usize {
    std::ptr::from_ref(record.decoder).addr()
}

/// What goes to the standard output, many lines at once.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// Writes it where it is much.
    fn leave(&mut self) -> io::Result<()> {
        if self.0.len() < OUT { Ok(()) } else { self.flush() }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        self.leave().map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = io::stdout().write_all(&self.0);
        self.0.clear();
        written.and_then(|()| io::stdout().flush())
    }
}

struct Printer<'a> {
    request: &'a Run,
    selection: Selection,
    /// What is wanted of each output, by its decoder's address, which lasts as long as the session; with what a line of JSON
    /// begins with.
    views: BTreeMap<usize, Option<(View, String)>>,
    out: Lines,
    rows: Rows,
    /// The columns of the last row, of CSV.
    csv: Vec<(String, bool)>,
    count: u64,
}

impl Printer<'_> {
    /// Reads and prints until the end that was asked for, a signal, or a reader that went away; then detaches, and
    /// reads what was put out till then.
    fn follow(&mut self, session: &mut Session, stop: &AtomicBool) -> Result<()> {
        let clock = Instant::now();
        let limit = self.request.milliseconds.map(Duration::from_millis);
        while !stop.load(Ordering::Relaxed) {
            let time = limit.map_or(WAIT, |limit| limit.saturating_sub(clock.elapsed()));
            if self.left() == 0 || time.is_zero() {
                break;
            }
            if self.turn(session, time.min(WAIT))?.is_none() {
                return Ok(());
            }
        }
        session.detach();
        while self.left() > 0 && self.turn(session, Duration::ZERO)?.is_some_and(|more| more > 0) {}
        Ok(())
    }

    /// Events that are still wanted.
    fn left(&self) -> u64 {
        self.request.events.map_or(u64::MAX, |most| most.saturating_sub(self.count))
    }

    /// Reads and prints a batch, after waiting for its first event; none if nobody reads what we print.
    fn turn(&mut self, session: &mut Session, wait: Duration) -> Result<Option<usize>> {
        let most = usize::try_from(self.left()).unwrap_or(BATCH).min(BATCH);
        let mut written = Ok(());
        let counts = matches!(self.request.mode, Mode::Count | Mode::CountJson);
        let records = session.poll(wait, most, |record| {
            if !self.wants(&record) {
                return;
            }
            self.count += 1;
            if !counts && written.is_ok() {
                written = self.print(&record);
            }
        })?;
        match written.and_then(|()| self.out.flush()) {
            Ok(()) => Ok(Some(records)),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
            Err(error) => Err(error).context("write events"),
        }
    }

    fn wants(&mut self, record: &Record<'_>) -> bool {
        let (address, selection) = (address(record), &self.selection);
        let view = self.views.entry(address).or_insert_with(|| {
            Some((selection.view(record.decoder).ok()?, event_head(record.output)))
        });
        view.as_ref().is_some_and(|(view, _)| view.takes(record.data))
    }

    fn print(&mut self, record: &Record<'_>) -> io::Result<()> {
        let Some(Some((view, head))) = self.views.get(&address(record)) else { return Ok(()) };
        let decoder = view.decoder();
        if self.request.mode == Mode::Ndjson {
            let text = &mut self.out.0;
            text.extend_from_slice(head.as_bytes());
            decoder.decode(record.data).write_json(text);
            text.extend_from_slice(EVENT_TAIL.as_bytes());
            text.push(b'\n');
            return self.out.leave();
        }
        let columns = decoder.columns();
        let columns: Vec<(String, bool)> =
            columns.map(|column| (shown(&column.name).into_owned(), column.number)).collect();
        let cells = decoder.row(record.data);
        if self.request.mode == Mode::Csv {
            if self.csv != columns {
                writeln!(self.out, "{}", csv_line(columns.iter().map(|(name, _)| name.as_str())))?;
                self.csv = columns;
            }
            return writeln!(self.out, "{}", csv_line(cells.iter().map(String::as_str)));
        }
        self.rows.columns(columns);
        let row = self.rows.row(&cells);
        writeln!(self.out, "{row}")
    }

    /// Counters are the answer of what has no events; beside events they are a word on what was seen.
    fn counters(&mut self, session: &Session) -> Result<()> {
        let json = self.request.mode.is_json();
        let aside = session.has_events();
        for (name, output, contents) in session.metrics()? {
            let metric = metric(name, output, &contents);
            if json && !aside {
                writeln!(self.out, "{}", metric_line(&metric)?)?;
                continue;
            }
            let text = metric.text(self.request.width, ROWS);
            match aside {
                false => writeln!(self.out, "{}", shown_lines(&text))?,
                true if !self.request.quiet && !json => say(&text),
                true => {}
            }
        }
        Ok(())
    }

    fn total(mut self, session: &Session) -> Result<()> {
        self.counters(session).context("show its counters")?;
        let (events, lost) = (self.count, session.lost());
        let unknown = match session.unknown() {
            0 => String::new(),
            unknown => format!(", {unknown} of no output"),
        };
        match self.request.mode {
            Mode::Count => writeln!(self.out, "{events} events, {lost} lost{unknown}")?,
            Mode::CountJson => {
                let unknown = session.unknown();
                let total = json!({ "events": events, "lost": lost, "unknown": unknown });
                writeln!(self.out, "{total}")?;
            }
            _ if !self.request.quiet && (session.has_events() || !session.has_metrics()) => {
                say(&format!("{events} events, {lost} lost{unknown}"))
            }
            _ => {}
        }
        match self.out.flush() {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(error).context("write the total")
            }
            _ => Ok(()),
        }
    }
}
