//! Hooks: which of a service's hooks a program goes to, how it is attached there, and how it is taken off.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use skep_adapt::{Change, Pass};
use skep_kernel::attach::Standing;
use skep_kernel::attach::file_of;
use skep_kernel::attach::link::LinkKind;
use skep_kernel::bpffs;
use skep_kernel::maps::prog_array;
use skep_kernel::object::Sections;
use skep_kernel::program::LoadKind;
use skep_kernel::stub::{self, SLOTS};
use skep_kernel::{AttachPlan, KernelError, Link, MapHandle, Program, attach};
use skep_spec::{ServiceName, Site, Target};

use crate::at_map::interface;
use crate::choose::Chosen;
use crate::error::RuntimeError;
use crate::faults::Side;
use crate::plan::Report;
use crate::runtime::Runtime;
use crate::state::{Attachment, DeadHook, Hook, Mechanism, Op, Record};

/// A program and the hook that it runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) chosen: Chosen,
    /// The hook's name; none where it attaches nowhere.
    pub(crate) hook: Option<String>,
    /// Whether the service has the hook already.
    pub(crate) there: bool,
    /// How the program is replaced there; of a new hook the first choice.
    pub(crate) mechanism: Mechanism,
}

/// Gives each program a hook: one that the service has at the same target, else a new one.
pub(crate) fn place(hooks: &BTreeMap<String, Hook>, chosen: &[Chosen]) -> Vec<Placed> {
    let mut taken = BTreeSet::new();
    let at = |c: &Chosen, name: &str| {
        hooks.get(name).is_some_and(|h| h.pid == c.pid && is_one_place(&h.target, &c.target))
    };
    let mut found: Vec<Option<String>> = Vec::new();
    let (called, chosen): (Vec<&Chosen>, Vec<&Chosen>) = chosen.iter().partition(|c| c.called);
    for c in &chosen {
        let same_name = at(c, &c.name).then(|| c.name.clone());
        taken.extend(same_name.clone());
        found.push(same_name);
    }
    for (c, found) in chosen.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
        let same_target = hooks.keys().find(|name| at(c, name) && !taken.contains(*name)).cloned();
        taken.extend(same_target.clone());
        *found = same_target;
    }
    let alone = chosen.len() == 1 && hooks.len() <= 1;
    let mut placed = Vec::new();
    for (c, found) in chosen.iter().zip(found) {
        let known = found.as_ref().and_then(|name| hooks.get(name));
        let mechanism = known.map_or_else(|| first_choice(&c.target, alone), |h| h.mechanism);
        let there = known.is_some();
        let hook = found.unwrap_or_else(|| free_name(&c.name, hooks, &taken));
        taken.insert(hook.clone());
        placed.push(Placed { chosen: (*c).clone(), hook: Some(hook), there, mechanism });
    }
    let nowhere = |c: &&Chosen| {
        let (chosen, mechanism) = ((*c).clone(), Mechanism::Fixed);
        Placed { chosen, hook: None, there: true, mechanism }
    };
    placed.extend(called.iter().map(nowhere));
    placed
}

/// An interface has one XDP program, whatever frames that takes.
fn is_one_place(a: &Target, b: &Target) -> bool {
    match (a, b) {
        (Target::Xdp { interface: a, .. }, Target::Xdp { interface: b, .. }) => a == b,
        _ => a == b,
    }
}

fn free_name(wanted: &str, hooks: &BTreeMap<String, Hook>, taken: &BTreeSet<String>) -> String {
    let free = |name: &String| !hooks.contains_key(name) && !taken.contains(name);
    let numbered = (2..).map(|n| format!("{wanted}-{n}"));
    std::iter::once(wanted.to_owned()).chain(numbered).find(free).unwrap_or_default()
}

