//! What a manifest says of its objects, once their names are right.

use std::collections::{BTreeMap, BTreeSet};

use skep_object::bound::{self, Misbound};
use skep_object::named::{self, TwoMaps};
use skep_object::suit::{all_suit, attachable, loadable, plain};
use skep_object::{Btf, Facts, MapOrigin, ProgramFacts, TypeId, declared, event, gpl, unlisted};
use skep_spec::manifest::{Manifest, OutputKind};
use skep_spec::param::{Value, parse_entries, substitute};
use skep_spec::{Arch, Target};

use super::{PackingError, Parsed};

/// Holds the manifest against what the objects are.
pub(super) fn all(
    manifest: &Manifest,
    objects: &[Parsed],
    facts: &[Facts],
) -> Result<(), PackingError> {
    have_targets(manifest, facts)?;
    are_shown(manifest, facts)?;
    facts.iter().try_for_each(gpl::check)?;
    objects.iter().try_for_each(|one| all_suit(manifest, &one.object, &one.facts))?;
    are_attachable(manifest, objects)?;
    are_told_apart(manifest, objects)?;
    are_bound(manifest, objects)?;
    are_sizes(manifest)?;
    covered(manifest, objects)
}

fn have_targets(manifest: &Manifest, facts: &[Facts]) -> Result<(), PackingError> {
    for (name, program) in manifest.program.iter().filter(|(_, program)| program.target.is_none()) {
        let found = facts.iter().find_map(|facts| facts.program(&program.function));
        if found.is_some_and(|f| matches!(&f.target, Target::Other(section) if section.is_empty()))
        {
            return Err(PackingError::NoTarget { program: name.clone() });
        }
    }
    Ok(())
}

/// Whether a service can have the programs that run. Targets that the manifest gives are of the programs' kinds.
fn are_attachable(manifest: &Manifest, parsed: &[Parsed]) -> Result<(), PackingError> {
    let by_section = |program: &ProgramFacts, arch| {
        attachable(program, &plain(program.target.clone(), arch)).map_err(PackingError::from)
    };
    for Parsed { object, arch, facts } in parsed {
        let here = |told: &Option<String>| told.as_ref().is_none_or(|told| told == object);
        for own in manifest.program.values().filter(|own| here(&own.object)) {
            let Some(program) = facts.program(&own.function) else { continue };
            match own.target {
                None => by_section(program, *arch)?,
                Some(_) => loadable(program)?,
            }
        }
        if manifest.program.is_empty() {
            let alone = BTreeMap::from([(object.clone(), facts.clone())]);
            let all = unlisted(&alone);
            all.iter().try_for_each(|one| by_section(one.program, *arch))?;
        }
    }
    Ok(())
}

/// Whether the struct of an event is one, and counters and gauges show maps that have entries.
fn are_shown(manifest: &Manifest, facts: &[Facts]) -> Result<(), PackingError> {
    for (name, output) in &manifest.output {
        let holders = facts.iter().filter(|facts| facts.map(&output.map).is_some());
        if let (OutputKind::Event, Some(told)) = (output.kind, &output.r#struct) {
            // A ring may say itself which of them.
            let unknown =
                holders.filter(|facts| event::event_type(facts, &output.map, Some(told)).is_none());
            unknown
                .filter_map(|facts| facts.btf.as_ref())
                .try_for_each(|btf| are_one(btf, name, told))?;
        } else if output.kind.is_metric()
            && holders
                .filter_map(|facts| facts.map(&output.map))
                .any(|map| map.origin == MapOrigin::Data)
        {
            let (output, map, kind) = (name.clone(), output.map.clone(), word(output.kind));
            return Err(PackingError::Variables { output, map, kind });
        }
    }
    Ok(())
}

const fn word(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::Event => "event",
        OutputKind::Counter => "counter",
        OutputKind::Gauge => "gauge",
        OutputKind::Histogram => "histogram",
        OutputKind::Snapshot => "snapshot",
        OutputKind::Stacks => "stacks",
    }
}

