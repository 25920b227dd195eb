//! Every program on every kernel.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_kit::guest::{Guest, Outcome};
use skep_kit::kernels::{self, Kernel};
use skep_spec::Arch;

use crate::judge::{Verdict, judge};
use crate::list::Entry;

/// What network hooks need and stock kernels have as modules.
const MODULES: [&str; 6] = ["veth", "dummy", "sch_ingress", "cls_bpf", "cls_matchall", "act_bpf"];
/// A guest's time: emulated, two at a time, and perhaps on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);
/// The same where all is asked for, or what nobody waits for.
const LIMIT_OF_ALL: Duration = Duration::from_secs(3600);
/// Guests at a time.
const AT_A_TIME: usize = 2;
/// Lines of the console that a failure shows.
const TAIL: usize = 15;

/// A test program.
pub struct Program {
    pub name: String,
    /// It, and programs that it finds beside it.
    binaries: Vec<PathBuf>,
    folder: Option<PathBuf>,
}

impl Program {
    /// Reads `name=binary[+binary…][,folder]`.
    pub fn parse(word: &str) -> Result<Self> {
        let (name, paths) = word.split_once('=').context("NAME=BINARY[+BINARY…][,FOLDER]")?;
        let (binaries, folder) = match paths.split_once(',') {
            Some((binaries, folder)) => (binaries, Some(PathBuf::from(folder))),
            None => (paths, None),
        };
        let binaries = binaries.split('+').map(PathBuf::from).collect();
        Ok(Self { name: name.to_owned(), binaries, folder })
    }
}

/// Programs, and where their guests' things lie.
pub struct Matrix {
    pub init: PathBuf,
    pub cache: PathBuf,
    pub consoles: PathBuf,
    pub programs: Vec<Program>,
    pub asked: Asked,
    /// Modules beside those of every guest.
    pub modules: Vec<String>,
}

/// What the programs are asked for, by name.
pub enum Asked {
    /// These arguments; `all` where there are none. More of them where there are two processors.
    Named { all: BTreeMap<String, Vec<String>>, once: BTreeMap<String, Vec<String>> },
    /// The same of every program, with so many processors.
    Only(Vec<String>, u32),
    /// All, shared among so many guests; by one where there is no number.
    All(BTreeMap<String, usize>),
}

impl Asked {
    fn is_named(&self) -> bool {
        matches!(self, Self::Named { .. })
    }

    /// The arguments of each guest of a program, and what tells it from the others.
    fn guests(&self, program: &str, cpus: u32) -> Vec<(Vec<String>, String)> {
        let everything = || vec!["all".to_owned()];
        match self {
            Self::Named { all, once } => {
                let mut words = all.get(program).cloned().unwrap_or_else(everything);
                words
                    .extend(once.get(program).filter(|_| cpus == 2).into_iter().flatten().cloned());
                vec![(words, String::new())]
            }
            Self::Only(words, _) => vec![(words.clone(), String::new())],
            Self::All(parts) => match parts.get(program).copied().unwrap_or(1) {
                1 => vec![(everything(), String::new())],
                parts => (1..=parts)
                    .map(|part| format!("{part}/{parts}"))
                    .map(|part| {
                        (["all", "--part", &part].map(str::to_owned).into(), format!(" {part}"))
                    })
                    .collect(),
            },
        }
    }
}

/// How a guest is booted.
#[derive(Clone, Copy)]
struct Shape {
    cpus: u32,
    append: &'static str,
    name: &'static str,
}

const SHAPES: [Shape; 3] = [
    Shape { cpus: 1, append: "", name: "1 cpu" },
    Shape { cpus: 2, append: "", name: "2 cpus" },
    Shape { cpus: 1, append: "preempt=full", name: "1 cpu, preempt=full" },
];

/// Where tests are asked for by name: with permissions that BPF decides about too, which not every kernel's default has.
const ASKED: [Shape; 2] = [
    // Memory of two nodes, for what moves it between them.
    Shape { cpus: 1, append: "lsm=yama,bpf numa=fake=2", name: "1 cpu, lsm=yama,bpf" },
    Shape { cpus: 2, append: "lsm=yama,bpf", name: "2 cpus, lsm=yama,bpf" },
];