/// Hooks whose program the kernel replaces by itself need no stub while they are alone; all others get one.
fn first_choice(target: &Target, alone: bool) -> Mechanism {
    match target {
        Target::Tc { .. } | Target::CgroupSkb { .. } if alone => Mechanism::Update,
        // One that a stub called, and that was not there, would have dissected nothing.
        Target::At { section, .. } if section == "flow_dissector" => Mechanism::Update,
        Target::At { .. } if interface(target).is_some() => Mechanism::Update,
        Target::At { .. } if alone && is_updated(target) => Mechanism::Update,
        Target::At { .. } if target.kind() == "iter" => Mechanism::Update,
        // What replaces a function cannot be called by others, nor call them (Linux 6.1, 6.12).
        Target::At { .. } if target.site() == Some(Site::Program) => Mechanism::Fixed,
        Target::Other(_) if !attach::is_known(target) => Mechanism::Fixed,
        _ => Mechanism::Stub,
    }
}

/// Whether the kernel replaces the program of a link to such a place.
fn is_updated(target: &Target) -> bool {
    target.site().is_some_and(Site::is_updated)
}

/// Whether the kernel does not take a stub for a program that says where messages of a stream end: what it calls might change the
/// stream under it. It says EINVAL then, and nothing else.
fn is_no_such_parser(error: &RuntimeError, target: &Target) -> bool {
    let is_parser =
        matches!(target, Target::At { section, .. } if section == "sk_skb/stream_parser");
    is_parser && matches!(error, RuntimeError::Attach { source, .. } if source.is_invalid())
}

/// What is left where a stub can't be used.
fn without_stub(target: &Target) -> Mechanism {
    match target {
        Target::Xdp { .. } | Target::Tc { .. } | Target::CgroupSkb { .. } => Mechanism::Update,
        Target::At { .. } if is_updated(target) => Mechanism::Update,
        Target::At { .. } if target.site() == Some(Site::Route) => Mechanism::Update,
        _ => Mechanism::Fixed,
    }
}

/// What is to run on a hook.
pub(crate) struct Payload<'a> {
    pub(crate) program: &'a Program,
    pub(crate) calls_func_ip: bool,
    /// What libbpf knows of its object, where that attaches programs by their sections.
    pub(crate) sections: Option<&'a Sections>,
}

/// A stub and its slots.
pub(crate) struct Stubbed {
    program: Program,
    slots: MapHandle,
}

impl Runtime {
    /// Attaches a new hook, or makes it ready for a start; with a stub, `program` waits in `slot` for the switch.
    pub(crate) fn attach_hook(
        &mut self,
        (service, attaches): (&ServiceName, bool),
        placed: &mut Placed,
        &Payload { program, calls_func_ip, sections }: &Payload<'_>,
        (switch, slot): (&MapHandle, u32),
        report: &mut Report,
    ) -> Result<(), RuntimeError> {
        let Some(name) = placed.hook.clone() else { return Ok(()) };
        let mut hook = Hook {
            target: placed.chosen.target.clone(),
            pid: placed.chosen.pid,
            mechanism: placed.mechanism,
            attachment: Attachment::Intended,
            kind: program.kind().clone(),
            file: file_of(&placed.chosen.target),
            func_ip: calls_func_ip,
        };
        let mut stubbed = None;
        if hook.mechanism == Mechanism::Stub {
            match self.make_stub(service, &name, program, calls_func_ip, (switch, slot)) {
                Ok(made) => stubbed = Some(made),
                Err(error) => {
                    hook.mechanism = without_stub(&hook.target);
                    let why = error.hint().unwrap_or("the kernel refuses the stub");
                    let what =
                        format!("attached without a stub, so that it switches by itself: {why}");
                    report.add(Pass::LegacyAttach, &name, what);
                }
            }
        }
        placed.mechanism = hook.mechanism;
        let service = service.clone();
        let intent = hook.clone();
        self.record(Record::Attach { service: service.clone(), name: name.clone(), hook: intent })?;
        if let Some(stubbed) = &stubbed {
            self.pin_stub(&service, &name, stubbed)?;
        }
        if !attaches {
            hook.attachment = Attachment::Off;
            return self.record(Record::Attached { service, name, hook });
        }
        let attached = stubbed.as_ref().map_or(program, |stubbed| &stubbed.program);
        let link = match (&hook.target, sections) {
            (target, Some(sections)) if interface(target).is_some() => {
                self.register(&service, placed, sections)
            }
            (target, Some(sections)) if !attach::is_known(target) => {
                self.attach_by_section(&service, placed, sections)
            }
            _ => self.attach(&service, &placed.chosen.name, attached, &hook),
        };
        let link = match link {
            Err(error) if stubbed.is_some() && is_no_such_parser(&error, &hook.target) => {
                self.take_stub_back(&service, &name, &mut hook, report)?;
                self.attach(&service, &placed.chosen.name, program, &hook)
            }
            link => link,
        }?;
        self.settle(&service, &name, &mut hook, link, report)?;
        placed.mechanism = hook.mechanism;
        self.record(Record::Attached { service, name, hook })
    }

