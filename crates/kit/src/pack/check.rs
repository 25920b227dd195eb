//! What a manifest says of its objects, once their names are right.

use std::collections::BTreeSet;

use skep_object::bound;
use skep_object::named;
use skep_object::suit::{Unattachable, all_unsuited, attachable, loadable, plain};
use skep_object::{Btf, Facts, MapOrigin, TypeId, event, unlisted};
use skep_spec::manifest::{Manifest, OutputKind, Program};
use skep_spec::param::{Value, parse_entries, substitute};
use skep_spec::source::{self, Code, Hint, Mistake};
use skep_spec::{Arch, Target};

use super::names::{self, mistake};
use super::refused::exceeded;
use super::{PackingError, Parsed, carried};

/// What a manifest says of its objects and is not so: each once, whichever of them show it.
pub(super) fn mistakes(manifest: &Manifest, objects: &[Parsed]) -> Vec<Mistake> {
    let facts: Vec<&Facts> = objects.iter().map(|one| &one.facts).collect();
    let mut found = names::mistakes(manifest, &facts);
    // Of a name that is nowhere nothing more can be said.
    let absent: BTreeSet<Vec<String>> = found.iter().map(|one| one.key.clone()).collect();
    found.extend(carried::mistakes(manifest, objects));
    let own = foreign(manifest, objects)
        .chain(unsuited(manifest, objects))
        .chain(unattachable(manifest, objects))
        .chain(not_shown(manifest, &facts))
        .chain(not_told_apart(manifest, objects))
        .chain(misbound(manifest, objects))
        .chain(no_sizes(manifest));
    found.extend(own.filter(|one| !absent.contains(&one.key)));
    let mut seen = BTreeSet::new();
    found.retain(|one| seen.insert((one.key.clone(), one.message.clone())));
    found
}

fn key(parts: [&str; 3]) -> Vec<String> {
    parts.map(str::to_owned).to_vec()
}

/// Keys of programs that only programs of other sections take; what a target shows was looked at before.
fn foreign(manifest: &Manifest, objects: &[Parsed]) -> impl Iterator<Item = Mistake> {
    objects.iter().flat_map(move |one| {
        let told = |own: &Program| own.target.as_deref().and_then(Target::kind_told).is_some();
        let here =
            move |own: &Program| own.object.as_ref().is_none_or(|object| *object == one.object);
        let own = manifest.program.iter().filter(move |(_, own)| here(own) && !told(own));
        own.flat_map(move |(name, own)| {
            let kind = one.facts.program(&own.function).map(|program| program.target.kind());
            let keys = kind.map(|kind| source::foreign(own, kind)).unwrap_or_default();
            keys.into_iter().map(move |(word, of)| {
                let message = format!(
                    "'{word}' is for {of} alone, and the section of '{}' is for another kind: leave it out",
                    own.function
                );
                mistake(key(["program", name, word]), Code::Conflict, message, None)
            })
        })
    })
}

/// Targets that are not of the programs' kinds.
fn unsuited(manifest: &Manifest, objects: &[Parsed]) -> impl Iterator<Item = Mistake> {
    objects.iter().flat_map(|one| all_unsuited(manifest, &one.object, &one.facts)).map(
        |(name, wrong)| {
            mistake(key(["program", name, "target"]), Code::Value, wrong.to_string(), None)
        },
    )
}

/// Programs that no service can have, of those that run. Targets that the manifest gives are of the programs' kinds.
fn unattachable(manifest: &Manifest, parsed: &[Parsed]) -> impl Iterator<Item = Mistake> {
    parsed.iter().flat_map(|one| match manifest.program.is_empty() {
        true => all_unattachable(one),
        false => {
            let here = |own: &Program| own.object.as_ref().is_none_or(|told| *told == one.object);
            let own = manifest.program.iter().filter(|(_, own)| here(own));
            own.filter_map(|(name, own)| nowhere(name, own, one)).collect::<Vec<_>>()
        }
    })
}

/// Of an object all of whose programs run.
fn all_unattachable(one: &Parsed) -> Vec<Mistake> {
    let told = |wrong: Unattachable| {
        let hint = "list the programs that are to run under [program], without it".to_owned();
        let key = ["object", &one.object].map(str::to_owned).to_vec();
        mistake(key, Code::Value, wrong.to_string(), Some(Hint::Do(hint)))
    };
    let all = unlisted([(&one.object, &one.facts)]).into_iter().filter_map(|listed| {
        attachable(listed.program, &plain(listed.program.target.clone(), one.arch)).err()
    });
    all.map(told).collect()
}

