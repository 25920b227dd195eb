//! `make corpus`: objects that nobody here wrote, in the guests; the page that keeps what came of each, and the figures.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::guests;
use crate::page::{Asked, Page};

const PAGE: &str = "docs/reference/corpus.md";
const FIGURES: &str = "target/corpus.json";
const HEAD: &str = "# Objects that nobody here wrote

`make corpus` installs every object of Debian's libbpf-tools, xdp-tools and libxdp1 as a service of `skepd`, in a guest of each kernel of `tests/kernels.toml`, under a workload made for it
(`tests/corpus/corpus.toml`), and waits for an event or a map's content that shows that it works: once as `skep import` alone makes a package of it, once by its manifest in `tests/corpus/`.
It writes this page and `target/corpus.json`; `cargo xtask corpus --only SERIES` runs one kernel, and `--from FILE…` takes the rows that runs of some objects printed: each row has the commit and the
day of its run, and rows of several commits were not run together. *yes* is followed by what was seen, *no* by why not. *absent* is no failure, and not counted: the
BTF and the symbols of that kernel have nothing that any alternative of the manifest could attach to, which the guest itself looked up.

";
/// Modules of disks and file systems that workloads use.
const MODULES: [&str; 6] = ["null_blk", "brd", "crc32c_generic", "ext4", "md_mod", "raid1"];
/// What `make test` runs, on one kernel: an event, alternatives, packets.
const QUICK: [&str; 8] =
    ["--only", "6.12", "--ask", "opensnoop", "--ask", "vfsstat", "--ask", "xdpfilt-alw-ip"];
/// What must hold.
const BARS: [(&str, usize); 2] = [("manifest", 97), ("import", 80)];

/// An object, a kernel and a kind.
type Pair = (String, String, String);
/// `ok`, `absent` or `failed`, and what was seen or why not.
type Outcome = (String, String);
type Rows = BTreeMap<Pair, Outcome>;

/// What runs a few of them, as `cargo test` prints.
pub fn quick() -> Result<Command> {
    let mut guests = command(false)?;
    guests.args(QUICK);
    Ok(guests)
}

/// What guests printed.
#[derive(Default)]
struct Run {
    rows: Rows,
    /// The releases of the kernels.
    kernels: BTreeSet<String>,
    /// How many rows each kernel said at its end that it had.
    ends: BTreeMap<String, usize>,
    /// What is wrong with a guest, whatever its rows say.
    faults: Vec<String>,
}

/// Runs all in the guests, with options of theirs; `--from FILE…` takes what such runs printed.
pub fn run(options: &[&str]) -> Result<()> {
    if let ["--from", logs @ ..] = options {
        let mut run = Run::default();
        for log in logs {
            let text = std::fs::read_to_string(log).with_context(|| format!("read {log}"))?;
            text.lines().for_each(|line| run.take(line));
        }
        return keep(&run, false); // of some objects, perhaps
    }
    let some = options.contains(&"--ask");
    let mut guests = command(!some)?;
    guests.args(options);
    if some {
        let run = of(&mut guests)?; // to look at some: the page is of whole runs
        run.check()?;
        let failed = run.rows.values().filter(|(word, _)| word == "failed").count();
        ensure!(failed == 0, "{failed} of {} failed", run.rows.len());
        return Ok(());
    }
    keep(&of(guests.args(["--ask", "all"]))?, true)
}

