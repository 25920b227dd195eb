//! What a manifest says beside its objects: what it lets the code do, what may be missing, what it shares.

use skep_spec::Manifest;
use skep_spec::manifest::{Alternatives, Dependency, Export, Otherwise, Permissions};

/// Each thing, and what is said of it.
pub fn rows(manifest: &Manifest) -> Vec<[String; 2]> {
    let none = Permissions::default();
    let allowed = permissions(manifest.permissions.as_ref().unwrap_or(&none));
    let mut rows = vec![["permissions".to_owned(), allowed]];
    for (name, program) in manifest.program.iter().filter(|(_, program)| program.optional) {
        let text = format!("{} may fail to load or attach", program.function);
        rows.push([format!("program {name}"), text]);
    }
    for (name, choice) in &manifest.alternatives {
        rows.push([format!("alternatives {name}"), alternatives(choice)]);
    }
    let exported = |(name, map): (&String, &skep_spec::manifest::Map)| {
        map.export.as_ref().map(|to| [format!("map {name}"), export(to)])
    };
    rows.extend(manifest.map.iter().filter_map(exported));
    for (name, on) in &manifest.dependencies {
        rows.push([format!("dependency {name}"), dependency(on)]);
    }
    rows
}

fn permissions(given: &Permissions) -> String {
    let lists = [("hooks", &given.hooks), ("helpers", &given.helpers), ("kfuncs", &given.kfuncs)];
    let mut said: Vec<String> = lists
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what} {}", names.join(", ")))
        .collect();
    said.extend(given.map_memory.as_ref().map(|most| format!("maps of at most {most}")));
    if said.is_empty() { "allow nothing".to_owned() } else { said.join("; ") }
}

fn alternatives(choice: &Alternatives) -> String {
    let each: Vec<String> = choice.r#try.iter().map(|programs| programs.join(" and ")).collect();
    let otherwise = match choice.otherwise {
        Otherwise::Refuse => "or it is not installed",
        Otherwise::Skip => "or none of them",
    };
    format!("the first that works of {}, {otherwise}", each.join(", "))
}

fn export(to: &Export) -> String {
    let group = to.group.as_ref().map(|group| format!(", group {group}")).unwrap_or_default();
    format!("others may open it: mode {}{group}", to.mode)
}

fn dependency(on: &Dependency) -> String {
    match on.maps.as_slice() {
        [] => on.version.to_string(),
        maps => format!("{}, shares its maps {}", on.version, maps.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manifest_lets_be_missing_and_shares_is_told() {
        let said = |tables: &str| -> Vec<String> {
            let source = format!(
                "spec = \"1.0\"\n[package]\nname = \"acme/x\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
                 [object.x]\nsources = [\"x.bpf.c\"]\n{tables}"
            );
            let manifest = skep_spec::source::parse(&source).unwrap();
            rows(&manifest.resolve(&std::collections::BTreeMap::new()))
                .into_iter()
                .map(|[of, said]| format!("{of}: {said}"))
                .collect()
        };
        assert_eq!(said(""), ["permissions: allow nothing"]);
        let told = said(
            "[permissions]\nhooks = [\"xdp\", \"kprobe\"]\nhelpers = [\"map_*\"]\nmap-memory = \"1MiB\"\n\
             [program.a]\nfunction = \"on_a\"\noptional = true\n[program.b]\nfunction = \"on_b\"\n\
             [alternatives.way]\ntry = [[\"a\", \"b\"], [\"b\"]]\notherwise = \"skip\"\n\
             [map.seen]\nexport = { mode = \"0640\", group = \"netops\" }\n\
             [dependencies]\n\"acme/flows\" = { version = \"^1\", maps = [\"flows\"] }\n",
        );
        assert_eq!(
            told,
            [
                "permissions: hooks xdp, kprobe; helpers map_*; maps of at most 1MiB",
                "program a: on_a may fail to load or attach",
                "alternatives way: the first that works of a and b, b, or none of them",
                "map seen: others may open it: mode 0640, group netops",
                "dependency acme/flows: ^1, shares its maps flows",
            ]
        );
    }
}
