//! `skep run`.

mod bare;
mod bind;
mod fresh;
mod hand_over;
mod package;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use skep_api::{Mode, Run as Request};
use skep_kit::build::Options;
use skep_kit::project::Project;
use skep_object::Facts;
use skep_oci::registry::Part;
use skep_spec::manifest::{Manifest, Param};
use skep_spec::param::ParamType;
use skep_spec::{Arch, Digest, PackageRef};

use super::build;
use crate::config::Config;
use crate::daemon;
use crate::error::{Error, Kind, Result, failed};
use crate::fetch::fetch;
use crate::options::{PlaceOptions, Shown};
use crate::output::{Format, Output, width};
use crate::subject::Named;

/// Run a package, project or object now and show its events, until Ctrl-C
///
/// Needs no daemon and no configuration, and leaves nothing behind. Takes any CO-RE object as it is, and binaries that
/// embed one.
#[derive(Debug, Args)]
pub struct Run {
    /// A folder with skep.toml, an object, a binary that embeds objects, an OCI layout, a bundle, or a reference
    #[arg(default_value = ".")]
    what: OsString,
    /// Set a parameter; for a bare object, a variable in .rodata or .data
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// The interface for XDP and tc programs that name none, and for parameters of the type interface
    #[arg(long, value_name = "NAME")]
    iface: Option<String>,
    /// The cgroup folder for cgroup programs that name none, and for parameters of the type cgroup
    #[arg(long, value_name = "DIR")]
    cgroup: Option<String>,
    /// Only this one of the objects that a binary embeds, such as object2; skep inspect lists them
    #[arg(long, value_name = "NAME")]
    object: Option<String>,
    /// Attach a program elsewhere than its section says
    #[arg(long = "target", value_name = "PROGRAM=TARGET")]
    targets: Vec<String>,
    /// Uprobes in this process only
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Count events instead of showing them
    #[arg(long)]
    count: bool,
    #[command(flatten)]
    shown: Shown,
    /// End after that many events
    #[arg(long, value_name = "N")]
    events: Option<u64>,
    /// End after that time, such as 10s or 500ms
    #[arg(long, value_name = "TIME")]
    duration: Option<String>,
    /// Kernel types for building a project: host, or a file; host if a package's own are not cached
    #[arg(long, value_name = "host|FILE")]
    btf: Option<PathBuf>,
    /// Build a project into this folder instead of its own
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    options: PlaceOptions,
    /// Run a package from a registry or layout even if no trusted key signed it
    #[arg(long)]
    allow_unsigned: bool,
}

/// What is run: a manifest and its objects.
struct Ready {
    manifest: Manifest,
    objects: BTreeMap<String, Vec<u8>>,
}

impl Ready {
    /// What its objects say, by their names.
    fn facts(&self) -> Result<BTreeMap<String, Facts>> {
        let read = |(name, elf): (&String, &Vec<u8>)| {
            Ok((name.clone(), Facts::parse(elf).map_err(failed)?))
        };
        self.objects.iter().map(read).collect()
    }
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
            bind::variables(&mut ready, &mut params)?;
        }
        bind::place(&ready.manifest, ParamType::Interface, self.iface.as_ref(), &mut params);
        bind::place(&ready.manifest, ParamType::Cgroup, self.cgroup.as_ref(), &mut params);
        let request = self.request(&ready, params, output)?;
        bind::targets(&ready, &request.targets)?;
        hand_over::become_skepd(&request, &ready.objects, config)
    }

    fn ready(
        &self,
        params: &BTreeMap<String, String>,
        output: &Output,
        config: &Config,
    ) -> Result<Ready> {
        let place = match Named::parse(&self.what, &self.options.choice, config)? {
            Named::File(path) => return bare::ready(&path, self.object.as_deref()),
            _ if self.object.is_some() => {
                return Err(Error::usage("--object: it chooses of a binary that embeds objects"));
            }
            Named::Project(folder) => return self.project(&folder, output, config),
            Named::Package(place) => place,
        };
        let check = |reference: &PackageRef, digest, bundles: &[Vec<u8>]| {
            package::checked(reference, digest, bundles, config, self.allow_unsigned)
        };
        let fetched = fetch(place, &self.options, Part::Node(host()?), config, check)?;
        package::ready(&fetched, params)
    }

    /// A project as it was built, or built now for this machine if that is out of date.
    fn project(&self, folder: &Path, output: &Output, config: &Config) -> Result<Ready> {
        let project = build::in_folder(build::read(folder)?, self.out.clone());
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
            btf: Some(self.btf.clone().unwrap_or_else(|| "host".into())),
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
            (true, Format::Table | Format::Csv) => Mode::Count,
            (true, _) => Mode::CountJson,
            (false, Format::Table) => Mode::Table,
            (false, Format::Csv) => Mode::Csv,
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
            filter: self.shown.filter.clone(),
            fields: self.shown.fields.clone(),
            events: self.events,
            milliseconds: milliseconds.transpose()?,
            width: width(output),
        })
    }
}

fn host() -> Result<Arch> {
    Arch::host().ok_or_else(|| Error::new(Kind::Failed, "skep does not know this architecture"))
}