/// Writes the figures of a run, and the page with its rows and those that it had of other kernels, or of other objects.
fn keep(run: &Run, is_whole: bool) -> Result<()> {
    let rows = &run.rows;
    ensure!(!rows.is_empty(), "the guests printed no row");
    std::fs::write(FIGURES, figures(rows).to_string())
        .with_context(|| format!("write {FIGURES}"))?;
    let mut kept = page("")?;
    // An object that is not there any more is no pair.
    let was_run = |thing: &str| run.ends.keys().any(|k| thing.ends_with(&format!(" on {k}")));
    kept.retain(|thing| !is_whole || !was_run(thing));
    for (name, kernel, _) in rows.keys() {
        let cell =
            |kind: &str| rows.get(&(name.clone(), kernel.clone(), kind.to_owned())).map(cell);
        let cells = ["manifest", "import"].map(|kind| cell(kind).unwrap_or_else(|| "-".to_owned()));
        kept.keep(&format!("{name} on {kernel}"), &cells.join(" | "))?;
    }
    let sums = BARS.iter().enumerate().map(|(at, bar)| Sum::of(&kept, at, *bar));
    let sums: Vec<Sum> = sums.collect();
    let mut told: Vec<String> = sums.iter().map(Sum::told).collect();
    let kernels: Vec<&str> = run.kernels.iter().map(String::as_str).collect();
    told.push(format!("- the last run was on {}", kernels.join(", ")));
    let told = told.join("\n");
    println!("{told}");
    page(&format!("{told}\n\n"))?.write()?;
    if is_whole {
        run.check()?;
    }
    match sums.iter().find(|sum| !sum.is_met()) {
        Some(sum) => bail!("a bar is not met: {}", sum.told().trim_start_matches("- ")),
        None => Ok(()),
    }
}

impl Run {
    fn take(&mut self, line: &str) {
        if let Some((_, release)) = line.strip_prefix("kernel ").and_then(|l| l.split_once(": ")) {
            self.kernels.insert(release.to_owned());
        }
        if let Some((kernel, count)) =
            line.strip_prefix("row corpus-end ").and_then(|line| line.split_once(' '))
        {
            self.ends.insert(kernel.to_owned(), count.parse().unwrap_or_default());
        }
        if line.starts_with("a splat:") || line.ends_with(" fetched ... FAILED") {
            self.faults.push(line.to_owned());
        }
        self.rows.extend(row(line));
    }

    /// Whether every guest came to its end, and its kernel kept quiet.
    fn check(&self) -> Result<()> {
        let Self { rows, kernels, ends, faults } = self;
        ensure!(faults.is_empty(), "a guest has a fault: {}", faults.join("; "));
        ensure!(
            kernels.len() == ends.len(),
            "{} kernels were booted, and {} guests came to their ends",
            kernels.len(),
            ends.len()
        );
        for (kernel, count) in ends {
            let there = rows.keys().filter(|(_, own, _)| own == kernel).count();
            ensure!(there == *count, "Linux {kernel}: {there} rows came of {count}");
        }
        Ok(())
    }
}

fn command(released: bool) -> Result<Command> {
    let mut guests = guests::corpus(released)?;
    guests.args(["--cpus", "1"]);
    guests.args(MODULES.iter().flat_map(|module| ["--module", module]));
    Ok(guests)
}

fn page(sums: &str) -> Result<Page> {
    let by: [(&str, Asked); 2] = [
        ("QEMU", ("qemu-system-x86_64", &["--version"])),
        ("libbpf-tools", ("sh", &["-c", "apt-cache show libbpf-tools | sed -n 's/^Version: //p'"])),
    ];
    Page::open(
        PAGE,
        &format!("{HEAD}{sums}"),
        &by,
        &["Object on Linux", "By its manifest", "By skep import"],
    )
}

/// Runs the guests, and takes what they print.
fn of(guests: &mut Command) -> Result<Run> {
    let mut child = guests.stdout(Stdio::piped()).spawn().context("run the guests")?;
    let output = child.stdout.take().context("no output of the guests")?;
    let mut run = Run::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        run.take(&line);
    }
    // A pair that fails makes its guest one that failed: what counts here is what each said.
    if !child.wait()?.success() && !run.rows.values().any(|(word, _)| word == "failed") {
        run.faults.push("the guests failed, and no pair did".to_owned());
    }
    Ok(run)
}

fn row(line: &str) -> Option<(Pair, Outcome)> {
    let mut cells = line.strip_prefix("row corpus ")?.splitn(4, " | ");
    let (kind, name) = cells.next()?.split_once(' ')?;
    let (kernel, word, what) = (cells.next()?, cells.next()?, cells.next()?);
    Some((
        (name.to_owned(), kernel.to_owned(), kind.to_owned()),
        (word.to_owned(), what.to_owned()),
    ))
}