/// One guest to boot.
struct Job<'a> {
    kernel: Kernel,
    shape: Shape,
    program: &'a Program,
    arguments: Vec<String>,
    /// Kernel, shape, program and part.
    label: String,
    /// In the guest's `/bin`.
    binaries: &'a [PathBuf],
}

/// Tests that were counted.
#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
}

impl Matrix {
    /// Runs all and prints the counts; says whether all passed.
    pub fn run(&self, list: &[Entry]) -> Result<bool> {
        std::fs::create_dir_all(&self.consoles)
            .with_context(|| format!("make {}", self.consoles.display()))?;
        let work = tempfile::tempdir().context("make a folder")?;
        let stripped = self.stripped(work.path())?;
        let mut counts = Counts::default();
        let jobs = Mutex::new(self.jobs(list, &stripped, &mut counts));
        let counts = Mutex::new(counts);
        let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        std::thread::scope(|scope| {
            for _ in 0..AT_A_TIME {
                scope.spawn(|| {
                    while let Some(job) = next() {
                        self.row(&job, &counts);
                    }
                });
            }
        });
        let Counts { passed, failed } = counts.into_inner().unwrap_or_else(PoisonError::into_inner);
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
        );
        Ok(failed == 0)
    }

    /// Binaries without their symbols for debuggers, which a guest has no memory for.
    fn stripped(&self, work: &Path) -> Result<Vec<Vec<PathBuf>>> {
        let strip = |program: &Program| {
            let folder = work.join(&program.name);
            std::fs::create_dir(&folder).context("make a folder")?;
            let strip = |(at, binary): (usize, &PathBuf)| {
                // The program itself goes by the name that it was given, those beside it by their own.
                let own = binary.file_name().context("a program without a name")?;
                let to = folder.join(if at == 0 { program.name.as_ref() } else { own });
                let status =
                    Command::new("strip").arg("-g").arg("-o").arg(&to).arg(binary).status();
                ensure!(status.context("run strip")?.success(), "strip {}", binary.display());
                Ok(to)
            };
            program.binaries.iter().enumerate().map(strip).collect()
        };
        self.programs.iter().map(strip).collect()
    }

    /// The guests of all kernels that can be had; one that cannot is a failure.
    fn jobs<'a>(
        &'a self,
        list: &[Entry],
        binaries: &'a [Vec<PathBuf>],
        counts: &mut Counts,
    ) -> VecDeque<Job<'a>> {
        let mut jobs = VecDeque::new();
        for entry in list {
            let kernel = kernels::fetch_with_modules(&self.cache, Arch::X86_64, &entry.series);
            let kernel = match kernel {
                Ok(kernel) => kernel,
                Err(error) => {
                    let why = anyhow::Error::new(error);
                    println!("test {} fetched ... FAILED\n    {why:#}", entry.series);
                    counts.failed += 1;
                    continue;
                }
            };
            println!("kernel {}: {}", entry.series, kernel.release);
            for shape in self.shapes(entry) {
                for (program, binaries) in self.programs.iter().zip(binaries) {
                    for (arguments, part) in self.asked.guests(&program.name, shape.cpus) {
                        let name = format!("{}{part}", program.name);
                        let label = format!("{} ({}) {name}", kernel.release, shape.name);
                        let kernel = kernel.clone();
                        jobs.push_back(Job {
                            kernel,
                            shape: *shape,
                            program,
                            arguments,
                            label,
                            binaries,
                        });
                    }
                }
            }
        }
        jobs
    }

    /// How a kernel is booted. All tests take hours: they run with two processors, where more races than with one.
    fn shapes(&self, entry: &Entry) -> Vec<&'static Shape> {
        let shapes = SHAPES.iter();
        match self.asked {
            Asked::Only(_, cpus) => ASKED.iter().filter(|shape| shape.cpus == cpus).collect(),
            Asked::All(_) => shapes.filter(|shape| shape.cpus == 2).collect(),
            Asked::Named { .. } => {
                shapes.filter(|shape| shape.append.is_empty() || entry.preempt_full).collect()
            }
        }
    }

    /// Boots one guest, and prints and counts what became of it.
    fn row(&self, job: &Job<'_>, counts: &Mutex<Counts>) {
        let label = &job.label;
        let console =
            self.consoles.join(format!("{}.console", label.replace([' ', ',', '/'], "-")));
        let (verdict, text) = match self.boot(job, &console) {
            Ok(outcome) => {
                let verdict = judge(&outcome);
                let text = rows(&outcome.output) + &report(label, &outcome, &verdict, &console);
                (verdict, text)
            }
            Err(why) => {
                let verdict = Verdict { failed: 1, ..Verdict::default() };
                (verdict, format!("test {label} ... FAILED\n    {why:#}"))
            }
        };
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{text}"); // under the lock, so that reports stay whole
        counts.passed += verdict.passed;
        counts.failed += verdict.failed;
    }

    /// Boots it, and once more where QEMU's own race ended it.
    fn boot(&self, job: &Job<'_>, console: &Path) -> Result<Outcome> {
        let first = self.guest(job, console)?;
        if !is_qemus_race(&first, job.shape.cpus) {
            return Ok(first);
        }
        let mut second = self.guest(job, console)?;
        second.retries += first.retries + 1;
        Ok(second)
    }

    fn guest(&self, job: &Job<'_>, console: &Path) -> Result<Outcome> {
        let name = &job.program.name;
        let mut command = vec![format!("/bin/{name}")];
        let mut files = Vec::new();
        for binary in job.binaries {
            let own = binary.file_name().unwrap_or_default().to_string_lossy();
            files.push((binary.clone(), format!("bin/{own}")));
        }
        if let Some(folder) = &job.program.folder {
            files.push((folder.clone(), "objects".to_owned()));
            command.extend(["--objects", "/objects"].map(str::to_owned));
        }
        command.extend(job.arguments.iter().cloned());
        let guest = Guest {
            kernel: job.kernel.clone(),
            init: self.init.clone(),
            files,
            modules: MODULES
                .map(str::to_owned)
                .into_iter()
                .chain(self.modules.iter().cloned())
                .collect(),
            command,
            cpus: job.shape.cpus,
            memory: 1024,
            append: job.shape.append.to_owned(),
            limit: if self.asked.is_named() { LIMIT } else { LIMIT_OF_ALL },
            console: console.to_owned(),
        };
        Ok(guest.boot()?)
    }
}

