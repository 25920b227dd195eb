//! `skep run`.

mod fresh;

use std::collections::BTreeMap;
use std::io::{Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use clap::Args;
use skep_api::{Mode, Run as Request};
use skep_kit::build::Options;
use skep_kit::project::Project;
use skep_object::{Facts, ObjectError, carve, declared};
use skep_oci::registry::Part;
use skep_spec::manifest::{Manifest, Object, Package as Named, Param};
use skep_spec::nearest::nearest;
use skep_spec::param::ParamType;
use skep_spec::{Arch, Digest, PackageRef, media};
use skep_trust::{Asked, Package, Policy, Verified, admit, verify};

use super::fetch::{Fetched, fetch};
use super::place::{self, Place};
use super::{build, daemon};
use crate::config::Config;
use crate::error::{Context as _, Error, Kind, Result};
use crate::output::{Format, Output, width};

/// Run a package, project or object now and show its events, until Ctrl-C
///
/// Needs no daemon and no configuration, and leaves nothing behind. Takes any CO-RE object as it is, and binaries that
/// embed one.
#[derive(Debug, Args)]
pub struct Run {
    /// A folder with skep.toml, an object, a binary that embeds objects, an OCI layout, or a reference
    #[arg(default_value = ".")]
    what: String,
    /// Set a parameter; for a bare object, a variable in .rodata or .data
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// The interface for XDP and tc programs that name none
    #[arg(long, value_name = "NAME")]
    iface: Option<String>,
    /// The cgroup folder for cgroup programs that name none
    #[arg(long, value_name = "DIR")]
    cgroup: Option<String>,
    /// Attach a program elsewhere than its section says
    #[arg(long = "target", value_name = "PROGRAM=TARGET")]
    targets: Vec<String>,
    /// Uprobes in this process only
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// The same as --output
    #[arg(short = 'o', value_name = "table|ndjson", value_enum)]
    shown_as: Option<Format>,
    /// Count events instead of showing them
    #[arg(long)]
    count: bool,
    /// End after that many events
    #[arg(long, value_name = "N")]
    events: Option<u64>,
    /// End after that time, such as 10s or 500ms
    #[arg(long, value_name = "TIME")]
    duration: Option<String>,
    /// Kernel types for building a project: host, or a file; host if a package's own are not cached
    #[arg(long, value_name = "host|FILE")]
    btf: Option<String>,
    /// Run a package from a registry or layout even if no trusted key signed it
    #[arg(long)]
    allow_unsigned: bool,
}

/// What is run: a manifest and its objects.
struct Ready {
    manifest: Manifest,
    objects: BTreeMap<String, Vec<u8>>,
}

impl Run {
    /// Runs it: this process becomes `skepd --ephemeral`.
    ///
    /// # Errors
    /// It cannot be read or built, is refused, or skepd is not found.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let mut params = daemon::pairs("--set", "NAME=VALUE", &self.set)?;
        let mut ready = self.ready(&params, output, config)?;
        if ready.manifest.param.is_empty() && !params.is_empty() {
            bind(&mut ready, &mut params)?;
        }
        let request = self.request(&ready, params, output)?;
        are_programs(&ready, request.targets.keys())?;
        become_skepd(&request, &ready.objects)
    }

    fn ready(
        &self,
        params: &BTreeMap<String, String>,
        output: &Output,
        config: &Config,
    ) -> Result<Ready> {
        let path = Path::new(&self.what);
        if path.is_file() {
            return bare(path);
        }
        if path.join("skep.toml").is_file() {
            return self.project(path, output, config);
        }
        if let Some(why) = unusable(path, &self.what) {
            return Err(Error::usage(why)
                .hint("skep run takes a folder with skep.toml, an object, an OCI layout, or publisher/name:version"));
        }
        let place = Place::parse(&self.what, config)?;
        let part = Part::Node(host()?);
        let fetched = fetch(place, None, part, false, config, |reference, digest, bundles| {
            self.checked(reference, digest, bundles, config)
        })?;
        packaged(&fetched, params)
    }

    /// A project as it was built, or built now for this machine if that is out of date.
    fn project(&self, folder: &Path, output: &Output, config: &Config) -> Result<Ready> {
        let project = build::read(folder)?;
        let arch = host()?;
        let objects = match fresh::objects(&project, arch).filter(|_| self.btf.is_none()) {
            Some(objects) => objects,
            None => self.built(&project, arch, output, config)?,
        };
        let digests = objects
            .iter()
            .map(|(name, elf)| (name.clone(), std::iter::once((arch, Digest::of(elf))).collect()));
        let manifest = project.source.resolve(&digests.collect());
        Ok(Ready { manifest, objects })
    }

    fn built(
        &self,
        project: &Project,
        arch: Arch,
        output: &Output,
        config: &Config,
    ) -> Result<BTreeMap<String, Vec<u8>>> {
        let options = Options {
            btf: Some(self.btf.clone().unwrap_or_else(|| "host".to_owned())),
            arch: Some(arch),
            cache: config.cache_dir.clone(),
            ..Options::default()
        };
        let built = build::run(project, &options, output)?;
        let mut objects = BTreeMap::new();
        for (name, mut arches) in built.objects {
            let elf = arches.remove(&arch).ok_or_else(|| {
                let shown = project.folder.display();
                Error::usage(format!("[object.{name}] of {shown} is not built for {arch}"))
            })?;
            objects.insert(name, elf);
        }
        Ok(objects)
    }

    fn checked(
        &self,
        reference: &PackageRef,
        digest: Digest,
        bundles: &[Vec<u8>],
        config: &Config,
    ) -> Result<Verified<Digest>> {
        let policy = policy(config)?;
        let asked =
            Asked { name: &reference.name, registry: reference.registry.as_deref(), digest };
        match verify(&asked, bundles, &policy, SystemTime::now()) {
            Err(_) if self.allow_unsigned && !policy.is_revoked(&digest, bundles) => {
                Ok(Verified::<Digest>::unsigned(digest))
            }
            other => other.map_err(|error| {
                place::refused(error)
                    .hint("trust its key in trust.toml, or take the risk: --allow-unsigned")
            }),
        }
    }

    fn request(
        &self,
        ready: &Ready,
        params: BTreeMap<String, String>,
        output: &Output,
    ) -> Result<Request> {
        let milliseconds = self.duration.as_deref().map(|text| {
            let param = Param::of(ParamType::Duration, Some("ms"));
            param.number_of(text).map_err(|error| Error::usage(format!("--duration: {error}")))
        });
        let mode = match (self.count, self.shown_as.unwrap_or(output.format())) {
            (true, Format::Table) => Mode::Count,
            (true, _) => Mode::CountJson,
            (false, Format::Table) => Mode::Table,
            (false, _) => Mode::Ndjson,
        };
        Ok(Request {
            manifest: ready.manifest.clone(),
            objects: ready.objects.iter().map(|(name, elf)| (name.clone(), elf.len())).collect(),
            params,
            interface: self.iface.clone(),
            cgroup: self.cgroup.clone(),
            targets: daemon::pairs("--target", "PROGRAM=TARGET", &self.targets)?,
            pid: self.pid,
            mode,
            quiet: output.is_quiet(),
            events: self.events,
            milliseconds: milliseconds.transpose()?,
            width: width(output),
        })
    }
}

