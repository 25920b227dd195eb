//! Two services with a map in common: one counts into it, the other reads it; and sets that come and go as a whole.

mod exports;
mod owed;
pub mod stopped;

pub use self::exports::exports;
pub use self::owed::{back_in_part, test_owed_killed, undone_in_part};

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;

use serde_json::{Value, json};
use skep_kernel::MapHandle;
use skep_runtime::pins::Pins;
use skep_runtime::{Faults, Member, Recovery, Request, Runtime};
use skep_spec::{Digest, Manifest, ServiceName};
use skep_trust::{Package, Verified};

use crate::equal::{equal, text};
use crate::events::made;
use crate::generator::Kind;
use crate::lives::reboot;
use crate::objects::{Objects, verified};
use crate::place::{Ended, Job, Place, Reply};
use crate::tests::Outcome;

/// The package that counts: version, and whether its value is longer.
const FLOWS: &[(&str, &str)] = &[
    ("1.0.0", "flows"),
    ("1.1.0", "flows"),
    ("1.2.0", "flows-longer"),
    ("2.0.0", "flows"),
    ("2.1.0", "flows"),
];

/// Those that read: version, object, and the range of the other that they need.
const APPS: &[(&str, &str, &str)] =
    &[("1.0.0", "app", "^1"), ("1.5.0", "app-longer", "^1"), ("2.0.0", "app", "^2")];

/// Those that need an app: version, the range of it, and a map that it would have to export.
const TOPS: &[(&str, &str, &[&str])] =
    &[("1.0.0", "^1", &[]), ("2.0.0", "^2", &[]), ("2.1.0", "^2", &["copied"])];

pub fn name(text: &str) -> ServiceName {
    text.parse().expect("a name")
}

/// A package of one object.
fn package(
    job: &Job,
    of: &str,
    version: &str,
    object: &str,
    more: Value,
) -> Result<Package, String> {
    let file = job.objects.join(format!("{object}.o"));
    let bytes = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let function = if of == "flows" { "count" } else { "copy" };
    let mut manifest = json!({
        "spec": "1.0", "objects": {},
        "package": { "name": format!("test/{of}"), "version": version, "license": "Apache-2.0" },
        "program": { "main": { "function": function } },
        "param": { "pid": { "type": "uint", "rodata": "own_pid" } },
    });
    let members = more.as_object().cloned().unwrap_or_default();
    manifest.as_object_mut().ok_or("no object")?.extend(members);
    let manifest: Manifest = serde_json::from_value(manifest).map_err(text)?;
    let index = Digest::of(format!("{of} {version}").as_bytes());
    Ok(Package {
        index,
        platform: index,
        manifest_bytes: Vec::new(),
        manifest,
        objects: BTreeMap::from([("o".to_owned(), bytes)]),
        readme: None,
    })
}

fn flows(job: &Job, version: &str) -> Result<Verified<Package>, String> {
    let (_, object) = FLOWS.iter().find(|(v, _)| *v == version).ok_or("no such version")?;
    let map = json!({ "flows": {
        "export": { "mode": "0640", "group": "root" },
        "upgrade": "migrate", "fields": { "renames": "sum" },
    }});
    package(job, "flows", version, object, json!({ "map": map })).map(verified)
}

fn app(job: &Job, version: &str) -> Result<Verified<Package>, String> {
    let (_, object, range) = APPS.iter().find(|(v, ..)| *v == version).ok_or("no such version")?;
    let needs = json!({ "test/flows": { "version": range, "maps": ["flows"] } });
    package(job, "app", version, object, json!({ "dependencies": needs })).map(verified)
}

fn top(job: &Job, version: &str) -> Result<Verified<Package>, String> {
    let (_, range, maps) = TOPS.iter().find(|(v, ..)| *v == version).ok_or("no such version")?;
    let needs = json!({ "test/app": { "version": range, "maps": maps } });
    package(job, "top", version, "app", json!({ "dependencies": needs })).map(verified)
}

