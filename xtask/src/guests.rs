//! The test programs that also run on other kernels: built, and given to `testkit`'s `guests`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::test::cargo;

/// A program that runs in guests.
struct Program {
    name: &'static str,
    /// The package whose test target it is; none: a binary of testkit.
    test_of: Option<&'static str>,
    /// Whether objects come along that it builds beforehand (a guest has no clang).
    objects: bool,
    /// Binaries that it finds beside it.
    beside: &'static [&'static str],
}

/// What runs what nobody here wrote: never with the others, as it takes hours.
const CORPUS: Program =
    Program { name: "corpus", test_of: None, objects: true, beside: &["skep", "skepd"] };
const PROGRAMS: [Program; 3] = [
    Program { name: "on_kernel", test_of: Some("skep-kernel"), objects: false, beside: &[] },
    Program { name: "scenario", test_of: Some("skep-runtime"), objects: true, beside: &[] },
    Program { name: "node", test_of: None, objects: true, beside: &["skep", "skepd"] },
];

/// The packages of a whole node.
const NODE: [&str; 3] = ["testkit", "skep-cli", "skep-agent"];
/// Profiles: cargo's words for each, and its folder.
type Profile = (&'static [&'static str], &'static str);
const DEBUG: Profile = (&[], "debug");
const RELEASE: Profile = (&["--release"], "release");

/// Where consoles, which are kept, and objects lie.
const FOLDER: &str = "target/guests";

/// Runs the guests, with options of their own.
pub fn run(options: &[&str]) -> Result<()> {
    let status = command()?.args(options).status().context("run the guests")?;
    if status.success() { Ok(()) } else { bail!("guests: {status}") }
}

/// What runs the guests, with the tests that `tests/kernels.toml` picks.
pub fn command() -> Result<Command> {
    with(&PROGRAMS, &NODE, DEBUG)
}

/// What runs the corpus in guests: with what ships, or with what tests are built with.
pub fn corpus(released: bool) -> Result<Command> {
    with(&[CORPUS], &NODE, if released { RELEASE } else { DEBUG })
}

/// What runs one of the programs in guests.
pub fn command_of(name: &str) -> Result<Command> {
    let program = PROGRAMS.iter().find(|program| program.name == name);
    with(std::slice::from_ref(program.context("no such program")?), &["testkit"], DEBUG)
}

/// What runs these programs in guests, once the packages are built.
fn with(programs: &[Program], packages: &[&str], (words, profile): Profile) -> Result<Command> {
    let mut build = cargo(&["build", "--locked", "--quiet"]);
    build.args(words);
    build.args(packages.iter().flat_map(|package| ["-p", package]));
    ensure!(build.status()?.success(), "what runs in guests does not build");
    let folder = Path::new(FOLDER);
    let mut guests = Command::new(binary(profile, "guests"));
    guests.args(["--kernels", "tests/kernels.toml", "--consoles"]).arg(folder.join("consoles"));
    guests.arg("--cache").arg(cache()?);
    for program in programs {
        let own = match program.test_of {
            Some(package) => executable(package, program.name)?,
            None => binary(profile, program.name),
        };
        let mut word = format!("{}={}", program.name, own.display());
        for name in program.beside {
            word += &format!("+{}", binary(profile, name).display());
        }
        if program.objects {
            let objects = folder.join(program.name);
            std::fs::create_dir_all(&objects)?;
            let status = Command::new(own).arg("--build").arg(&objects).status();
            ensure!(status.context("build the objects")?.success(), "{}: no objects", program.name);
            word += &format!(",{}", objects.display());
        }
        guests.arg(word);
    }
    Ok(guests)
}

/// The test of a whole node on this kernel, with the packages that are built for the guests.
pub fn node() -> Command {
    let mut command = Command::new(binary(DEBUG.1, "node"));
    command.arg("--objects").arg(Path::new(FOLDER).join("node"));
    command
}

/// A binary that cargo built.
fn binary(profile: &str, name: &str) -> PathBuf {
    Path::new("target/x86_64-unknown-linux-musl").join(profile).join(name)
}

/// The path of a package's test, which is built.
pub fn executable(package: &str, name: &str) -> Result<PathBuf> {
    let args =
        ["test", "--locked", "--no-run", "--message-format=json", "-p", package, "--test", name];
    let output = cargo(&args).stderr(std::process::Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{package}'s test {name} does not build");
    let text = String::from_utf8_lossy(&output.stdout);
    let path = text.lines().find_map(|line| {
        let (_, path) = line.split_once("\"executable\":\"")?;
        line.contains(&format!("\"name\":\"{name}\"")).then_some(())?;
        path.split('"').next()
    });
    Ok(path.with_context(|| format!("cargo names no program for {name}"))?.into())
}

/// Outside the checkout, as what else is downloaded.
pub fn cache() -> Result<PathBuf> {
    let set = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(set
        .map(PathBuf::from)
        .or(home)
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("skep"))
}
