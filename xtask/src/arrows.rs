//! Holds the workspace's arrows against docs/ARCHITECTURE.md, and `unsafe` and libbpf inside skep-kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// Where the table of arrows stands. What it does not name is not shipped, and free.
const PAGE: &str = "docs/ARCHITECTURE.md";

/// Crates that may use libbpf: the one with `unsafe`.
const LIBBPF: [&str; 2] = ["libbpf-rs", "libbpf-sys"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Fails on any breach, naming all of them.
pub fn check() -> Result<()> {
    let packages = packages()?;
    let page = std::fs::read_to_string(PAGE).with_context(|| format!("read {PAGE}"))?;
    let arrows = arrows(&page);
    let mut breaches = Vec::new();
    for name in arrows.keys() {
        if !packages.iter().any(|package| package.name == *name) {
            breaches.push(format!("{PAGE} names {name}, which is no crate"));
        }
    }
    for package in &packages {
        breaches.extend(differences(package, arrows.get(&package.name)));
        if package.name != "skep-kernel" {
            breaches.extend(unsafe_code(package)?);
        }
    }
    ensure!(
        breaches.is_empty() && !arrows.is_empty(),
        "arrows or unsafe code that {PAGE} does not allow:\n  {}",
        breaches.join("\n  ")
    );
    println!("arrows: {} crates, as {PAGE} has them; unsafe in skep-kernel only", packages.len());
    Ok(())
}

/// Which crate uses which, by the page's table: rows of "`skep-x` …| job | x, y |".
fn arrows(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| `skep-")?.split('|').collect();
        let [name, _, uses, ..] = cells.as_slice() else { return None };
        let name = format!("skep-{}", name.split('`').next()?);
        let uses = uses.split(',').map(str::trim).filter(|used| !matches!(*used, "" | "-"));
        Some((name, uses.map(|used| format!("skep-{used}")).collect()))
    };
    page.lines().filter_map(row).collect()
}

fn packages() -> Result<Vec<Package>> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version=1"])
        .output()
        .context("run cargo")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice::<Metadata>(&output.stdout)?.packages)
}

/// Arrows of one crate that the page has and the code does not, or the other way. Dependencies for tests are free: they are not shipped.
fn differences(package: &Package, arrows: Option<&BTreeSet<String>>) -> Vec<String> {
    let shipped =
        package.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"));
    let uses: BTreeSet<String> = shipped.map(|dependency| dependency.name.clone()).collect();
    let mut breaches = Vec::new();
    if package.name != "skep-kernel" {
        let libbpf = uses.iter().filter(|used| LIBBPF.contains(&used.as_str()));
        breaches.extend(libbpf.map(|used| format!("{} -> {used}", package.name)));
    }
    if let Some(arrows) = arrows {
        let own: BTreeSet<String> =
            uses.into_iter().filter(|used| used.starts_with("skep-")).collect();
        let more = own.difference(arrows).map(|used| format!("{} -> {used}", package.name));
        let fewer = arrows
            .difference(&own)
            .map(|used| format!("{} does not use {used}, which its row names", package.name));
        breaches.extend(more.chain(fewer));
    }
    breaches
}

fn unsafe_code(package: &Package) -> Result<Vec<String>> {
    let folder = package.manifest_path.parent().context("a manifest in no folder")?;
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?
        {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !["target", "peers"].contains(&name.as_str()) {
                folders.push(path);
            } else if name.ends_with(".rs") {
                found.extend(unsafe_lines(&path)?);
            }
        }
    }
    Ok(found)
}

/// Lines with the keyword outside comments and strings, or with a way around the lint.
fn unsafe_lines(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let code: String = code.split('"').step_by(2).collect();
        let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        if words.contains(&"unsafe") || (words.contains(&"allow") && words.contains(&"unsafe_code"))
        {
            found.push(format!("{}:{}: {}", path.display(), at + 1, line.trim()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_rows_are_read() {
        let page = "| Crate | Job | Uses |\n|---|---|---|\n| `skep-spec` | a | - |\n| `skep-agent` → `skepd` | b | api, spec |\n";
        let arrows = arrows(page);
        assert_eq!(arrows["skep-spec"], BTreeSet::new());
        assert_eq!(arrows["skep-agent"].len(), 2);
    }

    #[test]
    fn an_arrow_too_many_and_one_too_few_are_breaches() {
        let dependency = |name: &str| Dependency { name: name.to_owned(), kind: None };
        let package = Package {
            name: "skep-oci".to_owned(),
            manifest_path: PathBuf::new(),
            dependencies: ["skep-spec", "skep-hub", "libbpf-rs"].map(dependency).into(),
        };
        let allowed = ["skep-spec", "skep-trust"].map(str::to_owned).into();
        assert_eq!(differences(&package, Some(&allowed)).len(), 3);
    }
}
