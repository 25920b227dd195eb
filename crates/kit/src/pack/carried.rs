//! Outputs of maps that cannot carry them, sizes of what has none, and programs of another object: nobody would ever see anything.

use skep_object::{Facts, MapFacts, MapKind, MapOrigin};
use skep_spec::manifest::{Field, Manifest, Output, OutputKind};
use skep_spec::nearest::Search;
use skep_spec::source::{Code, Hint, Mistake};

use super::Parsed;
use super::names::mistake;

/// Every mistake of that kind.
pub(super) fn mistakes(manifest: &Manifest, objects: &[Parsed]) -> Vec<Mistake> {
    let facts = || objects.iter().map(|one| &one.facts);
    let mut found = Vec::new();
    for (name, output) in &manifest.output {
        let maps = facts().filter_map(|facts| facts.map(&output.map));
        found.extend(maps.filter_map(|map| not_carried(name, output, map)));
    }
    for (name, told) in &manifest.map {
        let is_data =
            |facts: &Facts| facts.map(name).is_some_and(|map| map.origin == MapOrigin::Data);
        if told.max_entries.is_some() && facts().any(is_data) {
            found.push(of_section(name));
        }
    }
    found.extend(elsewhere(manifest, objects));
    found
}

/// Whether a map carries what an output of its kind shows ([OUT-009]).
fn not_carried(name: &str, output: &Output, map: &MapFacts) -> Option<Mistake> {
    use MapKind::{BloomFilter, PerfEventArray, ProgArray, RingBuf, StackTrace, UserRingBuf};
    let of_frames = |field: &Field| matches!(field.format.as_deref(), Some("kstack" | "ustack"));
    let (what, needed) = match (output.kind, map.kind) {
        (OutputKind::Event, RingBuf | PerfEventArray) => return None,
        (OutputKind::Event, _) => ("an event", "comes from a ring buffer or a perf buffer"),
        (OutputKind::Stacks | OutputKind::Snapshot, StackTrace) => return None,
        (OutputKind::Stacks, _) if output.fields.values().any(of_frames) => return None,
        (OutputKind::Stacks, _) => (
            "an output of stacks",
            "comes from a stack-trace map, or from a map with fields of the format kstack or ustack",
        ),
        (_, RingBuf | UserRingBuf | PerfEventArray | ProgArray | BloomFilter | StackTrace) => {
            ("such an output", "shows the entries of a map, whose values are numbers")
        }
        _ => return None,
    };
    let message = format!("{what} {needed}, and '{}' is of the type {}", output.map, map.kind);
    let key = ["output", name, "map"].map(str::to_owned).to_vec();
    Some(mistake(key, Code::Value, message, None))
}

/// A section of variables has one entry, whatever a manifest says ([MAN-045]).
fn of_section(name: &str) -> Mistake {
    let message =
        format!("'{name}' is a section of variables, which has one entry: leave max_entries out");
    let key = ["map", name, "max_entries"].map(str::to_owned).to_vec();
    mistake(key, Code::Value, message, None)
}

/// Programs that are not in the object that is named, but in another one.
fn elsewhere(manifest: &Manifest, objects: &[Parsed]) -> Vec<Mistake> {
    let (mut found, mut search) = (Vec::new(), Search::default());
    for (name, own) in &manifest.program {
        let Some(told) = &own.object else { continue };
        let holders = objects.iter().filter(|one| one.facts.program(&own.function).is_some());
        let holders: Vec<&str> = holders.map(|one| one.object.as_str()).collect();
        if holders.is_empty() || holders.contains(&told.as_str()) {
            continue;
        }
        let there = objects.iter().filter(|one| one.object == *told);
        let names = there.flat_map(|one| &one.facts.programs).map(|one| one.name.as_str());
        let hint = match search.nearest(&own.function, names) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("it is in '{}'", holders.first().unwrap_or(&"")),
        };
        let message = format!("the object '{told}' has no program '{}'", own.function);
        let key = ["program", name, "function"].map(str::to_owned).to_vec();
        found.push(mistake(key, Code::Reference, message, Some(Hint::Do(hint))));
    }
    found
}

#[cfg(test)]
mod tests {
    use skep_spec::Arch;

    use super::super::tests::{compiled, with};
    use super::*;

    fn said(tables: &str) -> Vec<(String, String)> {
        let parsed = |facts| Parsed { object: "a".to_owned(), arch: Arch::X86_64, facts };
        let objects: Vec<Parsed> = compiled().into_iter().map(parsed).collect();
        let said = mistakes(&with(tables), &objects).into_iter();
        said.map(|one| (one.key.join("/"), one.message)).collect()
    }

    #[test]
    fn an_output_is_carried_by_a_map_of_its_kind() {
        let tables = "[output.a]\nkind = \"event\"\nmap = \".bss\"\n[output.b]\nkind = \"stacks\"\nmap = \"rb\"\n\
            [output.c]\nkind = \"event\"\nmap = \"rb\"\n[output.d]\nkind = \"counter\"\nmap = \"rb\"\n\
            [map.\".bss\"]\nmax_entries = 3\n[map.rb]\nmax_entries = 4096\n";
        assert_eq!(
            said(tables),
            [
                ("output/a/map", "an event comes from a ring buffer or a perf buffer, and '.bss' is of the type array"),
                ("output/b/map", "an output of stacks comes from a stack-trace map, or from a map with fields of the format kstack or ustack, and 'rb' is of the type ringbuf"),
                ("output/d/map", "such an output shows the entries of a map, whose values are numbers, and 'rb' is of the type ringbuf"),
                ("map/.bss/max_entries", "'.bss' is a section of variables, which has one entry: leave max_entries out"),
            ]
            .map(|(key, message)| (key.to_owned(), message.to_owned()))
        );
    }
}
