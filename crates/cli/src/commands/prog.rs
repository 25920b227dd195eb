//! `skep prog`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use skep_api::{Client, CodeOf, Instruction, ProgramRow, Programs, Stats, TestRun};
use skep_object::event::from_hex;
use skep_spec::manifest::Param;
use skep_spec::nearest::nearest;
use skep_spec::param::ParamType;

use crate::config::Config;
use crate::daemon;
use crate::error::{Error, Kind, Result};
use crate::output::{Output, table};

/// Show and test-run programs: of services by their names, of whatever else is loaded by number
#[derive(Debug, Args)]
pub struct Prog {
    #[command(subcommand)]
    command: ProgCommand,
}

#[derive(Debug, Subcommand)]
enum ProgCommand {
    List(List),
    Show(Show),
    Disasm(Disasm),
    Dump(Dump),
    Run(Run),
    Stats(Counted),
}

/// Whose programs.
#[derive(Clone, Debug, Args)]
pub struct Whose {
    /// The service; without it all of them
    service: Option<String>,
    /// Every program of the machine, whoever loaded it
    #[arg(long, conflicts_with = "service")]
    all: bool,
}

/// List the programs of a service, of all services, or of the machine
#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    whose: Whose,
}

/// Which program.
#[derive(Debug, Args)]
struct Which {
    /// A program by the number that the kernel has of it: skep prog list --all
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["service", "program"])]
    id: Option<u32>,
    /// The service
    #[arg(required_unless_present = "id")]
    service: Option<String>,
    /// Its program, by the name in its manifest
    #[arg(required_unless_present = "id")]
    program: Option<String>,
}

/// Show a program: its maps, size and runs
#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    which: Which,
}

/// List a program's instructions as the verifier left them
#[derive(Debug, Args)]
struct Disasm {
    #[command(flatten)]
    which: Which,
}

/// Write a program's instructions as bytes, as the verifier left them
///
/// Root's.
#[derive(Debug, Args)]
struct Dump {
    #[command(flatten)]
    which: Which,
    /// The machine code that the kernel made of them, instead
    #[arg(long)]
    jited: bool,
    /// The file; without it standard output, unless that is a terminal
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Run a program on bytes, and show what it returns
///
/// Root's, and logged by skepd. For kinds that the kernel can test-run, such as xdp, tc and cgroup_skb; what the program writes
/// to maps stays written. A program of the kind syscall is run in earnest, with the bytes as its context, and they are shown as it
/// leaves them.
#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    which: Which,
    /// The packet or the context, in hexadecimal; at least 14 bytes, an Ethernet header, where it takes packets
    #[arg(long, value_name = "HEX", default_value = "")]
    data: String,
    /// How often; the time is that of one run, on the average
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: u32,
}

/// Count how often programs run, and how long
///
/// The kernel counts while it is asked to, which costs each run some nanoseconds. Root's.
#[derive(Debug, Args)]
struct Counted {
    #[command(flatten)]
    whose: Whose,
    /// How long, such as 10s or 500ms; at most a minute
    #[arg(long, value_name = "TIME", default_value = "1s")]
    duration: String,
}

impl Prog {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, no such program, or what the kernel refuses.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let client = daemon::client(config);
        match self.command {
            ProgCommand::List(List { whose }) => {
                let (all, service) = (whose.all, whose.name()?);
                let rows = daemon::ask(client.programs(&Programs { all, service }))?;
                output.answer(&rows, || list(&rows));
            }
            ProgCommand::Show(Show { which }) => {
                let row = which.row(&client)?;
                output.answer(&row, || show(&row));
            }
            ProgCommand::Disasm(Disasm { which }) => {
                let id = which.id(&client)?;
                let list = daemon::ask(client.instructions(id))?;
                output.answer(&list, || disasm(&list));
            }
            ProgCommand::Dump(dump) => dump.run(&client, output)?,
            ProgCommand::Run(run) => {
                let id = run.which.id(&client)?;
                let asked = TestRun { data: run.data, repeat: Some(run.repeat) };
                let done = daemon::ask(client.test_run(id, &asked))?;
                output.answer(&done, || {
                    let context = done.context.iter().filter(|context| !context.is_empty());
                    let left: String = context.map(|c| format!("\nIts context: {c}")).collect();
                    format!("It returned {} in {}{left}", done.returned, time(done.run_ns))
                });
            }
            ProgCommand::Stats(counted) => {
                let rows = counted.whose.counted(&client, &counted.duration)?;
                output.answer(&rows, || busiest(&rows, usize::MAX));
            }
        }
        Ok(())
    }
}