    /// Attaches `program`, which people know as `name`. At a start what ran before may have just gone, and the kernel takes it
    /// off some time later.
    pub(crate) fn attach(
        &self,
        service: &ServiceName,
        name: &str,
        program: &Program,
        hook: &Hook,
    ) -> Result<Link, RuntimeError> {
        let Hook { target, pid, .. } = hook;
        let attach = || {
            let usdt = self.describe(service, target)?;
            let map = self.map_of(service, name, target)?;
            let plan = AttachPlan { pid: *pid, usdt, map, ..AttachPlan::new(target.clone()) };
            self.call("attach", || match self.op {
                Op::Activate | Op::Start | Op::Recover => attach::attach_when_free(program, &plan),
                _ => attach::attach(program, &plan),
            })
        };
        attach().map_err(|source| RuntimeError::Attach {
            service: service.clone(),
            program: name.to_owned(),
            source: Box::new(source),
        })
    }

    /// Registers the functions of a kernel interface.
    fn register(
        &self,
        service: &ServiceName,
        placed: &Placed,
        sections: &Sections,
    ) -> Result<Link, RuntimeError> {
        let Chosen { name, target, .. } = &placed.chosen;
        let map = interface(target).unwrap_or_default();
        self.call("attach", || sections.attach_interface(map)).map_err(|source| {
            let (service, program) = (service.clone(), name.clone());
            RuntimeError::Attach { service, program, source: Box::new(source) }
        })
    }

    /// Attaches a program of a kind that only libbpf knows; what cannot be pinned would go with this process.
    fn attach_by_section(
        &self,
        service: &ServiceName,
        placed: &Placed,
        sections: &Sections,
    ) -> Result<Link, RuntimeError> {
        let Chosen { name, function, target, .. } = &placed.chosen;
        let link = self.call("attach", || sections.attach(function));
        let pinnable = link.and_then(|link| {
            let why = "this kernel has no link for it that can be pinned";
            let refused = || KernelError::unsupported("attach at", target.to_string(), why);
            if link.pinnable() { Ok(link) } else { Err(refused()) }
        });
        pinnable.map_err(|source| RuntimeError::Attach {
            service: service.clone(),
            program: name.clone(),
            source: Box::new(source),
        })
    }

    /// The stub with `program` in `slot`. A refusal here is no error of the operation: there are other ways.
    pub(crate) fn make_stub(
        &self,
        service: &ServiceName,
        hook: &str,
        program: &Program,
        calls_func_ip: bool,
        (switch, slot): (&MapHandle, u32),
    ) -> Result<Stubbed, KernelError> {
        let slots = prog_array::create("skep_slots", SLOTS)?;
        let name = format!("skep_{service}_{hook}");
        let stub =
            self.call("stub", || stub::load(&name, program, calls_func_ip, switch, &slots))?;
        self.call("fill", || prog_array::set(&slots, slot, program))?;
        Ok(Stubbed { program: stub, slots })
    }

