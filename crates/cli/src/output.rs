//! Everything that is printed: tables for people, JSON for programs, nothing but errors when quiet.

use std::io::{BufWriter, IsTerminal as _, StdoutLock, Write};
use std::path::Path;
use std::sync::OnceLock;

use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};
use skep_object::{shown_json, shown_lines};
use skep_spec::Digest;

use crate::error::{Error, Kind};

/// Whether a program reads what this process prints: known once the command line is read.
static FOR_PROGRAMS: OnceLock<bool> = OnceLock::new();

/// Options that every command has.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// What to print: a table for people, or JSON (a stream prints one object a line)
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Print only what a command shows; of one that does something, the package's digest or nothing
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// What to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns
    Table,
    /// One JSON document
    Json,
    /// One JSON object a line
    Ndjson,
    /// Rows with commas between their cells, of events and entries of maps
    Csv,
}

/// Where a command prints.
#[derive(Clone, Debug)]
pub struct Output {
    format: Format,
    quiet: bool,
    terminal: bool,
}

/// JSON on its way out, without characters that a terminal obeys.
struct Escaped(BufWriter<StdoutLock<'static>>);

impl Write for Escaped {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        // Pieces of JSON end where a string does, or before what is escaped in it: between characters.
        match std::str::from_utf8(piece) {
            Ok(text) => self.0.write_all(shown_json(text).as_bytes())?,
            Err(_) => return Err(std::io::ErrorKind::InvalidData.into()),
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Output {
    /// As the command line asks.
    #[must_use]
    pub fn new(global: &Global) -> Self {
        let (format, quiet) = (global.output, global.quiet);
        let output = Self { format, quiet, terminal: std::io::stdout().is_terminal() };
        for_programs(output.is_json());
        output
    }

    /// Whether a program reads the output.
    #[must_use]
    pub fn is_json(&self) -> bool {
        matches!(self.format, Format::Json | Format::Ndjson)
    }

    /// What to print.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Whether only errors and what was asked for are printed.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether a person watches.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// The answer: `text` for people, `value` for programs.
    pub fn answer<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) {
        match self.format {
            Format::Table | Format::Csv => self.line(&text()),
            Format::Json => self.streamed(|to| serde_json::to_writer_pretty(to, value)),
            Format::Ndjson => self.streamed(|to| serde_json::to_writer(to, value)),
        }
    }

    /// JSON as it is made: the whole of an object with all its variables would take far more memory than they do.
    fn streamed(&self, json: impl FnOnce(&mut Escaped) -> serde_json::Result<()>) {
        let mut to = Escaped(BufWriter::new(std::io::stdout().lock()));
        let done = json(&mut to).map_err(std::io::Error::from);
        self.written(done.and_then(|()| to.0.write_all(b"\n")).and_then(|()| to.0.flush()));
    }

    /// What was done to packages: as an answer, but when quiet the digest of each alone.
    pub fn packaged<T: Serialize>(
        &self,
        value: &T,
        digests: &[Digest],
        text: impl FnOnce() -> String,
    ) {
        match self.quiet && !self.is_json() {
            true => digests.iter().for_each(|digest| self.line(&digest.to_string())),
            false => self.answer(value, text),
        }
    }

    /// What was done to anything else: as an answer, but nothing for people when quiet.
    pub fn done<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) {
        self.packaged(value, &[], text);
    }

    /// Something beside the answer, on standard error; left out when quiet.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            // A closed standard error is no reason to fail.
            let _ = writeln!(std::io::stderr(), "{}", shown_lines(text));
        }
    }

    /// Characters of a line, where a person watches standard error.
    #[must_use]
    pub fn watcher(&self) -> Option<usize> {
        let out = std::io::stderr();
        let width = || terminal_size::terminal_size_of(&out).map_or(80, |(w, _)| usize::from(w.0));
        out.is_terminal().then(width)
    }

    /// What passes, on standard error: it may end in the middle of a line.
    pub fn passing(&self, text: &str) {
        let mut out = std::io::stderr();
        // A closed standard error is no reason to fail.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// A line or several for people: names in them may be a stranger's.
    pub fn line(&self, text: &str) {
        self.raw(&shown_lines(text));
    }

    /// Makes room for what comes in place of what was shown, where a person watches.
    pub fn clear(&self) {
        if self.terminal && !self.is_json() {
            self.written(write!(std::io::stdout(), "\x1b[2J\x1b[H")); // ECMA-48: erase all, go to the corner
        }
    }

    /// One line of JSON. A reader that went away (`| head`) ends the program in silence, as for other
    /// tools; a full disk must not pass for success.
    pub fn raw(&self, text: &str) {
        self.written(writeln!(std::io::stdout(), "{}", shown_json(text)));
    }

    /// Lines of JSON as they came, likewise; where a person watches, without characters that a terminal obeys.
    pub fn bytes(&self, lines: &[u8]) {
        let text = std::str::from_utf8(lines).ok().filter(|_| self.terminal);
        let shown = text.map(shown_json);
        let lines = shown.as_ref().map_or(lines, |shown| shown.as_bytes());
        self.written(std::io::stdout().write_all(lines));
    }

    fn written(&self, written: std::io::Result<()>) {
        let Err(failed) = written else { return };
        if failed.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        error(&Error::caused(Kind::Failed, "can't write the output", &failed));
        std::process::exit(1);
    }
}

/// Says once who reads what this process prints.
pub fn for_programs(is_json: bool) {
    FOR_PROGRAMS.get_or_init(|| is_json);
}

/// An error, on standard error: for people, or for a program as the last line there. A closed one is no reason to stay.
pub fn error(error: &Error) {
    let text = match FOR_PROGRAMS.get() {
        Some(true) => shown_json(&error.json()).into_owned() + "\n",
        _ => error.text(),
    };
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A path in JSON, which has no bytes that are no UTF-8: they become U+FFFD.
///
/// # Errors
/// As the serializer.
pub fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// Characters of a line, where a person watches.
#[must_use]
pub fn width(output: &Output) -> Option<usize> {
    let size = output.is_terminal().then(terminal_size::terminal_size).flatten();
    size.map(|(terminal_size::Width(width), _)| usize::from(width))
}

/// Rows under a header, aligned, without borders.
#[must_use]
pub fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    let text = table.to_string();
    let lines = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    lines.collect::<Vec<_>>().join("\n")
}

/// A number of bytes as people read it: `512 B`, `1.5 KiB`, `12 MiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((size, unit)) = units.into_iter().find(|(size, _)| count >= *size) else {
        return format!("{count} B");
    };
    let value = count as f64 / size as f64;
    if value >= 10.0 || count.is_multiple_of(size) {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}