impl Dump {
    fn run(self, client: &Client, output: &Output) -> Result<()> {
        let id = self.which.id(client)?;
        let code = daemon::ask(client.code(id, CodeOf { jited: self.jited }))?;
        if output.is_json() && self.out.is_none() {
            output.answer(&code, String::new);
            return Ok(());
        }
        let bytes = from_hex(&code.bytes).unwrap_or_default();
        if bytes.is_empty() {
            let (what, why) = match self.jited {
                true => ("machine code", "net.core.bpf_jit_enable, net.core.bpf_jit_harden"),
                false => ("instructions", "net.core.bpf_jit_harden, kernel.kptr_restrict"),
            };
            let none = format!("the kernel shows no {what} of the program with id {id} ({why})");
            return Err(Error::new(Kind::Failed, none));
        }
        let Some(path) = self.out else {
            if output.is_terminal() {
                let said = "a program's code is no text";
                return Err(Error::usage(said).hint("write it to a file with -o FILE"));
            }
            output.bytes(&bytes);
            return Ok(());
        };
        std::fs::write(&path, &bytes).map_err(|error| {
            Error::caused(Kind::Failed, format!("can't write {}", path.display()), &error)
        })?;
        let told = Written { file: path.display().to_string(), bytes: bytes.len() };
        output.done(&told, || format!("{} bytes in {}", told.bytes, told.file));
        Ok(())
    }
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    file: String,
    bytes: usize,
}

impl Whose {
    fn name(&self) -> Result<Option<skep_spec::ServiceName>> {
        self.service.as_deref().map(daemon::service).transpose()
    }

    /// Their runs from now on, for a while; the busiest first.
    ///
    /// # Errors
    /// No skepd, or who asks is not root.
    pub fn counted(&self, client: &Client, duration: &str) -> Result<Vec<ProgramRow>> {
        let time = Param::of(ParamType::Duration, Some("ms")).number_of(duration);
        let time = time.map_err(|error| Error::usage(format!("--duration: {error}")))?;
        let asked = Stats { all: self.all, service: self.name()?, milliseconds: Some(time) };
        let mut rows = daemon::ask(client.program_stats(&asked))?;
        rows.sort_by_key(|row| std::cmp::Reverse((row.run_ns, row.runs)));
        Ok(rows)
    }
}

impl Which {
    fn id(&self, client: &Client) -> Result<u32> {
        self.id.map_or_else(|| Ok(self.row(client)?.id), Ok)
    }

    fn row(&self, client: &Client) -> Result<ProgramRow> {
        if let Some(id) = self.id {
            let rows = daemon::ask(client.programs(&Programs { all: true, service: None }))?;
            let missing = || {
                Error::new(
                    Kind::Failed,
                    format!("there is no program with id {id} on this machine"),
                )
            };
            return rows.into_iter().find(|row| row.id == id).ok_or_else(missing);
        }
        let service = daemon::service(self.service.as_deref().unwrap_or_default())?;
        let program = self.program.as_deref().unwrap_or_default();
        let asked = Programs { all: false, service: Some(service.clone()) };
        let mut rows = daemon::ask_about(client, &service, client.programs(&asked))?;
        // Of two generations the newer one.
        rows.sort_by_key(|row| row.generation);
        let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
        rows.into_iter().rfind(|row| row.name == program).ok_or_else(|| {
            let near = nearest(program, names.iter().map(String::as_str));
            let near = near.map(|near| format!("did you mean '{near}'?"));
            let there = names.join(", ");
            let error = Error::new(
                Kind::Failed,
                format!("{service} has no program '{program}'; it has: {there}"),
            );
            near.into_iter().fold(error, Error::hint)
        })
    }
}