fn nowhere(name: &str, own: &Program, one: &Parsed) -> Option<Mistake> {
    let program = one.facts.program(&own.function)?;
    let of_function = key(["program", name, "function"]);
    let wrong = match (&own.target, &program.target) {
        (None, Target::Other(section)) if section.is_empty() => {
            let message = format!(
                "the program '{name}' says nowhere what it attaches to: give [program.{name}] a target"
            );
            return Some(mistake(of_function, Code::Missing, message, None));
        }
        (None, _) => attachable(program, &plain(program.target.clone(), one.arch)),
        (Some(_), _) => loadable(program),
    };
    Some(mistake(of_function, Code::Value, wrong.err()?.to_string(), None))
}

/// Structs of events that are several, and counters and gauges of variables.
fn not_shown(manifest: &Manifest, facts: &[&Facts]) -> impl Iterator<Item = Mistake> {
    let outputs = manifest.output.iter();
    outputs.flat_map(move |(name, output)| {
        let holders = facts.iter().copied();
        let holders = holders.filter(move |facts| facts.map(&output.map).is_some());
        holders.filter_map(move |facts| match (output.kind, &output.r#struct) {
            (OutputKind::Event, Some(told)) => {
                // A ring may say itself which of them.
                let unknown = event::event_type(facts, &output.map, Some(told)).is_none();
                several(facts.btf.as_ref().filter(|_| unknown)?, name, told)
            }
            (kind, _) if kind.is_metric() && kind != OutputKind::Stacks => {
                let map = facts.map(&output.map)?;
                let (name, shown, kind) = (name.as_str(), &output.map, kind.word());
                let message = format!(
                    "[output.{name}] shows {shown}, and a {kind} shows the entries of a map: put what counts into a map of its own, such as an array of one entry"
                );
                let wrong = || mistake(key(["output", name, "map"]), Code::Value, message, None);
                (map.origin == MapOrigin::Data).then(wrong)
            }
            _ => None,
        })
    })
}

/// What is said of an output whose struct is several of a name.
fn several(btf: &Btf, output: &str, told: &str) -> Option<Mistake> {
    let first = btf.type_by_name(told)?;
    let others = event::namesakes(btf, first);
    if others.is_empty() {
        return None;
    }
    let fields = |ty: &TypeId| {
        let names = btf.composite(*ty).into_iter().flat_map(|all| &all.members);
        names.map(|member| btf.name(member)).collect::<Vec<_>>().join(", ")
    };
    let all = std::iter::once(&first).chain(&others);
    let each = all.map(|ty| format!("{{ {} }}", fields(ty))).collect::<Vec<_>>().join(" and ");
    let message = format!(
        "[output.{output}] names the struct '{told}', and the object has different ones of that name: {each}; give each its own name"
    );
    Some(mistake(key(["output", output, "struct"]), Code::Value, message, None))
}

/// The objects of each architecture.
fn by_arch(objects: &[Parsed]) -> Vec<Vec<&Parsed>> {
    let arches: BTreeSet<Arch> = objects.iter().map(|one| one.arch).collect();
    let here = |arch| objects.iter().filter(|one| one.arch == arch).collect();
    arches.into_iter().map(here).collect()
}

fn not_told_apart(manifest: &Manifest, objects: &[Parsed]) -> impl Iterator<Item = Mistake> {
    let of_arch = |objects: Vec<&Parsed>| {
        let named = objects.into_iter().map(|one| (one.object.as_str(), &one.facts));
        named::not_told_apart(manifest, named)
    };
    by_arch(objects).into_iter().flat_map(of_arch).map(|two| {
        let hint = "give it another name in one of them".to_owned();
        let key = key(["output", &two.output, "map"]);
        mistake(key, Code::Conflict, two.to_string(), Some(Hint::Do(hint)))
    })
}

fn misbound(manifest: &Manifest, objects: &[Parsed]) -> impl Iterator<Item = Mistake> {
    let of_arch = |objects: Vec<&Parsed>| {
        bound::misbound(manifest, objects.into_iter().map(|one| &one.facts))
    };
    by_arch(objects).into_iter().flat_map(of_arch).map(|(key, wrong)| {
        let code = match wrong {
            bound::Misbound::TwoParams { .. } | bound::Misbound::TwoVariables { .. } => {
                Code::Conflict
            }
            bound::Misbound::Section { .. } => Code::Reference,
            _ => Code::Value,
        };
        mistake(key, code, skep_spec::chain(&wrong), None)
    })
}

/// Defaults of parameters that make no sizes of maps; those without one are the operator's to give.
fn no_sizes(manifest: &Manifest) -> impl Iterator<Item = Mistake> {
    manifest.map.iter().filter_map(|(map, told)| {
        let written = told.max_entries.as_ref().map(Value::text)?;
        let default = |name: &str| manifest.param.get(name)?.default.as_ref();
        let size = substitute(&written, default).ok()?;
        let message = format!(
            "[map.{map}] max_entries = \"{written}\" is {size} by the defaults of its parameters, and a map has from 1 to 2^32-1: give another default, or a range"
        );
        let wrong = || mistake(key(["map", map, "max_entries"]), Code::Value, message, None);
        parse_entries(&size).is_none().then(wrong)
    })
}

