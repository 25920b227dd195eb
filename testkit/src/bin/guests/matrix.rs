//! Every program on every kernel.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use skep_kit::guest::{Guest, Outcome};
use skep_kit::kernels::{self, Kernel};
use skep_spec::Arch;

use crate::list::Entry;

/// What network hooks need and stock kernels have as modules.
const MODULES: [&str; 5] = ["veth", "dummy", "sch_ingress", "cls_bpf", "act_bpf"];
/// Programs run for long where instructions are emulated.
const LIMIT: Duration = Duration::from_secs(600);

/// A test program.
pub struct Program {
    name: String,
    binary: PathBuf,
    folder: Option<PathBuf>,
}

impl Program {
    /// Reads `name=binary[,folder]`.
    pub fn parse(word: &str) -> Result<Self> {
        let (name, paths) = word.split_once('=').context("NAME=BINARY[,FOLDER]")?;
        let (binary, folder) = match paths.split_once(',') {
            Some((binary, folder)) => (binary, Some(PathBuf::from(folder))),
            None => (paths, None),
        };
        Ok(Self { name: name.to_owned(), binary: binary.into(), folder })
    }
}

/// Programs, and where their guests' things lie.
pub struct Matrix {
    pub init: PathBuf,
    pub cache: PathBuf,
    pub consoles: PathBuf,
    pub programs: Vec<Program>,
}

/// How a guest is booted.
struct Shape {
    cpus: u32,
    append: &'static str,
    name: &'static str,
}

const SHAPES: [Shape; 3] = [
    Shape { cpus: 1, append: "", name: "1 cpu" },
    Shape { cpus: 2, append: "", name: "2 cpus" },
    Shape { cpus: 2, append: "preempt=full", name: "2 cpus, preempt=full" },
];

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
        for entry in list {
            match kernels::fetch_with_modules(&self.cache, Arch::X86_64, &entry.series) {
                Ok(kernel) => self.kernel(entry, &kernel, &stripped, &mut counts),
                Err(error) => {
                    let why = anyhow::Error::new(error);
                    println!("test {} fetched ... FAILED\n    {why:#}", entry.series);
                    counts.failed += 1;
                }
            }
        }
        let word = if counts.failed == 0 { "ok" } else { "FAILED" };
        let Counts { passed, failed } = counts;
        println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored");
        Ok(counts.failed == 0)
    }

    /// Binaries without their symbols for debuggers, which a guest has no memory for.
    fn stripped(&self, work: &Path) -> Result<Vec<PathBuf>> {
        let strip = |program: &Program| {
            let to = work.join(&program.name);
            let status =
                Command::new("strip").arg("-g").arg("-o").arg(&to).arg(&program.binary).status();
            ensure!(status.context("run strip")?.success(), "strip {}", program.name);
            Ok(to)
        };
        self.programs.iter().map(strip).collect()
    }

    fn kernel(&self, entry: &Entry, kernel: &Kernel, binaries: &[PathBuf], counts: &mut Counts) {
        let shapes = SHAPES.iter().filter(|shape| shape.append.is_empty() || entry.preempt_full);
        for shape in shapes {
            for (program, binary) in self.programs.iter().zip(binaries) {
                let label = format!("{} ({}): {}", kernel.release, shape.name, program.name);
                println!("running in a guest: {label}");
                match self.guest(kernel, shape, program, binary) {
                    Ok(line) => {
                        counts.passed += line.0;
                        println!("test {label} ... ok ({})", line.1);
                    }
                    Err(error) => {
                        counts.failed += 1;
                        println!("test {label} ... FAILED\n{error:#}");
                    }
                }
            }
        }
    }

    /// Boots one guest; gives how many tests passed in it, and its times.
    fn guest(
        &self,
        kernel: &Kernel,
        shape: &Shape,
        program: &Program,
        binary: &Path,
    ) -> Result<(usize, String)> {
        let mut command = vec![format!("/bin/{}", program.name)];
        let mut files = vec![(binary.to_owned(), format!("bin/{}", program.name))];
        if let Some(folder) = &program.folder {
            files.push((folder.clone(), "objects".to_owned()));
            command.extend(["--objects", "/objects"].map(str::to_owned));
        }
        command.push("all".to_owned());
        let console =
            format!("{}-{}-{}", kernel.release, shape.name.replace([' ', ','], ""), program.name);
        let console = self.consoles.join(format!("{console}.console"));
        let outcome = Guest {
            kernel: kernel.clone(),
            init: self.init.clone(),
            files,
            modules: MODULES.map(str::to_owned).into(),
            command,
            cpus: shape.cpus,
            memory: 2048,
            append: shape.append.to_owned(),
            limit: LIMIT,
            console: console.clone(),
        }
        .boot()?;
        judge(&outcome).with_context(|| {
            format!("{}\nthe console is {}", outcome.output.trim_end(), console.display())
        })
    }
}

/// A guest passes if its program did, counted at least one test, and the kernel kept quiet.
fn judge(outcome: &Outcome) -> Result<(usize, String)> {
    if !outcome.splats.is_empty() {
        bail!("the kernel splatted:\n{}", outcome.splats.join("\n"));
    }
    match outcome.status {
        Some(0) => {}
        Some(status) => bail!("exit status {status}"),
        None => bail!("the guest ended, or ran into its time limit, before the program did"),
    }
    let passed = outcome.output.lines().filter_map(|line| {
        let rest = line.strip_prefix("test result: ok. ")?;
        rest.split_once(" passed")?.0.parse::<usize>().ok()
    });
    let passed: usize = passed.sum();
    ensure!(passed > 0, "it counted no test");
    let (boot, run) = (outcome.boot.as_secs_f64(), outcome.run.as_secs_f64());
    let again = match outcome.retries {
        0 => String::new(),
        retries => format!(", booted {} times", retries + 1),
    };
    Ok((passed, format!("{passed} tests; boot {boot:.1} s, run {run:.1} s{again}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: Option<i32>, output: &str, splats: &[&str]) -> Outcome {
        Outcome {
            status,
            output: output.to_owned(),
            splats: splats.iter().map(|splat| (*splat).to_owned()).collect(),
            retries: 0,
            boot: Duration::ZERO,
            run: Duration::ZERO,
        }
    }

    #[test]
    fn only_what_ran_and_was_quiet_passes() {
        let good = "test a ... ok\ntest result: ok. 12 passed; 0 failed\n";
        assert_eq!(judge(&outcome(Some(0), good, &[])).unwrap().0, 12);
        assert!(judge(&outcome(Some(0), good, &["WARNING: x"])).is_err());
        assert!(judge(&outcome(Some(1), good, &[])).is_err());
        assert!(judge(&outcome(None, good, &[])).is_err());
        assert!(judge(&outcome(Some(0), "", &[])).is_err());
    }
}