fn service(row: &ProgramRow) -> String {
    row.service.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn list(rows: &[ProgramRow]) -> String {
    if rows.is_empty() {
        return "No programs.".to_owned();
    }
    let rows = rows.iter().map(|row| {
        let generation = row.generation.map(|number| number.to_string()).unwrap_or_default();
        let (id, size) = (row.id.to_string(), row.instructions.to_string());
        [id, service(row), generation, row.name.clone(), row.kind.clone(), size, row.tag.clone()]
    });
    table(["ID", "SERVICE", "GENERATION", "PROGRAM", "KIND", "INSTRUCTIONS", "TAG"], rows)
}

fn show(row: &ProgramRow) -> String {
    let mut lines = vec![format!("{} (id {}): {}, tag {}", row.name, row.id, row.kind, row.tag)];
    if let (Some(service), Some(generation)) = (&row.service, row.generation) {
        lines.push(format!("of {service}, generation {generation}"));
    }
    lines.push(format!(
        "{} instructions, {} bytes of machine code; the verifier went through {}",
        row.instructions, row.machine_bytes, row.verified
    ));
    let maps: Vec<String> = row.maps.iter().map(u32::to_string).collect();
    lines.push(match maps.is_empty() {
        true => "no maps".to_owned(),
        false => format!("maps {}", maps.join(", ")),
    });
    match (row.runs, &row.uncounted) {
        (Some(0), _) => {}
        (Some(runs), _) => {
            let of = row.counted_by.map_or("", |_| " of its hook, whatever version ran there,");
            lines.push(format!("{runs} runs{of} were counted, {}", time(row.run_ns.unwrap_or(0))));
        }
        (None, why) => {
            let why = why.as_deref().unwrap_or("the kernel says none");
            lines.push(format!("its runs are not counted: {why}"));
        }
    }
    if row.missed > 0 {
        lines.push(format!("{} events missed by the kernel", row.missed));
    }
    lines.join("\n")
}

fn disasm(list: &[Instruction]) -> String {
    if list.is_empty() {
        return "The kernel hides its instructions (net.core.bpf_jit_harden, kernel.kptr_restrict).".to_owned();
    }
    let line = |one: &Instruction| {
        let note = one.note.as_ref().map(|note| format!("  ; {note}")).unwrap_or_default();
        format!("{:>6}: {}{note}", one.at, one.text)
    };
    list.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Programs that ran, the busiest first, and those that nobody counts. A stub's runs are shown as those of the program behind it.
pub fn busiest(rows: &[ProgramRow], most: usize) -> String {
    let stubs: Vec<u32> = rows.iter().filter_map(|row| row.counted_by).collect();
    let shown = rows.iter().filter(|row| row.runs != Some(0) && !stubs.contains(&row.id));
    let shown: Vec<&ProgramRow> = shown.take(most).collect();
    if shown.is_empty() {
        return "None of them ran.".to_owned();
    }
    let mut notes: Vec<&str> = shown.iter().filter_map(|row| row.uncounted.as_deref()).collect();
    notes.sort_unstable();
    notes.dedup();
    let notes: String = notes.iter().map(|why| format!("\nNot counted (-): {why}.")).collect();
    let rows = shown.into_iter().map(|row| {
        let counted = row.runs.zip(row.run_ns);
        let cell = |cell: fn((u64, u64)) -> String| counted.map_or_else(|| "-".to_owned(), cell);
        [
            row.id.to_string(),
            service(row),
            row.name.clone(),
            row.kind.clone(),
            cell(|(runs, _)| runs.to_string()),
            cell(|(_, ns)| time(ns)),
            cell(|(runs, ns)| time(ns / runs.max(1))),
        ]
    });
    table(["ID", "SERVICE", "PROGRAM", "KIND", "RUNS", "TIME", "EACH"], rows) + &notes
}

/// Nanoseconds as people read them.
fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{} us", ns / 1000),
        _ => format!("{} ms", ns / 1_000_000),
    }
}