/// Whether the struct of an output is one, and not several of a name.
fn are_one(btf: &Btf, output: &str, told: &str) -> Result<(), PackingError> {
    let Some(first) = btf.type_by_name(told) else { return Ok(()) };
    let others = event::namesakes(btf, first);
    if others.is_empty() {
        return Ok(());
    }
    let fields = |ty: &TypeId| {
        let names = btf.composite(*ty).into_iter().flat_map(|all| &all.members);
        names.map(|member| btf.name(member)).collect::<Vec<_>>().join(", ")
    };
    let all = std::iter::once(&first).chain(&others);
    let each = all.map(|ty| format!("{{ {} }}", fields(ty))).collect::<Vec<_>>().join(" and ");
    Err(PackingError::Namesakes { output: output.to_owned(), told: told.to_owned(), each })
}

/// As [`named::are_told_apart`], of the objects of each architecture.
fn are_told_apart(manifest: &Manifest, objects: &[Parsed]) -> Result<(), TwoMaps> {
    let arches: BTreeSet<Arch> = objects.iter().map(|one| one.arch).collect();
    arches.into_iter().try_for_each(|arch| {
        let here = objects.iter().filter(|one| one.arch == arch);
        named::are_told_apart(manifest, here.map(|one| (one.object.as_str(), &one.facts)))
    })
}

/// As [`bound::all_bound`], of the objects of each architecture.
fn are_bound(manifest: &Manifest, objects: &[Parsed]) -> Result<(), Misbound> {
    let arches: BTreeSet<Arch> = objects.iter().map(|one| one.arch).collect();
    arches.into_iter().try_for_each(|arch| {
        let here = objects.iter().filter(move |one| one.arch == arch);
        bound::all_bound(manifest, here.map(|one| &one.facts))
    })
}

/// Whether the defaults of parameters make sizes of maps; those without one are the operator's to give.
fn are_sizes(manifest: &Manifest) -> Result<(), PackingError> {
    for (map, told) in &manifest.map {
        let Some(written) = told.max_entries.as_ref().map(Value::text) else { continue };
        let default = |name: &str| manifest.param.get(name)?.default.as_ref();
        let Ok(size) = substitute(&written, default) else { continue };
        if parse_entries(&size).is_none() {
            return Err(PackingError::MapSize { map: map.clone(), written, size });
        }
    }
    Ok(())
}

