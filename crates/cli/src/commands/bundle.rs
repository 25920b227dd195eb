//! `skep bundle` and `skep unbundle`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use skep_oci::archive::{self, Archived, BundleError, Source};
use skep_oci::registry::is_whole;
use skep_oci::{Store, regular};
use skep_spec::dependency::{Root, needs};
use skep_spec::{Arch, Digest};

use crate::config::Config;
use crate::error::{Context as _, Error, Result, failed};
use crate::fetch::{Whole, passing, unpacked, whole};
use crate::kernel_types;
use crate::keys_and_channels::{self, Put};
use crate::moment;
use crate::named;
use crate::needed::{Asking, Needed, Where, needed};
use crate::options::{Choice, Transport};
use crate::output::{Output, bytes};
use crate::passing::{Passing, reading};
use crate::place::{self, Place};
use crate::progress::shown;
use crate::rules;
use crate::subject::manifest_of;

/// Put packages into one file, for machines without a network: with signatures and all else that refers to them
///
/// What they need comes along, and what that needs, from where each came or else from the hub.
///
/// The file is an OCI layout in a tar archive, and the same packages always give the same bytes. Nothing is trusted because it
/// lies in one: skep unbundle takes it apart, and verify, push, copy and install check as ever.
#[derive(Debug, Args)]
pub struct Bundle {
    /// What: [registry/]publisher/name:version (or @sha256:…), or OCI layouts and other bundles, of which every package is taken
    #[arg(required = true)]
    packages: Vec<OsString>,
    /// The file to write
    #[arg(long, short = 'o', value_name = "FILE")]
    out: PathBuf,
    /// Only for this architecture; may be given several times
    #[arg(long, value_name = "ARCH")]
    arch: Vec<Arch>,
    /// Kernel types for nodes whose kernels carry none: host, debian:SERIES, RELEASE=FILE or RELEASE/ARCH=FILE; may be given
    /// several times
    #[arg(long, value_name = "KERNEL")]
    btf: Vec<String>,
    /// Leave out what the packages need
    #[arg(long)]
    without_dependencies: bool,
    #[command(flatten)]
    transport: Transport,
}

/// Take packages out of a bundle: into a layout, or into a registry
///
/// Nothing is listed there before all of it has been checked against its digests; who signed it is for skep verify.
#[derive(Debug, Args)]
pub struct Unbundle {
    /// The file that skep bundle made
    file: PathBuf,
    /// The folder of the layout; it is made if need be
    #[arg(long, short = 'o', value_name = "LAYOUT", required_unless_present_any = ["to", "btf"])]
    out: Option<PathBuf>,
    /// Push the packages to this registry, with all that refers to them: host[:port][/path]
    #[arg(long, value_name = "REGISTRY", conflicts_with = "out")]
    to: Option<String>,
    /// Write the kernel types in it into this folder, where skepd looks in /etc/skep/btf: RELEASE-ARCH.btf
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "to"])]
    btf: Option<PathBuf>,
    /// Speak HTTP without TLS (loopback addresses always do)
    #[arg(long, requires = "to")]
    plain_http: bool,
    /// Replace versions where they are there with other content
    #[arg(long, requires = "to")]
    force: bool,
}

#[derive(Default, Serialize)]
struct Answer {
    packages: Vec<Listed>,
    /// Keys and channels that were put beside them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    carried: Vec<String>,
    blobs: usize,
    bytes: u64,
    to: String,
}

#[derive(Serialize)]
struct Listed {
    package: String,
    digest: Digest,
}

