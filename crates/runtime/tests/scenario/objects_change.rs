//! Upgrades to packages of other objects: state stays with the object that has it.

use std::time::Duration;

use skep_runtime::Runtime;
use skep_trust::Package;

use crate::equal::{equal, text};
use crate::generator::{Generator, Kind};
use crate::lives::close;
use crate::objects::verified;
use crate::place::{Job, Place};
use crate::tally::sum;
use crate::tests::Outcome;

/// The first version with its object under another name.
fn renamed(first: &Package) -> Package {
    let mut package = first.clone();
    let object = package.objects.remove("numbered").unwrap_or_default();
    package.objects.insert("renamed".to_owned(), object);
    unlike(package, "1.1.0")
}

/// The first version beside the second as an object of its own: both have maps of the same names.
fn beside(first: &Package, second: &Package) -> Package {
    let mut package = first.clone();
    package.objects.extend([("other".to_owned(), second.objects["numbered"].clone())]);
    for program in package.manifest.program.values_mut() {
        program.object = Some("numbered".parse().expect("an object"));
    }
    let mut own = package.manifest.program["on_raw_tp"].clone();
    own.object = Some("other".parse().expect("an object"));
    package.manifest.program.insert("on_raw_tp_too".to_owned(), own);
    unlike(package, "1.2.0")
}

/// A package that differs from another one has another digest.
fn unlike(mut package: Package, version: &str) -> Package {
    package.manifest.package.version = version.parse().expect("a version");
    package.index = skep_spec::Digest::of(version.as_bytes());
    package.platform = package.index;
    package
}

/// Counted are the first version's events, in maps that it keeps.
pub fn there_and_back(place: &Place) -> Outcome {
    let (job, service) = (place.here(), Job::service());
    let (first, second) = (job.package(1)?.into_inner(), job.package(2)?.into_inner());
    let others = [renamed(&first), first.clone(), beside(&first, &second), first.clone()];
    let all = others.iter().cloned().chain([first.clone()]).collect();
    let (mut runtime, _) = job.recover_with(all).map_err(text)?;
    runtime.install(&verified(first), &job.install()).map_err(text)?;
    let mut next = counted(place, 1, "the install")?;
    for package in others {
        let version = package.manifest.package.version.to_string();
        runtime.upgrade(&verified(package), &job.install()).map_err(text)?;
        next = counted(place, next, &version)?;
        total(place, &runtime, next)?;
    }
    runtime.rollback(&service).map_err(text)?;
    next = counted(place, next, "the rollback")?;
    total(place, &runtime, next)?;
    close(runtime, &[], place)?;
    Ok(format!("{} events, in one map", next - 1))
}

/// Makes some events: all that there were are counted in the map that the first generation made.
fn counted(place: &Place, next: u64, after: &str) -> Result<u64, String> {
    let generator = Generator::start(Kind::Rename, next, Duration::from_micros(50));
    generator.wait(20);
    let end = generator.stop();
    equal(&format!("counted after {after}"), sum(&place.map("counts", 1)?)?, end - 1)?;
    Ok(end)
}

/// The variable `total`, which an upgrade moves into the new version's.
fn total(place: &Place, runtime: &Runtime, end: u64) -> Result<(), String> {
    let maps = runtime.service(&Job::service()).map_err(text)?.maps;
    let map = maps.iter().find(|map| map.name == ".bss").ok_or("no variables")?;
    equal("total", sum(&place.map(".bss", map.made_by)?)?, end - 1)
}