    /// Sees to it that an attachment outlives this process: a pin, the holder, or nothing for what stays by itself.
    pub(crate) fn settle(
        &mut self,
        service: &ServiceName,
        name: &str,
        hook: &mut Hook,
        link: Link,
        report: &mut Report,
    ) -> Result<(), RuntimeError> {
        if let LinkKind::Standing(standing) = link.kind() {
            hook.attachment = standing.into();
            if hook.mechanism == Mechanism::Update {
                hook.mechanism = Mechanism::Replace;
            }
            link.keep();
            if matches!(standing, Standing::Filter(_)) {
                report.changes.push(Change::clsact(name));
            }
        } else if link.pinnable() {
            self.make_hook_folder(service, name)?;
            let path = self.pins(service).link(name);
            for (part, pin) in link.parts(&path) {
                self.call("pin", || part.pin(&pin))?;
            }
            hook.attachment = Attachment::Link { id: link.id().unwrap_or(0) };
        } else if let Some(fd) = link.into_fd() {
            let key = format!("{service}/{name}");
            self.held.keep(&key, fd)?;
            hook.attachment = Attachment::Held { key };
            report.changes.push(Change::held(name, &hook.target));
            if !self.held.outlives_us() {
                let what = "there is no holder: it goes with this process";
                report.add(Pass::LegacyAttach, name, what);
            }
        } else {
            // Only where perf events have no links: one for each CPU could not be kept by one fd.
            let why = "this kernel has no links of perf events that could be pinned (Linux 5.15)";
            return Err(KernelError::unsupported("keep", format!("the hook '{name}'"), why).into());
        }
        Ok(())
    }

    pub(crate) fn pin_stub(
        &self,
        service: &ServiceName,
        name: &str,
        stubbed: &Stubbed,
    ) -> Result<(), RuntimeError> {
        self.make_hook_folder(service, name)?;
        let pins = self.pins(service);
        self.call("pin", || stubbed.slots.pin(&pins.slots(name)))?;
        self.call("pin", || stubbed.program.pin(&pins.stub(name)))?;
        Ok(())
    }

    /// Goes on without a stub that the kernel loads and does not attach.
    fn take_stub_back(
        &mut self,
        service: &ServiceName,
        name: &str,
        hook: &mut Hook,
        report: &mut Report,
    ) -> Result<(), RuntimeError> {
        hook.mechanism = without_stub(&hook.target);
        let what = "attached without a stub, so that it can't be replaced: this kernel takes no parser that calls others (Linux 7)";
        report.add(Pass::LegacyAttach, name, what.to_owned());
        let intent = hook.clone();
        let (owner, named) = (service.clone(), name.to_owned());
        self.record(Record::Attach { service: owner, name: named, hook: intent })?;
        let pins = self.pins(service);
        bpffs::unpin(&pins.stub(name)).and_then(|()| bpffs::unpin(&pins.slots(name)))?;
        Ok(())
    }

    fn make_hook_folder(&self, service: &ServiceName, name: &str) -> Result<(), RuntimeError> {
        make_folder(&self.pins(service).hook(name))
    }

    /// Takes a hook off the kernel; one that is not attached any more is no error.
    pub(crate) fn detach_hook(&mut self, dead: &DeadHook) -> Result<(), RuntimeError> {
        let DeadHook { service, name, .. } = dead;
        let standing = self.standing_of(dead)?;
        self.take_off(service, name, standing)?;
        let (service, name) = (service.clone(), name.clone());
        self.record(Record::Detached { service, name })
    }

    /// Detaches what a hook has attached, also if it is another link than was written down.
    pub(crate) fn take_off(
        &mut self,
        service: &ServiceName,
        name: &str,
        standing: Option<Standing>,
    ) -> Result<(), RuntimeError> {
        let pins = self.pins(service);
        self.faults.point(self.at(), "detach", Side::Before);
        if let Some(standing) = standing {
            standing.remove()?;
        }
        self.held.release(&format!("{service}/{name}"))?;
        Link::take_off(&pins.link(name))?;
        self.faults.point(self.at(), "detach", Side::After);
        Ok(())
    }

    /// What holds a hook's program without a link. One that was being attached when the process ended is found by its program.
    fn standing_of(&self, dead: &DeadHook) -> Result<Option<Standing>, KernelError> {
        if dead.hook.attachment != Attachment::Intended {
            return Ok(dead.hook.standing());
        }
        let pins = self.pins(&dead.service);
        let programs = bpffs::pins(&pins.folder().join("progs"))?;
        let programs = programs.into_iter().chain([pins.stub(&dead.name)]);
        let opened =
            programs.filter_map(|pin| Program::open_pinned(&pin, LoadKind::default()).ok());
        let ids = opened.map(|program| program.id()).collect::<Result<Vec<_>, _>>()?;
        Standing::find(&dead.hook.target, &ids)
    }
}