/// A kernel patches its code through a breakpoint, which one of QEMU's threads can still run after another took it away: with two
/// processors, a trap by int3 that the kernel knows nothing of.
fn is_qemus_race(outcome: &Outcome, cpus: u32) -> bool {
    cpus > 1 && outcome.splats.iter().any(|splat| splat.contains("Oops: int3"))
}

/// A row, and of a failure what the guest printed and how its console ends.
fn report(label: &str, outcome: &Outcome, verdict: &Verdict, console: &Path) -> String {
    let (boot, run) = (outcome.boot.as_secs_f64(), outcome.run.as_secs_f64());
    let Verdict { passed, failed, faults } = verdict;
    let splats = outcome.splats.len();
    let mut row = format!(
        "{passed} passed, {failed} failed; boot {boot:.1} s, run {run:.1} s; {splats} splats"
    );
    if outcome.retries > 0 {
        row += &format!("; booted {} times", outcome.retries + 1);
    }
    if faults.is_empty() {
        return format!("test {label} ... ok ({row})");
    }
    let text = std::fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).replace('\r', "");
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
    format!(
        "test {label}{} ... FAILED\n    {row}\n{}\nIt printed:\n{}\nIts console, {}, ends with:\n{tail}",
        which(&outcome.output),
        faults.join("\n"),
        indented(outcome.output.trim_end()),
        console.display(),
    )
}

/// What a program has for a page, a line each.
fn rows(output: &str) -> String {
    let rows = output.lines().filter(|line| line.starts_with("row "));
    rows.map(|row| format!("{row}\n")).collect()
}

/// The tests that failed, for the list at the end of a run.
fn which(output: &str) -> String {
    let failed =
        |line: &str| Some(line.strip_prefix("test ")?.split_once(" ... FAILED")?.0.to_owned());
    let failed: Vec<String> = output.lines().filter_map(failed).collect();
    if failed.is_empty() { String::new() } else { format!(": {}", failed.join(", ")) }
}

/// Not as the lines of a test of ours, which would be counted twice.
fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
