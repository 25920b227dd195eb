//! The test programs that also run on other kernels: built, and given to `testkit`'s `guests`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::test::cargo;

/// The test targets, and whether objects come along that are built beforehand (a guest has no clang).
const PROGRAMS: [(&str, &str, bool); 2] =
    [("skep-kernel", "on_kernel", false), ("skep-runtime", "scenario", true)];

/// Where consoles, which are kept, and objects lie.
const FOLDER: &str = "target/guests";

/// Runs the guests, with options of their own.
pub fn run(options: &[&str]) -> Result<()> {
    let status = command()?.args(options).status().context("run the guests")?;
    if status.success() { Ok(()) } else { bail!("guests: {status}") }
}

/// What runs the guests, with the tests that `tests/kernels.toml` picks.
pub fn command() -> Result<Command> {
    ensure!(
        cargo(&["build", "--locked", "--quiet", "-p", "testkit"]).status()?.success(),
        "testkit does not build"
    );
    let folder = Path::new(FOLDER);
    let built = executables()?;
    let first = built.first().context("no test program was built")?;
    // target/TRIPLE/debug/deps/NAME-HASH: the programs lie beside deps.
    let beside = first.ancestors().nth(2).context("a test program without a folder")?;
    let mut guests = Command::new(beside.join("guests"));
    guests.args(["--kernels", "tests/kernels.toml", "--consoles"]).arg(folder.join("consoles"));
    guests.arg("--cache").arg(cache()?);
    for ((_, name, objects), binary) in PROGRAMS.iter().zip(&built) {
        let mut word = format!("{name}={}", binary.display());
        if *objects {
            let objects = folder.join("objects");
            std::fs::create_dir_all(&objects)?;
            let status = Command::new(binary).arg("--build").arg(&objects).status();
            ensure!(status.context("build the objects")?.success(), "{name}: no objects");
            word += &format!(",{}", objects.display());
        }
        guests.arg(word);
    }
    Ok(guests)
}

/// Builds the test programs; gives their files in the order of [`PROGRAMS`].
fn executables() -> Result<Vec<PathBuf>> {
    PROGRAMS.iter().map(|(package, name, _)| executable(package, name)).collect()
}

fn executable(package: &str, name: &str) -> Result<PathBuf> {
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
fn cache() -> Result<PathBuf> {
    let set = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(set
        .map(PathBuf::from)
        .or(home)
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("skep"))
}
