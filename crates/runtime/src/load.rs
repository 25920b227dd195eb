//! Loading a package's objects: sizes, constants and shared maps first, then the kernel.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use skep_adapt::Pass;
use skep_adapt::renamed::Asked;
use skep_kernel::maps::possible_cpus;
use skep_kernel::object::{self, OpenOptions, Sections};
use skep_kernel::vmlinux::OldNames;
use skep_kernel::{KernelError, LoadError, Loaded, MapHandle, Opened, Program};
use skep_object::{Facts, MapFacts, MapOrigin, OpenSize, Slot, gpl};
use skep_trust::Package;

use crate::allowance::Allowance;
use crate::choose::{Chosen, Objects};
use crate::error::RuntimeError;
use crate::params::Params;
use crate::plan::Report;
use crate::state::{Incarnation, LOST, MapRecord};

/// Where a map of a package is defined.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MapPlace {
    pub(crate) object: String,
    pub(crate) symbol: String,
}

/// What one object needs before it is loaded.
pub(crate) struct Preparation<'a> {
    pub(crate) service: &'a str,
    pub(crate) object: &'a str,
    pub(crate) bytes: &'a [u8],
    pub(crate) facts: &'a Facts,
    pub(crate) chosen: &'a [Chosen],
    pub(crate) params: &'a Params,
    /// Maps of the running generation to use again, by symbol.
    pub(crate) reuse: &'a BTreeMap<String, MapHandle>,
    /// Kernel types in place of those that the kernel carries.
    pub(crate) btf: Option<&'a Path>,
}

/// An object in the kernel.
pub(crate) struct LoadedObject {
    pub(crate) programs: BTreeMap<String, Program>,
    pub(crate) maps: BTreeMap<String, MapHandle>,
    /// Functions in the order of their counters of lost events.
    pub(crate) lost_slots: Vec<String>,
    /// For programs that libbpf attaches by their sections.
    pub(crate) sections: Sections,
}

/// The name of every map of a package: the one that the running generation has for it, so that state stays where it is when a
/// package grows an object; else its symbol, with the object in front where several objects have it.
pub(crate) fn map_names(
    objects: &Objects,
    running: Option<&Incarnation>,
) -> BTreeMap<String, MapPlace> {
    let known: BTreeMap<MapPlace, String> =
        running.map(names_of).into_iter().flatten().map(|(name, place)| (place, name)).collect();
    let mut count = BTreeMap::<&str, usize>::new();
    for map in objects.values().flat_map(|facts| &facts.maps) {
        *count.entry(&map.name).or_default() += 1;
    }
    let symbols = |facts: &'_ Facts| -> Vec<String> {
        facts.maps.iter().map(|map| map.name.clone()).chain([LOST.to_owned()]).collect()
    };
    let places = objects.iter().flat_map(|(object, facts)| {
        let place = |symbol| MapPlace { object: object.clone(), symbol };
        symbols(facts).into_iter().map(place)
    });
    let (old, new): (Vec<MapPlace>, Vec<MapPlace>) =
        places.partition(|place| known.contains_key(place));
    let mut names: BTreeMap<_, _> =
        old.into_iter().map(|place| (known[&place].clone(), place)).collect();
    for place in new {
        let MapPlace { object, symbol } = &place;
        let several = if symbol == LOST { objects.len() } else { count[symbol.as_str()] } > 1;
        let name = match several || names.contains_key(symbol) {
            true => format!("{object}/{symbol}"),
            false => symbol.clone(),
        };
        names.insert(name, place);
    }
    names
}

/// The names that a generation's maps have.
pub(crate) fn names_of(incarnation: &Incarnation) -> BTreeMap<String, MapPlace> {
    let place = |record: &MapRecord| MapPlace {
        object: record.object.clone(),
        symbol: record.symbol.clone(),
    };
    incarnation.maps.iter().map(|(name, record)| (name.clone(), place(record))).collect()
}

