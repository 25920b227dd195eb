//! Holds the workspace's arrows against docs/ARCHITECTURE.md, and `unsafe` and libbpf inside skep-kernel.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// Which crate may use which: the table of docs/ARCHITECTURE.md. What is not here is not shipped, and free.
const ARROWS: [(&str, &str); 13] = [
    ("skep-spec", ""),
    ("skep-object", "spec"),
    ("skep-trust", "spec"),
    ("skep-adapt", "spec object"),
    ("skep-conformance", "spec object trust adapt"),
    ("skep-oci", "spec trust"),
    ("skep-kernel", "spec object adapt"),
    ("skep-runtime", "spec object trust adapt kernel"),
    ("skep-kit", "spec object trust adapt oci kernel"),
    ("skep-api", "spec object adapt"),
    ("skep-agent", "api spec object oci trust adapt runtime kernel"),
    ("skep-hub", "api spec oci trust object adapt"),
    ("skep-cli", "api spec object oci trust adapt conformance kit"),
];

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

/// Fails on the first kind of breach, naming all of that kind.
pub fn check() -> Result<()> {
    let packages = packages()?;
    let allowed: BTreeMap<&str, Vec<String>> = ARROWS
        .iter()
        .map(|(name, uses)| {
            (*name, uses.split_whitespace().map(|used| format!("skep-{used}")).collect())
        })
        .collect();
    let mut breaches = Vec::new();
    for package in &packages {
        breaches.extend(forbidden(package, &allowed));
        if package.name != "skep-kernel" {
            breaches.extend(unsafe_code(package)?);
        }
    }
    ensure!(breaches.is_empty(), "forbidden arrows or unsafe code:\n  {}", breaches.join("\n  "));
    println!(
        "arrows: {} crates, as docs/ARCHITECTURE.md has them; unsafe in skep-kernel only",
        packages.len()
    );
    Ok(())
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

/// Dependencies for tests are free: they are not shipped.
fn forbidden(package: &Package, allowed: &BTreeMap<&str, Vec<String>>) -> Vec<String> {
    let shipped =
        package.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"));
    let mut breaches = Vec::new();
    for dependency in shipped {
        let uses = &dependency.name;
        let is_libbpf = LIBBPF.contains(&uses.as_str()) && package.name != "skep-kernel";
        let is_arrow = uses.starts_with("skep-")
            && allowed.get(package.name.as_str()).is_some_and(|allowed| !allowed.contains(uses));
        if is_libbpf || is_arrow {
            breaches.push(format!("{} -> {uses}", package.name));
        }
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