/// Every package that there is.
fn all(job: &Job) -> Result<Vec<Package>, String> {
    let flows = FLOWS.iter().map(|(version, ..)| flows(job, version));
    let apps = APPS.iter().map(|(version, ..)| app(job, version));
    let tops = TOPS.iter().map(|(version, ..)| top(job, version));
    flows.chain(apps).chain(tops).map(|package| Ok(package?.into_inner())).collect()
}

pub fn open(job: &Job) -> Result<(Runtime, Recovery), Box<dyn Error>> {
    job.recover_with(all(job)?)
}

fn request(job: &Job, service: &str) -> Request {
    let params = BTreeMap::from([("pid".to_owned(), job.pid.to_string())]);
    Request { service: name(service), params, unset: BTreeSet::new() }
}

/// The services of these packages, each from what runs now.
fn whole<'a>(
    runtime: &Runtime,
    packages: &'a [Verified<Package>],
    requests: &'a [Request],
) -> Vec<Member<'a>> {
    let from = |service| runtime.service(service).ok().map(|detail| detail.status.generation);
    let members = packages.iter().zip(requests);
    let member = |(package, request)| Member { package, request, from: from(&request.service) };
    members.map(member).collect()
}

/// Installs or upgrades both as a whole.
pub fn both(runtime: &mut Runtime, job: &Job, version: &str) -> Result<(), Box<dyn Error>> {
    let packages = [flows(job, version)?, app(job, version)?];
    let requests = ["flows", "app"].map(|service| request(job, service));
    runtime.together(&whole(runtime, &packages, &requests))?;
    Ok(())
}

/// The same of three, each of which needs the one before.
fn three(
    runtime: &mut Runtime,
    job: &Job,
    version: &str,
    top_version: &str,
) -> Result<(), Box<dyn Error>> {
    let packages = [flows(job, version)?, app(job, version)?, top(job, top_version)?];
    let requests = ["flows", "app", "top"].map(|service| request(job, service));
    runtime.together(&whole(runtime, &packages, &requests))?;
    Ok(())
}

/// What a child does with them.
pub fn child(job: &Job) -> Result<Reply, Box<dyn Error>> {
    if job.op == "together-stuck" {
        owed::stuck(job)?;
        return Ok(Reply::default());
    }
    let (mut runtime, _) = open(job)?;
    match job.op.as_str() {
        "together-install" => both(&mut runtime, job, "1.0.0")?,
        "together-upgrade" => both(&mut runtime, job, "2.0.0")?,
        "together-rollback" => drop(runtime.rollback(&name("flows"))?),
        "together-install-three" => three(&mut runtime, job, "1.0.0", "1.0.0")?,
        "together-upgrade-three" => three(&mut runtime, job, "2.0.0", "2.0.0")?,
        _ => {}
    }
    Ok(Reply::default())
}

fn map(place: &Place, service: &str, map: &str, made_by: u64) -> Result<MapHandle, String> {
    let pins = Pins::new(&place.dirs().bpffs, &name(service));
    MapHandle::open_pinned(&pins.map(map, made_by)).map_err(text)
}

/// What both have counted so far, which is the same but for the event that is under way.
fn counted(place: &Place, flows_by: u64, app_by: u64) -> Result<u64, String> {
    made(Kind::Rename, 1, 20);
    let shared = map(place, "flows", "flows", flows_by)?;
    equal("the map of both", map(place, "app", "flows", app_by)?.info().id, shared.info().id)?;
    let number = |bytes: Option<Vec<u8>>| {
        bytes.and_then(|bytes| Some(u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?)))
    };
    let there = number(shared.lookup(&std::process::id().to_ne_bytes()).map_err(text)?);
    let copied = map(place, "app", "copied", app_by)?;
    let here = number(copied.lookup(&0u32.to_ne_bytes()).map_err(text)?);
    let (there, here) = (there.ok_or("nothing was counted")?, here.ok_or("nothing was copied")?);
    equal("counted and read", there - here <= 1 && here > 0, true)?;
    Ok(there)
}

fn versions(runtime: &Runtime) -> Vec<String> {
    let line = |status: skep_runtime::Status| format!("{} {}", status.service, status.version);
    runtime.services().into_iter().map(line).collect()
}