impl Preparation<'_> {
    /// Loads the object, and gives its programs and maps.
    pub(crate) fn load(&self, report: &mut Report) -> Result<LoadedObject, RuntimeError> {
        let (loaded, counters) = self.load_whole(report)?;
        let lost_slots = loaded.counted().slots.clone();
        let (programs, mut maps, sections) = loaded.into_parts();
        maps.extend(counters.map(|counters| (LOST.to_owned(), counters)));
        Ok(LoadedObject { programs, maps, lost_slots, sections })
    }

    /// Loads the object; once more without counting lost events if the kernel refuses it with them. Gives the
    /// counters too, where something counts.
    pub(crate) fn load_whole(
        &self,
        report: &mut Report,
    ) -> Result<(Loaded, Option<MapHandle>), RuntimeError> {
        let mut counters = self.counters()?;
        let names = OldNames::of(&Asked::by(self.facts), self.btf);
        for added in names.iter().flat_map(|names| &names.added) {
            report.add(Pass::Renamed, self.object, added);
        }
        let names = names.as_ref();
        let loaded = match self.allowed(counters.as_ref(), names, report)? {
            Ok(loaded) => loaded,
            Err(error) if counters.is_some() => {
                counters = None;
                let again = self.allowed(None, names, &mut Report::default())?;
                let loaded = again.map_err(|_| self.failed(error.clone()))?;
                let what = format!("lost events are not counted: {}", error.summary);
                report.add(Pass::LostEvents, self.object, what);
                loaded
            }
            Err(error) => return Err(self.failed(error)),
        };
        for (program, why) in &loaded.counted().uncounted {
            report.add(Pass::LostEvents, program, format!("lost events are not counted: {why}"));
        }
        let counts = !loaded.counted().slots.is_empty();
        if counts && counters.is_some() {
            report.add(
                Pass::LostEvents,
                self.object,
                "events that find a ring buffer full are counted",
            );
        }
        Ok((loaded, counters.filter(|_| counts)))
    }

    /// Loads it as it is or, where this kernel refuses that, with what it can be told or spared.
    fn allowed(
        &self,
        counters: Option<&MapHandle>,
        names: Option<&OldNames>,
        report: &mut Report,
    ) -> Result<Result<Loaded, LoadError>, RuntimeError> {
        let first = match self.opened(counters, names, Allowance::default(), report)?.load() {
            Ok(loaded) => return Ok(Ok(loaded)),
            Err(error) => error,
        };
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let first_ones = Allowance::default().after(&first, self.facts, &release);
        let mut left = VecDeque::from(first_ones);
        while let Some(allowance) = left.pop_front() {
            match self.opened(counters, names, allowance, &mut Report::default())?.load() {
                Ok(loaded) => {
                    allowance.report(self.object, report);
                    return Ok(Ok(loaded));
                }
                Err(error) => left.extend(allowance.after(&error, self.facts, &release)),
            }
        }
        Ok(Err(first))
    }

    fn failed(&self, mut source: LoadError) -> RuntimeError {
        // The verifier says neither which helper asks for a licence nor what to write.
        if source.summary.contains("GPL") {
            source.hint = gpl::check(self.facts).err().map(|error| error.to_string());
        }
        source.hint = source.hint.or_else(|| self.wrong_size(&source.summary));
        let own = self.btf.map(|file| {
            format!(
                "it is made to fit the kernel types in {}: they must be this kernel's",
                file.display()
            )
        });
        source.hint = source.hint.or(own);
        let (service, object) = (self.service.to_owned(), self.object.to_owned());
        RuntimeError::Load { service, object, source: Box::new(source) }
    }

    /// What a map is like that the kernel does not make, where it says no more than that.
    fn wrong_size(&self, summary: &str) -> Option<String> {
        let (name, why) = summary.strip_prefix("map '")?.split_once("': failed to create")?;
        let map = self.facts.map(name).filter(|_| why.contains("EINVAL"))?;
        let MapFacts { kind, key_size, value_size, max_entries, .. } = map;
        Some(format!(
            "its type is {kind}, with keys of {key_size} bytes, values of {value_size} and {max_entries} entries: this \
             kernel makes none like that; where the object's own loader sets a size, say it in the object"
        ))
    }

    fn opened(
        &self,
        counters: Option<&MapHandle>,
        names: Option<&OldNames>,
        allowance: Allowance,
        report: &mut Report,
    ) -> Result<Opened, RuntimeError> {
        let own = || self.btf.map(Path::to_owned);
        let btf_path = names.map(OldNames::path).or_else(own);
        let options = OpenOptions { btf_path, version: allowance.version() };
        let opened = object::open(self.bytes, "skep", &options);
        let mut opened = opened.map_err(|e| self.failed(e))?;
        allowance.edits().for_each(|edit| opened.edit(edit));
        self.choose_programs(&mut opened)?;
        self.size_maps(&mut opened, report)?;
        self.params.write(self.facts, &mut opened)?;
        for (symbol, map) in self.reuse {
            opened.reuse_map(symbol, map)?;
        }
        if let Some(counters) = counters {
            opened.count_lost(counters)?;
        }
        Ok(opened)
    }

    fn choose_programs(&self, opened: &mut Opened) -> Result<(), KernelError> {
        let mut wanted = BTreeMap::new();
        for chosen in self.chosen.iter().filter(|c| c.object == self.object) {
            wanted.insert(chosen.function.as_str(), &chosen.target);
        }
        let loaded = self.facts.with_tail_called(self.functions());
        let is_loaded = |slot: &Slot| loaded.contains(&slot.name);
        let interfaces = self.facts.maps.iter().filter(|map| map.origin == MapOrigin::StructOps);
        for map in interfaces.filter(|map| !map.slots.iter().any(is_loaded)) {
            opened.leave_out(&map.name)?;
        }
        for program in opened.programs() {
            let target = wanted.get(program.name.as_str());
            opened.set_autoload(&program.name, loaded.contains(&program.name))?;
            if let Some(target) = target {
                opened.set_attach_target(&program.name, target)?;
            }
        }
        Ok(())
    }

    /// The functions that are to run.
    fn functions(&self) -> impl Iterator<Item = &str> {
        let here = self.chosen.iter().filter(|chosen| chosen.object == self.object);
        here.map(|chosen| chosen.function.as_str())
    }

    fn size_maps(&self, opened: &mut Opened, report: &mut Report) -> Result<(), RuntimeError> {
        for map in &self.facts.maps {
            if let Some(entries) = self.params.max_entries(&map.name)? {
                opened.set_max_entries(&map.name, entries)?;
            } else if let Some(entries) = default_entries(map)? {
                opened.set_max_entries(&map.name, entries)?;
                let what =
                    format!("given {entries} entries, since the object leaves its size open");
                report.add(Pass::Sizes, &map.name, what);
            }
        }
        Ok(())
    }

    /// An array with a counter for each program, where a program writes to a ring buffer.
    fn counters(&self) -> Result<Option<MapHandle>, KernelError> {
        let functions = self.facts.with_tail_called(self.functions());
        let writes = self.facts.programs.iter().any(|program| {
            functions.contains(&program.name)
                && program.helpers.iter().any(|helper| helper.starts_with("ringbuf_"))
        });
        if !writes {
            return Ok(None);
        }
        let slots = u32::try_from(self.facts.programs.len()).unwrap_or(u32::MAX);
        MapHandle::create_u64s("skep_lost", slots).map(Some)
    }
}

/// The size of a map that its own loader would have set; none where the object says one or the kernel takes none.
fn default_entries(map: &MapFacts) -> Result<Option<u32>, KernelError> {
    Ok(match map.open_size() {
        Some(OpenSize::Entries(entries)) => Some(entries),
        Some(OpenSize::EachCpu) => u32::try_from(possible_cpus()?).ok(),
        None => None,
    })
}

/// The objects of a package that have a chosen program.
pub(crate) fn wanted_objects<'a>(
    package: &'a Package,
    chosen: &'a [Chosen],
) -> impl Iterator<Item = (&'a String, &'a Vec<u8>)> {
    let wanted = |object: &String| chosen.iter().any(|c| c.object == *object);
    package.objects.iter().filter(move |(object, _)| wanted(object))
}
