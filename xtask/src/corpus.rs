//! `make corpus`: objects that nobody here wrote, in the guests; the page that keeps what came of each, and the figures.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::guests;
use crate::page::{Asked, Page};

const PAGE: &str = "docs/reference/corpus.md";
const FIGURES: &str = "target/corpus.json";
const HEAD: &str = "# Objects that nobody here wrote

`make corpus` installs every object of Debian's libbpf-tools, xdp-tools and libxdp1 as a service of `skepd`, in a guest of each kernel of `tests/kernels.toml`, under a workload made for it
(`tests/corpus/corpus.toml`), and waits for an event or a map's content that shows that it works: once as `skep import` alone makes a package of it, once by its manifest in `tests/corpus/`.
It writes this page and `target/corpus.json`; `cargo xtask corpus --only SERIES` runs one kernel. *yes* is followed by what was seen, *no* by why not. *absent* is no failure, and not counted: the
BTF and the symbols of that kernel have nothing that any alternative of the manifest could attach to, which the guest itself looked up.

";
/// Modules of disks and file systems that workloads use.
const MODULES: [&str; 6] = ["null_blk", "brd", "crc32c_generic", "ext4", "md_mod", "raid1"];
/// What `make test` runs, on one kernel: an event, alternatives, packets.
const QUICK: [&str; 10] = [
    "--only",
    "6.12",
    "--ask",
    "must",
    "--ask",
    "opensnoop",
    "--ask",
    "vfsstat",
    "--ask",
    "xdpfilt-alw-ip",
];
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

/// Runs all in the guests, with options of theirs; `--from FILE…` takes the rows that such runs printed.
pub fn run(options: &[&str]) -> Result<()> {
    if let ["--from", logs @ ..] = options {
        let mut rows = Rows::new();
        for log in logs {
            let text = std::fs::read_to_string(log).with_context(|| format!("read {log}"))?;
            rows.extend(text.lines().filter_map(row));
        }
        return keep(&rows);
    }
    let mut guests = command(true)?;
    guests.args(options);
    if options.contains(&"--ask") {
        return rows_of(&mut guests).map(drop); // to look at some: the page is of whole runs
    }
    keep(&rows_of(guests.args(["--ask", "all"]))?)
}

/// Writes the figures of these rows, and the page with them and those that it had.
fn keep(rows: &Rows) -> Result<()> {
    ensure!(!rows.is_empty(), "the guests printed no row");
    std::fs::write(FIGURES, figures(rows).to_string())
        .with_context(|| format!("write {FIGURES}"))?;
    let mut kept = page("")?;
    for (name, kernel, _) in rows.keys() {
        let cell =
            |kind: &str| rows.get(&(name.clone(), kernel.clone(), kind.to_owned())).map(cell);
        let cells = ["manifest", "import"].map(|kind| cell(kind).unwrap_or_else(|| "-".to_owned()));
        kept.keep(&format!("{name} on {kernel}"), &cells.join(" | "))?;
    }
    let sums: Vec<String> = BARS.iter().enumerate().map(|(at, bar)| sum(&kept, at, *bar)).collect();
    let sums = sums.join("\n");
    println!("{sums}");
    page(&format!("{sums}\n\n"))?.write()
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

/// Runs the guests, and takes the rows that they print.
fn rows_of(guests: &mut Command) -> Result<Rows> {
    let mut child = guests.stdout(Stdio::piped()).spawn().context("run the guests")?;
    let output = child.stdout.take().context("no output of the guests")?;
    let mut rows = Rows::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        rows.extend(row(&line));
    }
    ensure!(child.wait()?.success(), "not every guest came to its end");
    Ok(rows)
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

/// How many of all pairs on the page hold by a kind, and whether that is enough.
fn sum(page: &Page, at: usize, (kind, bar): (&str, usize)) -> String {
    let cells = page.rows().filter_map(|row| row.split(" | ").nth(at));
    let (mut passed, mut total, mut absent) = (0, 0, 0);
    for cell in cells {
        passed += usize::from(cell.starts_with("yes"));
        total += usize::from(cell.starts_with("yes") || cell.starts_with("no"));
        absent += usize::from(cell.starts_with("absent"));
    }
    let met = if passed * 100 >= total * bar { "met" } else { "not met" };
    let percent = passed as f64 * 100.0 / total.max(1) as f64;
    format!(
        "- by {kind}: {passed} of {total} pairs ({percent:.1} %), {absent} absent; at least {bar} % are asked for: {met}"
    )
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