/// This machine's rules. Where there are none nobody is trusted; rules that cannot be read are no such case, for they may
/// revoke.
fn policy(config: &Config) -> Result<Policy> {
    let file = config.config_dir.join("trust.toml");
    let shown = file.display();
    let text = match std::fs::read_to_string(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read
            .map_err(|error| Error::caused(Kind::Usage, format!("can't read '{shown}'"), &error))?,
    };
    Policy::parse(&text).map_err(|error| Error::caused(Kind::Usage, format!("'{shown}'"), &error))
}

/// Why what was named can be neither a folder, nor, if it has no slash, a reference; `None` if it can.
fn unusable(path: &Path, what: &str) -> Option<String> {
    if path.is_dir() {
        return None;
    }
    if path.exists() {
        return Some(format!("'{what}' is neither a file nor a folder"));
    }
    match std::fs::read_link(path) {
        Ok(to) => Some(format!("'{what}' is a link to '{}', which is not there", to.display())),
        Err(_) if what.contains('/') => None,
        Err(_) => Some(format!("there is no file or folder '{what}'")),
    }
}

/// A bare object, or those that a program embeds.
fn bare(path: &Path) -> Result<Ready> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).context(|| format!("can't read {shown}"))?;
    let objects = embedded(&bytes).map_err(|error| {
        Error::caused(Kind::Failed, format!("can't run {shown}"), &error)
            .hint("skep run takes a BPF object (ELF), a program that embeds some, or a folder with skep.toml")
    })?;
    let arch = host()?;
    let listed = objects.iter().map(|(name, elf)| {
        (name.clone(), Object { sha256: BTreeMap::from([(arch, Digest::of(elf).hex())]) })
    });
    let wrong = |error: skep_spec::name::NameError| Error::usage(error.to_string());
    let stem = path.file_name().unwrap_or_default().to_string_lossy();
    let manifest = Manifest {
        spec: media::SPEC_VERSION.to_owned(),
        package: Named {
            name: label(&stem).parse().map_err(wrong)?,
            version: "0.0.0".parse().map_err(wrong)?,
            license: "unknown".to_owned(),
            summary: None,
        },
        objects: listed.collect(),
        critical: Vec::new(),
        program: BTreeMap::new(),
        alternatives: BTreeMap::new(),
        param: BTreeMap::new(),
        map: BTreeMap::new(),
        output: BTreeMap::new(),
        permissions: None,
        requirements: None,
        health: None,
        limits: None,
        dependencies: BTreeMap::new(),
    };
    Ok(Ready { manifest, objects })
}