fn refused<T>(
    result: Result<T, impl std::error::Error + 'static>,
    words: &str,
) -> Result<(), String> {
    match result {
        Ok(_) => Err(format!("not refused: {words}")),
        Err(error) => {
            let said = skep_spec::chain(&error);
            equal(&format!("'{words}' in '{said}'"), said.contains(words), true)
        }
    }
}

/// One counts, the other reads, through upgrades, restarts and a reboot.
pub fn shared(place: &Place) -> Outcome {
    let job = place.here();
    let (mut runtime, _) = open(&job).map_err(text)?;
    both(&mut runtime, &job, "1.0.0").map_err(text)?;
    let first = counted(place, 1, 1)?;
    let (counts, reads) = (request(&job, "flows"), request(&job, "app"));
    exported(place, 1)?;
    // Who is needed stays, and stays what it is.
    refused(runtime.remove(&counts.service), "flows cannot be removed: app needs it")?;
    refused(
        runtime.upgrade(&flows(&job, "1.2.0")?, &counts),
        "app needs it: it uses the map 'flows', which 1.2.0 would not keep",
    )?;
    refused(
        runtime.upgrade(&flows(&job, "2.0.0")?, &counts),
        "it needs test/flows ^1, and not 2.0.0",
    )?;
    equal("versions", versions(&runtime), vec!["app 1.0.0".to_owned(), "flows 1.0.0".to_owned()])?;
    // A mend of it is taken over warm: the map stays.
    runtime.upgrade(&flows(&job, "1.1.0")?, &counts).map_err(text)?;
    let second = counted(place, 1, 1)?;
    equal("it goes on", second > first, true)?;
    // What another version exported goes with it, whatever it is named like.
    let exports = Pins::new(&place.dirs().bpffs, &counts.service);
    let other = exports.export("flows_2");
    map(place, "flows", "flows", 1)?.pin(&other).map_err(text)?;
    runtime.rollback(&counts.service).map_err(text)?;
    equal("what is exported no more is there", other.exists(), false)?;
    runtime.upgrade(&flows(&job, "1.1.0")?, &counts).map_err(text)?;
    // Another layout on the other side.
    refused(
        runtime.upgrade(&app(&job, "1.5.0")?, &reads),
        "its values have 8 bytes there, and 16 here",
    )?;
    refused(
        runtime.upgrade(&app(&job, "2.0.0")?, &reads),
        "app needs test/flows ^2, and 1.1.0 runs here",
    )?;
    // Both at once.
    both(&mut runtime, &job, "2.0.0").map_err(text)?;
    let third = counted(place, 1, 1)?;
    equal("it goes on", third > second, true)?;
    back_and_there(place, &mut runtime, &job)?;
    // A restart, and a reboot.
    drop(runtime);
    let (runtime, recovery) = open(&job).map_err(text)?;
    equal("adopted", recovery.adopted.len(), 2)?;
    counted(place, 1, 1)?;
    exported(place, 1)?;
    drop(runtime);
    reboot(place)?;
    let (mut runtime, recovery) = open(&job).map_err(text)?;
    equal("started", recovery.started, vec![name("flows"), name("app")])?;
    let active = |runtime: &Runtime, service: &str| {
        Ok::<u64, String>(runtime.service(&name(service)).map_err(text)?.status.generation)
    };
    counted(place, active(&runtime, "flows")?, active(&runtime, "app")?)?;
    exported(place, active(&runtime, "flows")?)?;
    runtime.remove(&reads.service).map_err(text)?;
    runtime.remove(&counts.service).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(format!("{third} renames counted by one and read by the other"))
}

/// Both at once back, whichever is named, and there again.
fn back_and_there(place: &Place, runtime: &mut Runtime, job: &Job) -> Result<(), String> {
    for service in ["app", "flows"] {
        let before = counted(place, 1, 1)?;
        runtime.rollback(&name(service)).map_err(text)?;
        let found = versions(runtime);
        equal("versions", found, vec!["app 1.0.0".to_owned(), "flows 1.1.0".to_owned()])?;
        equal("it goes on", counted(place, 1, 1)? > before, true)?;
        both(runtime, job, "2.0.0").map_err(text)?;
    }
    Ok(())
}