impl Bundle {
    /// Runs it.
    ///
    /// # Errors
    /// A package is not there or not whole, or the file cannot be written: then there is none.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let arches: BTreeSet<Arch> = self.arch.iter().copied().collect();
        let mut found = Vec::new();
        for package in &self.packages {
            let place = Place::parse(package, &Choice::default(), config)?;
            let from = match &place {
                Place::Registry(reference) => Some(Where::Registry(reference.clone())),
                _ => None,
            };
            let whole = whole(place, self.transport, output, config)?;
            let is_whole = archive::is_whole(&sources_of(&whole.store)?, &arches);
            is_whole.map_err(|e| failed(e).of(format!("can't bundle {}", package.display())))?;
            if !self.without_dependencies {
                let from = from.unwrap_or_else(|| Where::Store(whole.store.clone()));
                found.extend(self.needed(&whole.store, &from, output, config)?);
            }
            found.push(whole);
        }
        let mut sources = Vec::new();
        for Whole { store, .. } in &found {
            sources.extend(sources_of(store)?);
        }
        if sources.is_empty() {
            return Err(Error::usage("there is no package in what was given")
                .hint("skep pack and skep pull put packages into layouts"));
        }
        let shown = self.out.display();
        let folder = self.out.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(absent) = folder.filter(|folder| !folder.is_dir()) {
            let absent = absent.display();
            return Err(Error::usage(format!(
                "can't write {shown}: there is no folder '{absent}'"
            )));
        }
        if self.out.is_dir() {
            return Err(Error::usage(format!("can't write {shown}: it is a folder, not a file")));
        }
        let cannot = || format!("can't write {shown}");
        let (passing, file) = Passing::file(folder.unwrap_or(".".as_ref()), cannot)?;
        let beside = self.kernel_types(config)?;
        let beside = beside.as_ref().map(|(store, _)| store);
        let archived = archive::write(&sources, beside, &arches, BufWriter::new(&file));
        let archived = archived.map_err(failed)?;
        let whole = file.sync_all().and_then(|()| fs::rename(passing.path(), &self.out));
        whole.context(cannot)?;
        answer(archived, &self.out, "into", output);
        Ok(())
    }
}

/// All packages of a layout.
fn sources_of(store: &Store) -> Result<Vec<Source<'_>>> {
    let packages = store.packages().map_err(failed)?;
    let source = |(reference, index)| Source { store, reference, index };
    Ok(packages.into_iter().map(source).collect())
}

impl Bundle {
    /// The kernel types that were asked for, in a layout of their own.
    fn kernel_types(&self, config: &Config) -> Result<Option<(Store, Passing)>> {
        if self.btf.is_empty() {
            return Ok(None);
        }
        let (store, folder) = passing()?;
        for what in &self.btf {
            for types in kernel_types::named(what, &self.arch, config)? {
                types.keep(&store).map_err(failed)?;
            }
        }
        Ok(Some((store, folder)))
    }

    /// What the packages of a layout need and it does not hold.
    fn needed(
        &self,
        store: &Store,
        from: &Where,
        output: &Output,
        config: &Config,
    ) -> Result<Vec<Whole>> {
        let transport = self.transport;
        let asking = Asking { transport, config };
        let mut wholes = Vec::new();
        for (reference, digest) in store.packages().map_err(failed)? {
            let manifest = manifest_of(store, digest, &reference)?;
            let (about, needs) = (&manifest.package, needs(&manifest.dependencies));
            let root = Root { name: &about.name, version: &about.version, needs: &needs };
            let set = needed(root, &BTreeMap::new(), Some(from.clone()), asking)?;
            for Needed { digest, from, .. } in set {
                let Some(from) = from else { continue };
                wholes.push(whole(Place::Registry(from.at(digest)), transport, output, config)?);
            }
        }
        Ok(wholes)
    }
}

