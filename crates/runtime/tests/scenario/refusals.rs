//! What is refused before the kernel is touched, with its words; and what is chosen where a program is refused.

use serde_json::json;
use skep_runtime::{Runtime, RuntimeError};
use skep_spec::manifest::{Alternatives, Otherwise};
use skep_trust::Package;

use crate::equal::{equal, text};
use crate::objects::verified;
use crate::place::{Job, Place};
use crate::tests::Outcome;

type Change = fn(&mut Package, &mut skep_runtime::Request);

/// What is wrong, and what the message says.
const WRONG: &[(Change, &str)] = &[
    (
        |_, i| drop(i.params.insert("pidd".into(), "1".into())),
        "no parameter 'pidd'; did you mean 'pid'?",
    ),
    (|_, i| drop(i.params.insert("pid".into(), "me".into())), "parameter 'pid' cannot be me"),
    (
        |p, _| program(p).function = "on_raw_to".into(),
        "function 'on_raw_to', which no object has; there are: on_raw_tp",
    ),
    (
        |p, _| program(p).target = Some("xdp".into()),
        "names no interface: add target = \"xdp/eth0\"",
    ),
    (
        |p, _| program(p).target = Some("cgroup_skb/egress".into()),
        "names no cgroup: add target = \"cgroup_skb/egress:/system.slice\"",
    ),
    (
        |p, _| program(p).target = Some("tp/x".into()),
        "has a bad target: 'tp/x' is not an attach target",
    ),
    (|p, _| program(p).target = Some("xdp/${param.no}".into()), "has no value"),
    (
        |p, _| program(p).target = Some("raw_tp/task_ranme".into()),
        "program 'on_raw_tp' of numbered finds nothing to attach to at raw_tp/task_ranme: nothing was loaded: cannot find the raw tracepoint task_ranme",
    ),
    (
        |p, _| program(p).target = Some("xdp/lo".into()),
        "can't attach at 'xdp/lo': its kind attaches at raw_tp/NAME",
    ),
    (|p, _| program(p).target = Some("garbage".into()), "can't attach at 'garbage'"),
    (
        at_an_empty_place,
        "parameter 'where' is empty, and program 'on_raw_tp' attaches at 'xdp/${param.where}'",
    ),
    (
        |p, i| level(p, i, "HIHG"),
        "parameter 'level' cannot be HIHG: its enum has no such name; did you mean 'HIGH'?",
    ),
    (|p, i| level(p, i, "0x80000000f"), "needs more than the variable's 4 bytes"),
    (|p, _| program(p).object = Some("other".into()), "which no object has"),
    (
        |p, _| variable(p, "own_pidd"),
        "[param.pid] sets the variable 'own_pidd', which no object has",
    ),
    (|p, _| p.objects.values_mut().for_each(|o| o.truncate(200)), "cannot be read"),
    (|p, _| group(p, "nobody"), "names the program 'nobody', which is not in [program]"),
];

fn program(package: &mut Package) -> &mut skep_spec::manifest::Program {
    package.manifest.program.get_mut("on_raw_tp").expect("the program")
}

fn at_an_empty_place(package: &mut Package, install: &mut skep_runtime::Request) {
    program(package).target = Some("xdp/${param.where}".to_owned());
    param(package, "where", json!({ "type": "interface" }));
    install.params.insert("where".to_owned(), String::new());
}

fn level(package: &mut Package, install: &mut skep_runtime::Request, value: &str) {
    param(package, "level", json!({ "type": "enum", "rodata": "level" }));
    install.params.insert("level".to_owned(), value.to_owned());
}

fn param(package: &mut Package, name: &str, told: serde_json::Value) {
    let told = serde_json::from_value(told).expect("a parameter");
    package.manifest.param.insert(name.to_owned(), told);
}

/// A name of an enum is its number, in the variable and for a range, and stays a name for people.
pub fn names_of_an_enum(place: &Place) -> Outcome {
    let (job, mut runtime) = place.opened()?;
    let mut seen = Vec::new();
    for (name, number) in [("HIGH", 0x7fff_ffff_i32), ("LOW", -1), ("5", 5)] {
        let (mut package, mut install) = (job.package(1)?.into_inner(), job.install());
        level(&mut package, &mut install, name);
        let detail = runtime.install(&verified(package), &install).map_err(text)?;
        let constants = place.map(".rodata", 1)?.lookup(&[0; 4]).map_err(text)?;
        let constants = constants.ok_or("no constants")?;
        let there = constants.chunks_exact(4).any(|bytes| *bytes == number.to_ne_bytes());
        equal(name, there, true).map_err(|e| format!("{e}: {constants:?}"))?;
        equal("given", detail.generations[0].params["level"].as_str(), name)?;
        seen.push(format!("{name} is {number}"));
        runtime.remove(&Job::service()).map_err(text)?;
    }
    let (mut package, mut install) = (job.package(1)?.into_inner(), job.install());
    level(&mut package, &mut install, "HIGH");
    param(&mut package, "level", json!({ "type": "enum", "rodata": "level", "range": [-1, 1] }));
    let error = runtime.install(&verified(package), &install).err().ok_or("not refused")?;
    expect(&error, "2147483647 is outside -1 to 1")?;
    Ok(seen.join(", "))
}

