//! `skep run`.

use std::collections::BTreeMap;
use std::io::{Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use clap::Args;
use skep_api::{Mode, Run as Request};
use skep_kit::build::Options;
use skep_object::{Facts, carve};
use skep_oci::registry::Part;
use skep_oci::{Store, signatures};
use skep_spec::manifest::{Manifest, Object, Package as Named, Param};
use skep_spec::nearest::nearest;
use skep_spec::param::ParamType;
use skep_spec::{Arch, Digest, PackageRef, media};
use skep_trust::{Asked, Package, Policy, Verified, admit, verify};

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
        let mut params = daemon::params(&self.set)?;
        let mut ready = self.ready(output, config)?;
        if ready.manifest.param.is_empty() {
            bind(&mut ready, &mut params)?;
        }
        let request = self.request(&ready, params, output)?;
        become_skepd(&request, &ready.objects)
    }

    fn ready(&self, output: &Output, config: &Config) -> Result<Ready> {
        let path = Path::new(&self.what);
        if path.is_file() {
            return bare(path);
        }
        if path.join("skep.toml").is_file() {
            return self.project(path, output, config);
        }
        if !path.is_dir() && !self.what.contains('/') {
            return Err(Error::usage(format!("there is no file or folder '{}'", self.what))
                .hint("skep run takes a folder with skep.toml, an object, an OCI layout, or publisher/name:version"));
        }
        match Place::parse(&self.what, config)? {
            Place::Layout(path) => {
                let store = place::layout(&path)?;
                let (reference, digest) = place::package(&store, None)?;
                let bundles = signatures::bundles(&store, digest).map_err(place::failed)?;
                let verified = self.checked(&reference, digest, &bundles, config)?;
                packaged(&store, &reference, verified)
            }
            Place::Registry(reference) => {
                let registry = place::registry(&reference, false, config)?;
                let folder = tempfile::tempdir().context(|| "can't make a temporary folder")?;
                let store = Store::create(folder.path()).map_err(place::failed)?;
                let verified = place::block_on(async {
                    let digest = registry.resolve(&reference).await.map_err(place::failed)?;
                    let bundles =
                        registry.bundles(&reference, digest).await.map_err(place::failed)?;
                    let verified = self.checked(&reference, digest, &bundles, config)?;
                    let pulled =
                        registry.pull(&reference, digest, Part::Node(host()?), &store).await;
                    pulled.map_err(place::failed)?;
                    Ok(verified)
                })?;
                packaged(&store, &reference, verified)
            }
        }
    }

    /// Builds a project for this machine.
    fn project(&self, folder: &Path, output: &Output, config: &Config) -> Result<Ready> {
        let project = build::read(folder)?;
        let arch = host()?;
        let options = Options {
            btf: Some(self.btf.clone().unwrap_or_else(|| "host".to_owned())),
            arch: Some(arch),
            cache: config.cache_dir.clone(),
            ..Options::default()
        };
        let mut built = build::run(&project, &options, output)?;
        let digests = built.objects.iter().map(|(name, arches)| {
            (name.clone(), arches.iter().map(|(arch, elf)| (*arch, Digest::of(elf))).collect())
        });
        let manifest = project.source.resolve(&digests.collect());
        let mut objects = BTreeMap::new();
        for (name, arches) in &mut built.objects {
            let elf = arches.remove(&arch).ok_or_else(|| {
                Error::usage(format!(
                    "[object.{name}] of {} is not built for {arch}",
                    folder.display()
                ))
            })?;
            objects.insert(name.clone(), elf);
        }
        Ok(Ready { manifest, objects })
    }

    fn checked(
        &self,
        reference: &PackageRef,
        digest: Digest,
        bundles: &[Vec<u8>],
        config: &Config,
    ) -> Result<Verified<Digest>> {
        let file = config.config_dir.join("trust.toml");
        let policy = Policy::parse(&std::fs::read_to_string(&file).unwrap_or_default())
            .map_err(|error| Error::caused(Kind::Usage, format!("'{}'", file.display()), &error))?;
        let asked =
            Asked { name: &reference.name, registry: reference.registry.as_deref(), digest };
        match verify(&asked, bundles, &policy, SystemTime::now()) {
            Err(_) if self.allow_unsigned && !policy.is_digest_revoked(&digest) => {
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
        let mode = match (self.count, output.format()) {
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
            targets: daemon::params(&self.targets)?,
            mode,
            quiet: output.is_quiet(),
            events: self.events,
            milliseconds: milliseconds.transpose()?,
            width: width(output),
        })
    }
}

/// A bare object, or the first one that a binary embeds.
fn bare(path: &Path) -> Result<Ready> {
    let shown = path.display().to_string();
    let mut elf = std::fs::read(path).context(|| format!("can't read {shown}"))?;
    if let Err(error) = Facts::parse(&elf) {
        let Some(range) = carve::objects(&elf).into_iter().next() else {
            return Err(Error::caused(Kind::Failed, format!("can't run {shown}"), &error)
                .hint("skep run takes a BPF object (ELF), a binary that embeds one, or a folder with skep.toml"));
        };
        elf = elf[range].to_vec();
        Facts::parse(&elf).context(|| format!("can't run the object in {shown}"))?;
    }
    let stem = path.file_name().unwrap_or_default().to_string_lossy();
    let label: String = stem.split('.').next().unwrap_or_default().to_lowercase();
    let label: String =
        label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = format!("local/{}", label.trim_matches('-')).parse();
    let name = name
        .or_else(|_| "local/object".parse())
        .map_err(|e: skep_spec::name::NameError| Error::usage(e.to_string()))?;
    let version =
        "0.0.0".parse().map_err(|e: skep_spec::name::NameError| Error::usage(e.to_string()))?;
    let object = Object { sha256: BTreeMap::from([(host()?, Digest::of(&elf).hex())]) };
    let manifest = Manifest {
        spec: media::SPEC_VERSION.to_owned(),
        package: Named { name, version, license: "unknown".to_owned(), summary: None },
        objects: BTreeMap::from([("object".to_owned(), object)]),
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
    Ok(Ready { manifest, objects: BTreeMap::from([("object".to_owned(), elf)]) })
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

fn packaged(store: &Store, reference: &PackageRef, verified: Verified<Digest>) -> Result<Ready> {
    let package: Package =
        admit(verified, store, host()?, reference).map_err(place::refused)?.into_inner();
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