impl Unbundle {
    /// Runs it.
    ///
    /// # Errors
    /// The file is no bundle or not whole, or the layout cannot be written: then nothing of it is there. The registry does not
    /// take a package: those before it are there.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        match (&self.out, &self.to, &self.btf) {
            (_, Some(to), _) => self.fill_registry(to, output, config),
            (Some(out), ..) => self.fill_layout(out, output),
            (None, None, Some(folder)) => self.write_types(folder, output),
            (None, None, None) => Err(Error::usage("give -o LAYOUT, --to REGISTRY or --btf DIR")),
        }
    }

    fn write_types(&self, folder: &Path, output: &Output) -> Result<()> {
        let Whole { store, .. } = &unpacked(&self.file)?;
        let of_file = |error: Error| error.of(format!("can't unbundle {}", self.file.display()));
        let paths = kernel_types::write(store, folder).map_err(of_file)?;
        let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        output.done(&paths, || paths.join("\n"));
        Ok(())
    }

    fn fill_layout(&self, out: &Path, output: &Output) -> Result<()> {
        let file = named::read(&self.file, regular::open)?;
        let new = Passing::of(Store::would_make(out))?;
        let read = reading(file, |file| {
            let store = Store::create(out).map_err(failed)?;
            archive::read(BufReader::new(file), &store).map_err(|e| of(&self.file, e))
        })?;
        new.keep();
        answer(read, out, "out into", output);
        Ok(())
    }

    fn fill_registry(&self, to: &str, output: &Output, config: &Config) -> Result<()> {
        place::is_registry(to)?; // before the file is read
        let of_file = |error: Error| error.of(format!("can't unbundle {}", self.file.display()));
        let Whole { store, .. } = &unpacked(&self.file)?;
        let packages = store.packages().map_err(failed)?;
        let by = (&rules::of_machine(config)?, moment::now(config)?);
        let transport = Transport { plain_http: self.plain_http };
        let mut answer = Answer { to: to.to_owned(), ..Answer::default() };
        // All of them, before anything is sent.
        for (name, digest) in &packages {
            is_whole(store, *digest, &place::within(to, name)?).map_err(|e| of_file(failed(e)))?;
        }
        for (name, digest) in &packages {
            let reference = place::within(to, name)?;
            let registry = place::registry(&reference, transport, config)?;
            let what = format!("Pushing {reference}");
            let push = registry.push(store, *digest, &reference);
            let free =
                if self.force { Ok(()) } else { place::is_free(&registry, &reference, *digest) };
            let pushed =
                free.and_then(|()| place::ask(shown(output, registry.progress(), &what, push)));
            let pushed = pushed.map_err(|error| {
                let (done, all) = (answer.packages.len(), packages.len());
                if done == 0 { error } else {
                    error.hint(format!("{done} of {all} packages are there; the same command goes on with the others"))
                }
            })?;
            let Put { put, told } = keys_and_channels::push(store, &registry, &reference, by)?;
            answer.carried.extend(put);
            told.iter().for_each(|what| output.note(what));
            answer.blobs += pushed.blobs;
            answer.bytes += pushed.bytes;
            answer.packages.push(Listed { package: reference.to_string(), digest: *digest });
        }
        output.packaged(&answer, &answer.digests(), || answer.text("new blobs", "into"));
        Ok(())
    }
}

/// The error of a file that is no bundle, or not whole.
fn of(file: &Path, error: BundleError) -> Error {
    failed(error).of(format!("can't unbundle {}", file.display()))
}

fn answer(archived: Archived, to: &Path, into: &str, output: &Output) {
    let listed = |(package, digest)| Listed { package, digest };
    let packages: Vec<Listed> = archived.packages.into_iter().map(listed).collect();
    let to = to.display().to_string();
    let (blobs, bytes) = (archived.blobs, archived.bytes);
    let answer = Answer { packages, blobs, bytes, to, ..Answer::default() };
    output.packaged(&answer, &answer.digests(), || answer.text("blobs", into));
}

impl Answer {
    fn digests(&self) -> Vec<Digest> {
        self.packages.iter().map(|listed| listed.digest).collect()
    }

    fn text(&self, blobs: &str, into: &str) -> String {
        let mut text = String::new();
        for Listed { package, digest } in &self.packages {
            text += &format!("{package}\n  {digest}\n");
        }
        for carried in &self.carried {
            text += &format!("and {carried}\n");
        }
        format!("{text}{} {blobs}, {}, {into} {}", self.blobs, bytes(self.bytes), self.to)
    }
}