fn variable(package: &mut Package, name: &str) {
    package.manifest.param.get_mut("pid").expect("the parameter").rodata = Some(name.to_owned());
}

fn group(package: &mut Package, member: &str) {
    let r#try = vec![vec![member.to_owned()]];
    let group = Alternatives { r#try, otherwise: Otherwise::Refuse };
    package.manifest.alternatives.insert("hook".to_owned(), group);
}

/// Each is refused, and nothing is left of it.
pub fn refused(place: &Place) -> Outcome {
    let (job, mut runtime) = place.opened()?;
    for (change, words) in WRONG {
        let (mut package, mut install) = (job.package(1)?.into_inner(), job.install());
        change(&mut package, &mut install);
        let error = runtime.install(&verified(package), &install).err().ok_or(*words)?;
        expect(&error, words)?;
    }
    nothing_there(&mut runtime)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(format!("{} refusals", WRONG.len() + 3))
}

fn nothing_there(runtime: &mut Runtime) -> Result<(), String> {
    let service = Job::service();
    let words = "there is no service numbered: none is installed";
    expect(&runtime.service(&service).err().ok_or("service")?, words)?;
    expect(&runtime.rollback(&service).err().ok_or("rollback")?, words)?;
    expect(&runtime.events(&service).err().ok_or("events")?, words)
}

fn expect(error: &RuntimeError, words: &str) -> Result<(), String> {
    let said = skep_spec::chain(error);
    if said.contains(words) { Ok(()) } else { Err(format!("'{words}' is not in: {said}")) }
}

/// An upgrade to a hook that is not there is refused by its plan too, and leaves nothing; one that the package can do without
/// is left out of both.
pub fn no_such_hook(place: &Place) -> Outcome {
    let (job, mut runtime) = place.installed()?;
    let pins = place.pins();
    let mut package = job.package(2)?.into_inner();
    program(&mut package).target = Some("raw_tp/task_ranme".to_owned());
    let refused = [
        runtime.plan_upgrade(&verified(package.clone()), &job.install()).err(),
        runtime.upgrade(&verified(package.clone()), &job.install()).err(),
    ];
    for error in refused {
        let error = error.ok_or("not refused")?;
        expect(&error, "finds nothing to attach to at raw_tp/task_ranme: nothing was loaded")?;
        let hint = "this kernel has no such tracepoint; did you mean 'task_rename'?";
        equal("hint", error.hint(), Some(hint))?;
    }
    equal("pins", place.pins(), pins)?;
    let mut other = program(&mut package).clone();
    other.target = Some("raw_tp/task_newtask".to_owned());
    package.manifest.program.insert("other".to_owned(), other);
    program(&mut package).optional = true;
    let plan = runtime.plan_upgrade(&verified(package), &job.install());
    let plan = plan.map_err(|e| e.to_string())?;
    let programs: Vec<_> = plan.hooks.iter().filter_map(|hook| hook.program.clone()).collect();
    equal("programs", programs, vec!["other".to_owned()])?;
    let said = plan.notes.iter().any(|note| note.contains("cannot find the raw tracepoint"));
    equal("said", said, true).map_err(|e| format!("{e}: {:?}", plan.notes))?;
    drop(runtime);
    place.does("remove")?;
    Ok(plan.notes.join("; "))
}

/// A kprobe that no kernel has: without an alternative the kernel is at fault, not the manifest; with one the second runs, and
/// the report says why.
pub fn alternatives(place: &Place) -> Outcome {
    let (job, mut runtime) = place.opened()?;
    let mut package = job.package(1)?.into_inner();
    let kprobe = package.manifest.program.get_mut("on_kprobe").ok_or("no kprobe")?;
    kprobe.target = Some("kprobe/no_such_function_anywhere".to_owned());
    let mut alone = package.clone();
    group(&mut alone, "on_kprobe");
    let error = runtime.install(&verified(alone), &job.install()).err().ok_or("not refused")?;
    expect(&error, "no alternative of 'hook' works on this kernel: on_kprobe: ")?;
    equal("code", error.code(), "no-alternative")?;
    let r#try = vec![vec!["on_kprobe".to_owned()], vec!["on_raw_tp".to_owned()]];
    let group = Alternatives { r#try, otherwise: Otherwise::Refuse };
    package.manifest.alternatives.insert("hook".to_owned(), group);
    let detail = runtime.install(&verified(package.clone()), &job.install());
    let detail = detail.map_err(text)?;
    equal("hooks", detail.hooks.len(), 1)?;
    equal("program", detail.hooks[0].program.clone(), Some("on_raw_tp".to_owned()))?;
    let said: Vec<String> = detail.report.changes.iter().map(ToString::to_string).collect();
    equal("said", said.iter().any(|line| line.contains("runs on_raw_tp, because on_kprobe")), true)
        .map_err(|e| format!("{e}: {said:?}"))?;
    let again = runtime.install(&verified(package), &job.install());
    expect(&again.err().ok_or("installed twice")?, "there is a service numbered already")?;
    runtime.remove(&Job::service()).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("the second of two runs".to_owned())
}