/// The objects in a file. One that is an object itself is read by skepd only, which says what is wrong with it.
fn embedded(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, ObjectError> {
    let ranges = carve::objects(bytes);
    if let [range] = ranges.as_slice() {
        let whole = if range.start == 0 { bytes } else { bytes.get(range.clone()).unwrap_or(&[]) };
        return Ok(BTreeMap::from([("object".to_owned(), whole.to_vec())]));
    }
    if ranges.is_empty() {
        Facts::parse(bytes)?;
    }
    let numbered = ranges
        .into_iter()
        .enumerate()
        .map(|(at, range)| (format!("object{}", at + 1), bytes.get(range).unwrap_or(&[]).to_vec()));
    Ok(numbered.collect())
}

/// A file's name as a package's: `local/` and what a package may be called.
fn label(file: &str) -> String {
    let stem = file.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let words = stem.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name: String = words.collect::<Vec<_>>().join("-").chars().take(40).collect();
    let name = name.trim_end_matches('-');
    format!("local/{}", if name.is_empty() { "object" } else { name })
}

/// Whether `--target` names programs that there are: a mistyped one would attach where nobody asked.
fn are_programs<'a>(ready: &Ready, mut named: impl Iterator<Item = &'a String>) -> Result<()> {
    let mut there: Vec<String> = ready.manifest.program.keys().cloned().collect();
    if there.is_empty() {
        for elf in ready.objects.values() {
            let facts = Facts::parse(elf).map_err(place::failed)?;
            there.extend(facts.programs.into_iter().map(|program| program.name));
        }
    }
    if let Some(name) = named.find(|name| !there.contains(name)) {
        let error = Error::usage(format!("--target {name}: there is no program of that name"));
        return Err(error.hint(format!("there are: {}", there.join(", "))));
    }
    Ok(())
}