/// A cell that stays readable: the beginning of what was seen or said.
fn cell((word, what): &Outcome) -> String {
    const SHOWN: usize = 240;
    let what: String = what.replace('`', "'").chars().take(SHOWN).collect();
    match word.as_str() {
        "ok" => format!("yes: `{what}`"),
        "absent" => format!("absent: {what}"),
        _ => format!("no: `{what}`"),
    }
}

/// How many of all pairs on the page hold by a kind.
struct Sum {
    kind: &'static str,
    bar: usize,
    passed: usize,
    total: usize,
    absent: usize,
}

impl Sum {
    fn of(page: &Page, at: usize, (kind, bar): (&'static str, usize)) -> Self {
        let mut sum = Self { kind, bar, passed: 0, total: 0, absent: 0 };
        for cell in page.rows().filter_map(|row| row.split(" | ").nth(at)) {
            sum.passed += usize::from(cell.starts_with("yes"));
            sum.absent += usize::from(cell.starts_with("absent"));
            // A pair of which nothing came, not even a refusal, did not work.
            sum.total += usize::from(!cell.starts_with("absent"));
        }
        sum
    }

    const fn is_met(&self) -> bool {
        self.total > 0 && self.passed * 100 >= self.total * self.bar
    }

    fn told(&self) -> String {
        let Self { kind, bar, passed, total, absent } = self;
        let met = if self.is_met() { "met" } else { "not met" };
        let percent = *passed as f64 * 100.0 / (*total).max(1) as f64;
        format!(
            "- by {kind}: {passed} of {total} pairs ({percent:.1} %), {absent} absent; at least {bar} % are asked for: {met}"
        )
    }
}

fn figures(rows: &Rows) -> Value {
    let count = |kind: &str, word: Option<&str>| {
        let of_kind = rows.iter().filter(|((_, _, own), _)| own == kind);
        of_kind.filter(|(_, (own, _))| word.map_or(own != "absent", |word| own == word)).count()
    };
    let pairs: Vec<Value> = rows
        .iter()
        .map(|((name, kernel, kind), (word, what))| {
            json!({"object": name, "kernel": kernel, "by": kind, "outcome": word, "what": what})
        })
        .collect();
    json!({
        "manifest_pass": count("manifest", Some("ok")),
        "manifest_total": count("manifest", None),
        "import_pass": count("import", Some("ok")),
        "import_total": count("import", None),
        "pairs": pairs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_did_not_come_to_its_end_is_told() {
        let lines = [
            "kernel 6.12: 6.12.48-amd64",
            "row corpus import opensnoop | 6.12 | failed | nothing",
            "row corpus-end 6.12 1",
        ];
        let run = |lines: &[&str]| {
            let mut run = Run::default();
            lines.iter().for_each(|line| run.take(line));
            run.check().map_err(|why| why.to_string())
        };
        run(&lines).unwrap();
        assert!(run(&lines[..2]).unwrap_err().contains("0 guests came to their ends"));
        assert!(run(&[lines[0], lines[2]]).unwrap_err().contains("0 rows came of 1"));
        let splat = [lines[0], lines[1], lines[2], "a splat:"];
        assert!(run(&splat).unwrap_err().contains("a splat"));
    }

    #[test]
    fn a_bar_is_met_by_what_passed_alone() {
        let of = |passed, total| Sum { kind: "manifest", bar: 97, passed, total, absent: 0 };
        assert!(of(97, 100).is_met() && !of(96, 100).is_met() && !of(0, 0).is_met());
    }

    #[test]
    fn figures_leave_out_what_is_absent() {
        let lines = [
            "row corpus import opensnoop | 6.12 | ok | {\"pid\":1}",
            "row corpus manifest opensnoop | 6.12 | failed | no such event | at all",
            "row corpus import mdflush | 5.10 | absent | this kernel has no fentry/md_flush_request",
            "test corpus ... ok",
        ];
        let rows: Rows = lines.iter().filter_map(|line| row(line)).collect();
        let figures = figures(&rows);
        for (name, figure) in
            [("import_pass", 1), ("import_total", 1), ("manifest_pass", 0), ("manifest_total", 1)]
        {
            assert_eq!(figures[name], figure, "{name}");
        }
        assert_eq!(figures["pairs"].as_array().unwrap().len(), 3);
    }
}