/// The pin that others may open is of the map that runs, and of the mode that the manifest says.
fn exported(place: &Place, made_by: u64) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = Pins::new(&place.dirs().bpffs, &name("flows")).export("flows");
    let pinned = MapHandle::open_pinned(&path).map_err(text)?;
    equal("the exported map", pinned.info().id, map(place, "flows", "flows", made_by)?.info().id)?;
    let mode = fs::metadata(&path).map_err(text)?.permissions().mode();
    equal("its mode", mode & 0o777, 0o640)
}

/// What is not there, is not exported, or is another type: nothing is left of either.
pub fn refusals(place: &Place) -> Outcome {
    let job = place.here();
    let (mut runtime, _) = open(&job).map_err(text)?;
    let (counts, reads) = (request(&job, "flows"), request(&job, "app"));
    refused(
        runtime.install(&app(&job, "1.0.0")?, &reads),
        "app needs test/flows ^1, and nothing here runs test/flows",
    )?;
    let packages = [flows(&job, "1.0.0")?, app(&job, "1.5.0")?];
    let requests = [counts.clone(), reads.clone()];
    let together = runtime.together(&whole(&runtime, &packages, &requests));
    let [flows, _] = packages;
    refused(
        together,
        "app failed, and what was done before it was undone: flows: app cannot use a map of test/flows 1.0.0",
    )?;
    equal("versions", versions(&runtime), Vec::new())?;
    let mut private = flows.into_inner();
    private.manifest.map.clear();
    runtime.install(&verified(private.clone()), &counts).map_err(text)?;
    refused(
        runtime.install(&app(&job, "1.0.0")?, &reads),
        "the map 'flows' cannot be shared: it exports no map",
    )?;
    runtime.remove(&counts.service).map_err(text)?;
    private.manifest.map = crate::together::flows(&job, "1.0.0")?.into_inner().manifest.map;
    let export = private.manifest.map.get_mut("flows").and_then(|map| map.export.as_mut());
    export.ok_or("no export")?.group = Some("no-such-group".to_owned());
    refused(
        runtime.install(&verified(private), &counts),
        "to the group 'no-such-group', which this machine does not have",
    )?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("nothing was left of any".to_owned())
}

/// Where the last of three fails, those before it are what they were: also one whose former version does not go with the present
/// one of what it needs, which goes back after it.
pub fn chain_of_three(place: &Place) -> Outcome {
    let job = place.here();
    let (mut runtime, _) = open(&job).map_err(text)?;
    let fails = |runtime: &mut Runtime, version: &str| {
        let failed = three(runtime, &job, version, "2.1.0").err().ok_or("not refused")?;
        let said = skep_spec::chain(failed.as_ref());
        let words = "top failed, and what was done before it was undone: app, flows: ";
        equal(&format!("'{words}' in '{said}'"), said.contains(words), true)
    };
    fails(&mut runtime, "1.0.0")?;
    equal("versions", versions(&runtime), Vec::new())?;
    three(&mut runtime, &job, "1.0.0", "1.0.0").map_err(text)?;
    let before = versions(&runtime);
    let first = counted(place, 1, 1)?;
    fails(&mut runtime, "2.0.0")?;
    equal("versions", versions(&runtime), before)?;
    equal("it goes on", counted(place, 1, 1)? > first, true)?;
    // And the way is free for the next.
    three(&mut runtime, &job, "2.0.0", "2.0.0").map_err(text)?;
    let found = versions(&runtime);
    equal(
        "versions",
        found,
        ["app 2.0.0", "flows 2.0.0", "top 2.0.0"].map(str::to_owned).to_vec(),
    )?;
    // Back from there in one step, in its middle; and not, where one that has no way back needs what is there.
    runtime.rollback(&name("app")).map_err(text)?;
    let found = versions(&runtime);
    equal(
        "versions",
        found,
        ["app 1.0.0", "flows 1.0.0", "top 1.0.0"].map(str::to_owned).to_vec(),
    )?;
    three(&mut runtime, &job, "2.0.0", "2.0.0").map_err(text)?;
    runtime.remove(&name("top")).map_err(text)?;
    runtime.install(&top(&job, "2.0.0")?, &request(&job, "top")).map_err(text)?;
    refused(
        runtime.rollback(&name("flows")),
        "app cannot change as top needs it: it needs test/app ^2, and not 1.0.0",
    )?;
    equal(
        "versions",
        versions(&runtime),
        ["app 2.0.0", "flows 2.0.0", "top 2.0.0"].map(str::to_owned).to_vec(),
    )?;
    for service in ["top", "app", "flows"] {
        runtime.remove(&name(service)).map_err(text)?;
    }
    equal("pins", place.pins(), Vec::new())?;
    Ok("both before it went back".to_owned())
}

