//! Which programs of a package can run on this kernel, and a session of those.

use std::collections::BTreeMap;

use skep_kernel::ring;
use skep_object::suit::{by_entry, is_called, suits};
use skep_spec::manifest::Program;
use skep_spec::{Site, Target};
use skep_trust::Package;

use super::{Options, Session};
use crate::at_map;
use crate::choose::{
    ChooseError, Chosen, Objects, Refused, by_interface, facts_of, lacks, refusal, select,
};
use crate::error::RuntimeError;
use crate::load::{Preparation, wanted_objects};
use crate::params::Params;
use crate::plan::Report;

/// Programs that this kernel refused, by object and function, with the reason.
type Blamed = BTreeMap<(String, String), String>;

/// What is to run.
pub(super) struct Attempt<'a> {
    pub(super) package: &'a Package,
    pub(super) objects: &'a Objects,
    pub(super) params: &'a Params,
    pub(super) options: &'a Options,
}

impl Attempt<'_> {
    /// Tries without those that this kernel refuses, until it refuses none.
    pub(super) fn until_one_runs(&self) -> Result<Session, RuntimeError> {
        let mut refused = Blamed::new();
        loop {
            let (service, object, source) = match self.run(&refused) {
                Err(RuntimeError::Load { service, object, source }) => (service, object, source),
                other => return other,
            };
            let guilty = self.guilty(&object, source.program.as_deref(), &refused)?;
            let why = advised(source.to_string(), source.hint.as_deref());
            refused.extend(guilty.iter().map(|program| (program.clone(), why.clone())));
            let (left, skipped) = self.chosen(&refused)?;
            if guilty.is_empty() || left.is_empty() && self.package.objects.len() == 1 {
                return Err(RuntimeError::Load { service, object, source });
            }
            if left.is_empty() {
                return Err(nothing_attached(skipped).into());
            }
        }
    }

    fn run(&self, refused: &Blamed) -> Result<Session, RuntimeError> {
        let (chosen, skipped) = self.chosen(refused)?;
        let mut session = Session {
            links: Vec::new(),
            attached: Vec::new(),
            skipped,
            report: Report::default(),
            rings: ring::Reader::new()?,
            ring_sources: Vec::new(),
            perfs: Vec::new(),
            perf_lost: 0,
            unknown: 0,
            held: Vec::new(),
            counters: Vec::new(),
            metrics: Vec::new(),
            objects: Vec::new(),
        };
        let service = self.package.manifest.package.name.short().to_owned();
        for (object, bytes) in wanted_objects(self.package, &chosen) {
            let Some(facts) = self.objects.get(object) else { continue };
            let reuse = BTreeMap::new();
            let preparation = Preparation {
                service: &service,
                object,
                bytes,
                facts,
                chosen: &chosen,
                params: self.params,
                reuse: &reuse,
                btf: self.options.btf.as_deref(),
            };
            let (loaded, counters) = preparation.load_whole(&mut session.report)?;
            session.counters.extend(counters);
            session.read_buffers(self.package, facts, &loaded)?;
            session.find_metrics(self.package, facts, &loaded)?;
            session.objects.push((object.clone(), loaded));
        }
        // A program of one object may be attached to a map of another.
        session.attach_all(&chosen, self.options.pid);
        match session.attached.is_empty() {
            false => Ok(session),
            true => Err(nothing_attached(session.skipped).into()),
        }
    }

    /// The programs that a failure to load an object is about: one, or where nobody lists programs all of the object.
    fn guilty(
        &self,
        object: &str,
        function: Option<&str>,
        refused: &Blamed,
    ) -> Result<Vec<(String, String)>, RuntimeError> {
        if let Some(function) = function {
            let one = (object.to_owned(), function.to_owned());
            return Ok(if refused.contains_key(&one) { Vec::new() } else { vec![one] });
        }
        if !self.package.manifest.program.is_empty() {
            return Ok(Vec::new());
        }
        let (chosen, _) = self.chosen(refused)?;
        let here = chosen.into_iter().filter(|one| one.object == object);
        Ok(here.map(|one| (one.object, one.function)).collect())
    }

    /// Programs that can attach, and those that cannot with the reason.
    #[allow(clippy::type_complexity)]
    fn chosen(
        &self,
        refused: &Blamed,
    ) -> Result<(Vec<Chosen>, Vec<(String, String)>), RuntimeError> {
        let (mut chosen, mut skipped) = (Vec::new(), Vec::new());
        let manifest = &self.package.manifest;
        let named = |((object, function), why): (&(String, String), &String)| {
            let is_it = |p: &Program| {
                p.function == *function && p.object.as_ref().is_none_or(|told| told == object)
            };
            let (name, _) = manifest.program.iter().find(|(_, program)| is_it(program))?;
            Some((name.clone(), why.clone()))
        };
        let known: Refused = refused.iter().filter_map(named).collect();
        let mut report = Report::default();
        let all = select(manifest, self.objects, self.params, &known, &mut report)?;
        let all = by_interface(all, self.objects);
        for mut one in all {
            self.complete(&mut one);
            if let Some(why) = refused.get(&(one.object.clone(), one.function.clone())) {
                skipped.push((one.name, why.clone()));
            } else if let Some((lacks, example)) = lacks(&one.target) {
                let why = format!("'{}' names no {lacks}; a whole one is {example}", one.target);
                skipped.push((one.name, why));
            } else if facts_of(&one, self.objects).is_some_and(is_called) {
                let why = "it attaches nowhere: a service has it, for skep prog run or for entries of its maps";
                skipped.push((one.name, why.to_owned()));
            } else if let Some(why) = facts_of(&one, self.objects).and_then(by_entry) {
                skipped.push((one.name, why.to_owned()));
            } else if let Some(Err(unsuited)) =
                facts_of(&one, self.objects).map(|program| suits(program, &one.target))
            {
                skipped.push((one.name, unsuited.to_string()));
            } else if let Err(unclear) = at_map::names_one(&one, self.objects) {
                skipped.push((one.name, unclear.to_string()));
            } else {
                chosen.push(one);
            }
        }
        Ok((chosen, skipped))
    }

    /// Puts what the command line said into a target that lacks it.
    fn complete(&self, one: &mut Chosen) {
        let options = self.options;
        if let Some(target) = options.targets.get(&one.name) {
            one.target = target.clone();
        }
        let fill = |place: &mut String, with: &Option<String>| {
            if let (true, Some(with)) = (place.is_empty(), with) {
                place.clone_from(with);
            }
        };
        match &mut one.target {
            Target::Xdp { interface, .. } | Target::Tc { interface, .. } => {
                fill(interface, &options.interface);
            }
            Target::CgroupSkb { cgroup, .. } => fill(cgroup, &options.cgroup),
            Target::At { section, place } => match Site::of(section) {
                Some(Site::Cgroup) => fill(place, &options.cgroup),
                Some(Site::Netkit | Site::Socket) => fill(place, &options.interface),
                Some(Site::Netns | Site::Netfilter | Site::PerfEvent) | None => {}
                Some(Site::SockMap | Site::Interface | Site::Iterator(_)) => {}
                Some(Site::Route | Site::Group | Site::Action | Site::Program) => {}
            },
            _ => {}
        }
    }
}

/// Why a program does not run, and what a person can do.
pub(super) fn advised(why: String, hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("{why} ({hint})"),
        None => why,
    }
}

fn nothing_attached(skipped: Vec<(String, String)>) -> ChooseError {
    let lines = skipped.iter().map(|(program, why)| refusal(program, why));
    let why = lines.collect::<Vec<_>>().join("\n");
    if why.is_empty() { ChooseError::Nothing } else { ChooseError::NothingAttached { why } }
}