pub(crate) fn make_folder(path: &std::path::Path) -> Result<(), RuntimeError> {
    fs::create_dir_all(path).map_err(|source| RuntimeError::File {
        action: "make the folder",
        path: path.display().to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(name: &str, target: &str) -> Chosen {
        let target = target.parse().unwrap();
        let called = name == "called";
        let (object, function) = ("o".into(), name.into());
        Chosen { name: name.into(), object, function, target, pid: None, called }
    }

    fn hook(target: &str) -> Hook {
        Hook {
            target: target.parse().unwrap(),
            pid: None,
            mechanism: Mechanism::Stub,
            attachment: Attachment::Link { id: 1 },
            kind: LoadKind::default(),
            file: None,
            func_ip: false,
        }
    }

    fn places(hooks: &[(&str, &str)], programs: &[(&str, &str)]) -> Vec<(String, bool, Mechanism)> {
        let hooks = hooks.iter().map(|(name, target)| ((*name).to_owned(), hook(target))).collect();
        let programs: Vec<Chosen> = programs.iter().map(|(n, t)| chosen(n, t)).collect();
        let hook = |p: &Placed| p.hook.clone().unwrap_or_default();
        place(&hooks, &programs).iter().map(|p| (hook(p), p.there, p.mechanism)).collect()
    }

    #[test]
    fn a_renamed_program_keeps_its_hook() {
        let placed = places(&[("on_exec", "tp/sched/x")], &[("handle", "tracepoint/sched/x")]);
        assert_eq!(placed, [("on_exec".to_owned(), true, Mechanism::Stub)]);
    }

    #[test]
    fn what_is_called_has_no_hook() {
        let placed = places(&[], &[("called", "syscall"), ("alone", "tcx/egress/lo")]);
        let none = (String::new(), true, Mechanism::Fixed);
        assert_eq!(placed, [("alone".to_owned(), false, Mechanism::Update), none]);
    }

    #[test]
    fn two_programs_at_one_target_keep_theirs_by_name() {
        let placed = places(
            &[("a", "raw_tp/x"), ("b", "raw_tp/x")],
            &[("b", "raw_tp/x"), ("c", "raw_tp/x")],
        );
        assert_eq!(placed[0].0, "b");
        assert_eq!(placed[1].0, "a");
    }

    #[test]
    fn a_new_target_is_a_new_hook_with_a_free_name() {
        let placed = places(&[("a", "raw_tp/x")], &[("a", "raw_tp/y")]);
        assert_eq!(placed, [("a-2".to_owned(), false, Mechanism::Stub)]);
    }

    #[test]
    fn a_hook_alone_switches_by_its_link_where_it_can() {
        assert_eq!(places(&[], &[("a", "tcx/ingress/lo")])[0].2, Mechanism::Update);
        assert_eq!(places(&[], &[("a", "xdp/lo")])[0].2, Mechanism::Stub);
        let two = places(&[], &[("a", "tcx/ingress/lo"), ("b", "cgroup_skb/egress:/x")]);
        assert!(two.iter().all(|(_, _, mechanism)| *mechanism == Mechanism::Stub));
        // Of iterators the kernel replaces the program.
        let sections =
            places(&[], &[("a", "iter/task"), ("b", "iter.s/task"), ("c", "lsm/file_open")]);
        let mechanisms: Vec<Mechanism> =
            sections.iter().map(|(_, _, mechanism)| *mechanism).collect();
        assert_eq!(mechanisms, [Mechanism::Update, Mechanism::Update, Mechanism::Stub]);
        let at = |target: &str| places(&[], &[("a", target)])[0].2;
        assert_eq!(at("cgroup/connect4:/x"), Mechanism::Update);
        assert_eq!(at("flow_dissector"), Mechanism::Update);
        assert_eq!(at("netfilter:ipv4/input"), Mechanism::Stub);
        assert_eq!(at("usdt//bin/a:b:c"), Mechanism::Stub);
    }
}