/// What somebody else did between the plan and the lock is neither upgraded nor taken for what was planned.
pub fn changed(place: &Place) -> Outcome {
    let job = place.here();
    let (mut runtime, _) = open(&job).map_err(text)?;
    let packages = [flows(&job, "1.0.0")?, app(&job, "1.0.0")?];
    let requests = ["flows", "app"].map(|service| request(&job, service));
    let planned = whole(&runtime, &packages, &requests);
    // Another one was quicker, with a package of its own under one of the names.
    runtime.install(&flows(&job, "1.1.0")?, &requests[1]).map_err(text)?;
    refused(runtime.together(&planned), "there is a service app already")?;
    refused(runtime.together(&planned[1..]), "there is a service app already")?;
    equal("versions", versions(&runtime), vec!["app 1.1.0".to_owned()])?;
    runtime.remove(&requests[1].service).map_err(text)?;
    runtime.together(&planned).map_err(text)?;
    // An upgrade of what was upgraded, or removed, meanwhile.
    let packages = [flows(&job, "2.0.0")?, app(&job, "2.0.0")?];
    let planned = whole(&runtime, &packages, &requests);
    runtime.upgrade(&flows(&job, "1.1.0")?, &requests[0]).map_err(text)?;
    let words = "flows was changed by somebody else meanwhile: generation 1 ran when this was planned, and 2 runs now";
    refused(runtime.together(&planned), words)?;
    refused(runtime.together(&planned[..1]), words)?;
    runtime.remove(&requests[1].service).map_err(text)?;
    refused(
        runtime.together(&planned[1..]),
        "generation 1 ran when this was planned, and it is gone now",
    )?;
    equal("versions", versions(&runtime), vec!["flows 1.1.0".to_owned()])?;
    runtime.remove(&requests[0].service).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("all of it was refused".to_owned())
}

/// All pins of who gives the map are gone: it is loaded again with the map that the other one has still.
pub fn lost(place: &Place) -> Outcome {
    let job = place.here();
    let (mut runtime, _) = open(&job).map_err(text)?;
    both(&mut runtime, &job, "1.0.0").map_err(text)?;
    let before = counted(place, 1, 1)?;
    drop(runtime);
    let folder = place.dirs().bpffs.join("flows");
    skep_kernel::bpffs::unpin_tree(&folder).map_err(text)?;
    let names = |list: &[(ServiceName, String)]| {
        list.iter().map(|(service, _)| service.clone()).collect::<Vec<_>>()
    };
    // As long as it cannot be loaded again, who used it goes on with what it has.
    let apps = APPS.iter().map(|(version, ..)| Ok(app(&job, version)?.into_inner()));
    let apps: Vec<Package> = apps.collect::<Result<_, String>>()?;
    let (_, recovery) = job.recover_with(apps).map_err(text)?;
    equal("lost", names(&recovery.lost), vec![name("flows")])?;
    equal("failed", names(&recovery.failed), vec![name("flows")])?;
    equal("adopted", recovery.adopted, vec![name("app")])?;
    let (mut runtime, recovery) = open(&job).map_err(text)?;
    equal("lost", names(&recovery.lost), Vec::new())?;
    equal("adopted", recovery.adopted, vec![name("app")])?;
    equal("started", recovery.started, vec![name("flows")])?;
    equal("it goes on", counted(place, 1, 1)? > before, true)?;
    runtime.remove(&name("app")).map_err(text)?;
    runtime.remove(&name("flows")).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("what was counted stayed".to_owned())
}