/// Makes a parameter of each variable that `--set` names, for packages that declare none.
fn bind(ready: &mut Ready, params: &mut BTreeMap<String, String>) -> Result<()> {
    let mut facts = Vec::new();
    for elf in ready.objects.values() {
        facts.push(Facts::parse(elf).map_err(place::failed)?);
    }
    for (name, text) in params.iter() {
        let globals = || facts.iter().flat_map(|facts| &facts.globals);
        let Some(global) = globals().find(|global| global.name == *name) else {
            let error =
                Error::usage(format!("--set {name}: the object has no variable of that name"));
            let near = nearest(name, globals().map(|global| global.name.as_str()));
            return Err(near
                .into_iter()
                .fold(error, |error, near| error.hint(format!("did you mean '{near}'?"))));
        };
        let kind = match (text.as_str(), global.size) {
            (_, 9..) => ParamType::String,
            ("true" | "false", _) => ParamType::Bool,
            _ => ParamType::Int,
        };
        let mut param = Param::of(kind, None);
        let place =
            if global.section.starts_with(".rodata") { &mut param.rodata } else { &mut param.data };
        *place = Some(name.clone());
        ready.manifest.param.insert(name.clone(), param);
    }
    Ok(())
}

/// A package of somebody else's: held against its `[permissions]`, as skepd does before it installs one.
fn packaged(
    fetched: &Fetched<Verified<Digest>>,
    params: &BTreeMap<String, String>,
) -> Result<Ready> {
    let Fetched { store, reference, checked, .. } = fetched;
    let package = admit(checked.clone(), store, host()?, reference).map_err(place::refused)?;
    let package: Package = package.into_inner();
    let facts: Vec<Facts> = package
        .objects
        .values()
        .map(|elf| Facts::parse(elf))
        .collect::<Result<_, _>>()
        .map_err(place::failed)?;
    declared::hold(&package.manifest, &facts, params).map_err(|exceeded| {
        let message = format!("{reference} does more than its [permissions] say");
        let error = Error::new(Kind::Refused, message)
            .hint("nothing was loaded. skep pack lets no such package out: ask its publisher what the code is for");
        exceeded.missing.into_iter().fold(error, Error::because)
    })?;
    Ok(Ready { manifest: package.manifest, objects: package.objects })
}

fn host() -> Result<Arch> {
    Arch::host().ok_or_else(|| Error::new(Kind::Failed, "skep does not know this architecture"))
}

/// Hands the request over on the standard input and becomes the daemon's binary: one process, which Ctrl-C ends.
fn become_skepd(request: &Request, objects: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let mut input = tempfile::tempfile().context(|| "can't make a temporary file")?;
    let mut line = serde_json::to_vec(request).map_err(place::failed)?;
    line.push(b'\n');
    let parts = std::iter::once(&line).chain(objects.values());
    let written =
        parts.into_iter().try_for_each(|part| input.write_all(part)).and_then(|()| input.rewind());
    written.context(|| "can't write a temporary file")?;
    let mut candidates = vec![PathBuf::from("skepd")];
    if let Ok(me) = std::env::current_exe() {
        candidates.insert(0, me.with_file_name("skepd"));
    }
    let mut failure = None;
    for skepd in candidates {
        let input = input.try_clone().context(|| "can't use a temporary file")?;
        let error = Command::new(&skepd).arg("--ephemeral").stdin(input).exec();
        failure.get_or_insert((skepd, error));
    }
    let Some((skepd, error)) = failure else { return Ok(()) };
    Err(Error::caused(Kind::Failed, format!("can't start {}", skepd.display()), &error)
        .hint("skepd comes with skep: put it beside skep, or into PATH"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_names_that_packages_may_have() {
        for (file, name) in [
            ("exec.bpf.o", "local/exec"),
            ("Foo_Bar--x", "local/foo-bar-x"),
            ("--", "local/object"),
            ("", "local/object"),
        ] {
            assert_eq!(label(file), name);
            assert!(label(file).parse::<skep_spec::PackageName>().is_ok());
        }
    }

    #[test]
    fn what_is_no_object_says_what_it_is() {
        let error = embedded(b"#!/bin/sh\n").unwrap_err();
        assert!(error.to_string().starts_with("this is not an ELF file"), "{error}");
    }
}