/// The objects of each architecture are held together, with parameters at their defaults.
pub(super) fn covered(manifest: &Manifest, objects: &[Parsed]) -> Result<(), PackingError> {
    match exceeded(manifest, objects) {
        None => Ok(()),
        Some(exceeded) => Err(PackingError::Permissions {
            needed: exceeded.needed.to_string(),
            missing: exceeded.missing(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::tests::{compiled, facts_of, with};
    use super::*;

    #[test]
    fn all_that_does_not_fit_is_told_at_once_and_each_cause_once() {
        let tables = "[param.a]\ntype = \"string\"\nrodata = \"fixed\"\n[param.b]\ntype = \"int\"\ndata = \"fixed\"\n\
            [param.c]\ntype = \"int\"\nrodata = \"fixd\"\n[program.x]\nfunction = \"x\"\ntarget = \"kprobe/f\"\n\
            [program.z]\nfunction = \"nope\"\ntarget = \"xdp\"\n[output.o]\nkind = \"counter\"\nmap = \"nowhere\"\n\
            [map.gone]\nupgrade = \"keep\"\n[map.\".bss\"]\nmax_entries = 2\n";
        let parsed = |arch| {
            let facts = compiled().remove(0);
            Parsed { object: "a".to_owned(), arch, facts }
        };
        let found = mistakes(&with(tables), &[parsed(Arch::X86_64), parsed(Arch::Aarch64)]);
        let told = found.iter().map(|one| format!("{} {}", one.key.join("/"), one.code.as_str()));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                "program/z/function manifest.reference",
                "map/gone manifest.reference",
                "output/o/map manifest.reference",
                "param/c/rodata manifest.reference",
                "map/.bss/max_entries manifest.value",
                "program/x/target manifest.value",
                "param/b/data manifest.conflict",
                "param/a/type manifest.value",
                "param/b/data manifest.reference",
            ]
        );
    }

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
            no_sizes(&with(&tables)).map(|one| one.message).collect::<Vec<_>>()
        };
        assert!(sized("default = 4294967295\n").is_empty());
        assert!(sized("").is_empty());
        assert_eq!(
            sized("default = 4294967296\n"),
            [
                "[map.rb] max_entries = \"${param.n}\" is 4294967296 by the defaults of its parameters, and a map has from 1 to 2^32-1: give another default, or a range"
            ]
        );
        assert_eq!(sized("default = 0\n").len(), 1);
    }

    #[test]
    fn an_output_names_one_struct_and_counts_entries() {
        let facts = compiled();
        let said = |tables: &str| {
            let facts: Vec<&Facts> = facts.iter().collect();
            let found: Vec<Mistake> = not_shown(&with(tables), &facts).collect();
            found.into_iter().map(|one| one.message).collect::<String>()
        };
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
        assert_eq!(said("[output.b]\nkind = \"event\"\nmap = \"rb\"\n"), "");
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
            let manifest = with(tables);
            let found: Vec<String> =
                unattachable(&manifest, &parsed).map(|one| one.message).collect();
            let said = found.concat();
            assert!(said.contains("no loader knows a section that names an interface"), "{said}");
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
        let said = |tables: &str| {
            let manifest = with(tables);
            let found: Vec<Mistake> = misbound(&manifest, &objects).collect();
            found.into_iter().map(|one| one.message).collect::<Vec<_>>()
        };
        assert!(said("[param.a]\ntype = \"int\"\nrodata = \"fixed\"\n[param.b]\ntype = \"int\"\ndata = \"total\"\n").is_empty());
        assert_eq!(
            said("[param.a]\ntype = \"int\"\nrodata = \"live\"\n"),
            [
                "[param.a] sets the variable 'live' in .rodata, and it is in .data: write data = \"live\", or declare it const volatile"
            ]
        );
        assert_eq!(said("[param.a]\ntype = \"string\"\nrodata = \"fixed\"\n").len(), 1);
    }

    #[test]
    fn an_output_shows_one_map() {
        let objects = objects();
        let said = |kind: &str, objects: &[Parsed]| {
            let manifest = manifest(kind);
            let found: Vec<Mistake> = not_told_apart(&manifest, objects).collect();
            found.into_iter().map(|one| one.message).collect::<Vec<_>>()
        };
        assert_eq!(
            said("counter", &objects),
            ["[output.all] shows the map 'conns', which the objects 'a' and 'b' both define"]
        );
        assert!(said("event", &objects).is_empty());
        assert!(said("counter", &objects[..2]).is_empty());
    }
}