/// Killed anywhere in a set, the next start finds the old state or the whole set.
pub fn killed(place: impl Fn() -> Result<Place, String>) -> Outcome {
    let of = |begin: &'static str| {
        Faults::ALL
            .iter()
            .filter(move |point| point.starts_with(begin))
            .map(|point| (*point).to_owned())
    };
    let twice = |point: String| [point.clone(), format!("{point}:2")];
    let third = |point: String| format!("{point}:3");
    let mut killed = 0;
    for (op, points) in [
        ("together-install", of("set.").chain(of("install.").flat_map(twice)).collect::<Vec<_>>()),
        ("together-upgrade", of("set.").chain(of("upgrade.").flat_map(twice)).collect()),
        ("together-rollback", of("set.").chain(of("rollback.").flat_map(twice)).collect()),
        ("together-install-three", of("install.").map(third).collect()),
        ("together-upgrade-three", of("upgrade.").map(third).collect()),
    ] {
        for point in points {
            let place = place()?;
            let one =
                one_kill(&place, op, &point).map_err(|why| format!("{op}, {point}: {why}"))?;
            killed += usize::from(one);
        }
    }
    equal("most points are passed", killed > 80, true)?;
    Ok(format!("killed at {killed} points"))
}

fn one_kill(place: &Place, op: &str, point: &str) -> Result<bool, String> {
    let job = place.here();
    let (services, of_three) = match op.ends_with("three") {
        true => (["app", "flows", "top"].as_slice(), true),
        false => (["app", "flows"].as_slice(), false),
    };
    let all = |runtime: &mut Runtime, version: &str| {
        let done = match of_three {
            true => three(runtime, &job, version, version),
            false => both(runtime, &job, version),
        };
        done.map_err(text)
    };
    let at = |version: &str| -> Vec<String> {
        services.iter().map(|service| format!("{service} {version}")).collect()
    };
    let (way, wanted): (&[&str], _) = match op {
        "together-rollback" => (&["1.0.0", "2.0.0"], "1.0.0"),
        op if op.contains("upgrade") => (&["1.0.0"], "2.0.0"),
        _ => (&[], "1.0.0"),
    };
    for version in way {
        all(&mut open(&job).map_err(text)?.0, version)?;
    }
    let before = way.last().map(|version| at(version)).unwrap_or_default();
    let ended = place.child(op, Some(point))?;
    let killed = match ended {
        Ended::Killed => true,
        Ended::Done(_) => false,
        Ended::Failed(why) => return Err(why),
    };
    let (mut runtime, recovery) = open(&job).map_err(text)?;
    equal("what waits", recovery.aside, Vec::new())?;
    let (found, after) = (versions(&runtime), at(wanted));
    let whole = found == after || found == before;
    equal(&format!("{found:?} is the old state or the new one"), whole, true)?;
    if !found.is_empty() {
        let maps = ["flows", "app"]
            .map(|service| map(place, service, "flows", 1).map(|map| map.info().id));
        equal("the map of both", maps[0].clone()?, maps[1].clone()?)?;
    }
    if found != after {
        match op {
            "together-rollback" => drop(runtime.rollback(&name("app")).map_err(text)?),
            _ => all(&mut runtime, wanted)?,
        }
        equal("done again", versions(&runtime), after)?;
    }
    for service in ["top", "app", "flows"] {
        runtime.remove(&name(service)).map_err(text)?;
    }
    equal("pins", place.pins(), Vec::new())?;
    Ok(killed)
}

/// Objects: what is defined for each.
pub const OBJECTS: [(&str, &[&str]); 4] = [
    ("flows", &["FLOWS"]),
    ("flows-longer", &["FLOWS", "LONGER"]),
    ("app", &["APP"]),
    ("app-longer", &["APP", "LONGER"]),
];

/// The tests' own: they need no set of hooks.
pub fn test_killed(objects: &Objects) -> Outcome {
    killed(|| Place::new(objects, "raw_tp", None))
}
