//! A target names a map that several objects of a package have: which one is asked for, and it is the one that is taken.

use std::fs;
use std::os::fd::AsRawFd as _;

use skep_kernel::{Link, MapHandle};
use skep_spec::chain;
use skep_trust::Package;

use super::kinds::KINDS;
use super::stage::Stage;
use crate::equal::{equal, text};
use crate::objects::{Objects, verified};
use crate::place::Job;
use crate::tests::Outcome;

pub fn which(objects: &Objects) -> Outcome {
    let kind = KINDS.iter().find(|kind| kind.name == "iter/bpf_map_elem").ok_or("no such kind")?;
    let stage = Stage::new(kind, objects)?;
    let place = stage.place(objects, kind)?;
    let pins = Stage::pins_of(&place);
    let (job, mut runtime) = place.opened()?;
    let twice = |target: &str| twice(job.package(1)?.into_inner(), target);
    let both = runtime.install(&verified(twice("iter/bpf_map_elem:now")?), &job.install());
    let said = both.map(drop).map_err(|error| chain(&error)).err().ok_or("it took one of two")?;
    let wanted = "several objects have a map 'now' (one, two): say which, as 'iter/bpf_map_elem:one/now' or 'iter/bpf_map_elem:two/now'";
    equal("the error names both", said.contains(wanted), true).map_err(|_| said)?;
    for object in ["two", "one"] {
        let package = twice(&format!("iter/bpf_map_elem:{object}/now"))?;
        runtime.install(&verified(package), &job.install()).map_err(|error| chain(&error))?;
        let map = MapHandle::open_pinned(&pins.map(&format!("{object}/now"), 1)).map_err(text)?;
        let link = Link::open_pinned(&pins.link("on_event")).map_err(text)?;
        let link = link.into_fd().ok_or("no link")?;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_raw_fd()));
        let info = info.map_err(text)?;
        let line = info.lines().find_map(|line| line.strip_prefix("map_id:")).map(str::trim);
        equal("the map that it goes over", line, Some(map.info().id.to_string().as_str()))?;
        drop((link, map));
        runtime.remove(&Job::service()).map_err(text)?;
    }
    equal("pins", place.pins(), Vec::new())?;
    Ok("the one that is named, and none of two".to_owned())
}

/// The package with its object twice, of which the first one's program runs.
fn twice(mut package: Package, target: &str) -> Result<Package, String> {
    let object = package.objects.remove("numbered").ok_or("no object")?;
    package.objects.extend([("one".to_owned(), object.clone()), ("two".to_owned(), object)]);
    let program = package.manifest.program.get_mut("on_event").ok_or("no program")?;
    program.object = Some("one".parse().map_err(text)?);
    program.target = Some(target.to_owned());
    let mut other = program.clone();
    other.object = Some("two".parse().map_err(text)?);
    other.target = Some("iter/bpf_map_elem:two/now".to_owned());
    package.manifest.program.insert("other".to_owned(), other);
    Ok(package)
}