/// The objects of each architecture are held together, with parameters at their defaults.
fn covered(manifest: &Manifest, objects: &[Parsed]) -> Result<(), PackingError> {
    let held = |arch| {
        let here = objects.iter().filter(|one| one.arch == arch).map(|one| &one.facts);
        declared::hold(manifest, here, &BTreeMap::new()).err()
    };
    let arches: BTreeSet<Arch> = objects.iter().map(|one| one.arch).collect();
    match arches.into_iter().filter_map(held).reduce(declared::Exceeded::and) {
        None => Ok(()),
        Some(exceeded) => Err(PackingError::Permissions {
            missing: exceeded.missing,
            needed: exceeded.needed.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{compiled, facts_of, with};
    use super::*;

    /// Two objects for one architecture with the same maps, and one for another.
    fn objects() -> Vec<Parsed> {
        let elf = include_bytes!("../../../../spec/vectors/files/objects/named.o");
        let facts = Facts::parse(elf).unwrap();
        let own = |(object, arch): (&str, Arch)| Parsed {
            object: object.to_owned(),
            arch,
            facts: facts.clone(),
        };
        [("a", Arch::X86_64), ("a", Arch::Aarch64), ("b", Arch::X86_64)].map(own).into()
    }

    fn manifest(kind: &str) -> Manifest {
        let source = format!(
            "spec = \"1.0\"\n[package]\nname = \"acme/x\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
             [object.a]\nsources = [\"a.bpf.c\"]\n[object.b]\nsources = [\"b.bpf.c\"]\n\
             [output.all]\nkind = \"{kind}\"\nmap = \"conns\"\n"
        );
        skep_spec::source::parse(&source).unwrap().resolve(&BTreeMap::new())
    }

    #[test]
    fn a_map_has_a_size_by_the_defaults() {
        let sized = |param: &str| {
            let tables = format!(
                "[param.n]\ntype = \"uint\"\n{param}[map.rb]\nmax_entries = \"${{param.n}}\"\n"
            );
            are_sizes(&with(&tables)).map_err(|error| error.to_string())
        };
        sized("default = 4294967295\n").unwrap();
        sized("").unwrap();
        assert_eq!(
            sized("default = 4294967296\n").unwrap_err(),
            "[map.rb] max_entries = \"${param.n}\" is 4294967296 by the defaults of its parameters, and a map has from 1 to 2^32-1: give another default, or a range"
        );
        sized("default = 0\n").unwrap_err();
    }

    #[test]
    fn an_output_names_one_struct_and_counts_entries() {
        let facts = compiled();
        let said = |tables: &str| are_shown(&with(tables), &facts).unwrap_err().to_string();
        let text = said("[output.b]\nkind = \"event\"\nmap = \"rb\"\nstruct = \"event\"\n");
        assert_eq!(
            text,
            "[output.b] names the struct 'event', and the object has different ones of that name: { a, b } and { port }; give each its own name"
        );
        let text = said("[output.k]\nkind = \"gauge\"\nmap = \".bss\"\n");
        assert!(
            text.starts_with("[output.k] shows .bss, and a gauge shows the entries of a map: "),
            "{text}"
        );
        are_shown(&with("[output.b]\nkind = \"event\"\nmap = \"rb\"\n"), &facts).unwrap();
    }

    #[test]
    fn a_section_names_no_interface() {
        let facts = facts_of("__attribute__((section(\"xdp/va\"))) int x(void *c) { return 2; }\n");
        let parsed = [Parsed { object: "a".to_owned(), arch: Arch::X86_64, facts }];
        for tables in [
            "",
            "[program.x]\nfunction = \"x\"\n",
            "[program.x]\nfunction = \"x\"\ntarget = \"xdp/va\"\n",
        ] {
            let error = are_attachable(&with(tables), &parsed).unwrap_err().to_string();
            assert!(error.contains("no loader knows a section that names an interface"), "{error}");
        }
    }

    #[test]
    fn parameters_are_held_against_variables() {
        let objects = compiled().into_iter().map(|facts| Parsed {
            object: "a".to_owned(),
            arch: Arch::X86_64,
            facts,
        });
        let objects: Vec<Parsed> = objects.collect();
        let said = |tables: &str| are_bound(&with(tables), &objects).map_err(|e| e.to_string());
        said("[param.a]\ntype = \"int\"\nrodata = \"fixed\"\n[param.b]\ntype = \"int\"\ndata = \"total\"\n").unwrap();
        let error = said("[param.a]\ntype = \"int\"\nrodata = \"live\"\n").unwrap_err();
        assert_eq!(
            error,
            "[param.a] sets the variable 'live' in .rodata, and it is in .data: write data = \"live\", or declare it const volatile"
        );
        said("[param.a]\ntype = \"string\"\nrodata = \"fixed\"\n").unwrap_err();
    }

    #[test]
    fn an_output_shows_one_map() {
        let objects = objects();
        let error = are_told_apart(&manifest("counter"), &objects).unwrap_err();
        let error = PackingError::from(error);
        assert_eq!(
            error.to_string(),
            "[output.all] shows the map 'conns', which the objects 'a' and 'b' both define: give it another name in one of them"
        );
        are_told_apart(&manifest("event"), &objects).unwrap();
        are_told_apart(&manifest("counter"), &objects[..2]).unwrap();
    }
}
