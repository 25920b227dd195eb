//! Programs that programs hand over to: what program arrays hold from the start, and which maps take programs of others.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Facts, MapFacts, MapKind, MapOrigin, Use, Used};

impl Facts {
    /// Program arrays with slots that the object fills.
    fn tables(&self) -> impl Iterator<Item = &MapFacts> {
        self.maps.iter().filter(|map| map.kind == MapKind::ProgArray && !map.slots.is_empty())
    }

    /// Maps that take programs of others, each with the object's programs that hand over to them: program arrays with slots that
    /// the object leaves open, and maps of devices or CPUs whose entries have room for a program (`struct bpf_devmap_val`,
    /// `bpf_cpumap_val`).
    #[must_use]
    pub fn open_maps(&self) -> BTreeMap<String, Vec<String>> {
        let by = |map: &MapFacts| {
            let helper = hands_over_by(map)?;
            let calls = |used: &Use| used.what == Used::Helper && used.name == helper;
            let by = self.programs.iter().filter(|program| program.maps.contains(&map.name));
            let by = by.filter(|program| program.uses.iter().any(calls));
            let by: BTreeSet<String> = by.map(|program| program.name.clone()).collect();
            (!by.is_empty()).then(|| (map.name.clone(), by.into_iter().collect()))
        };
        self.maps.iter().filter_map(by).collect()
    }

    /// The map of a kernel interface that holds a program.
    #[must_use]
    pub fn interface_of(&self, program: &str) -> Option<&MapFacts> {
        let mut interfaces = self.maps.iter().filter(|map| map.origin == MapOrigin::StructOps);
        interfaces.find(|map| map.slots.iter().any(|slot| slot.name == program))
    }

    /// `chosen`, what program arrays hold from the start, and the other functions of their interfaces: those must be loaded too,
    /// for libbpf fills the slots of every map, whoever uses it.
    #[must_use]
    pub fn with_tail_called<'a>(
        &self,
        chosen: impl IntoIterator<Item = &'a str>,
    ) -> BTreeSet<String> {
        let mut all: BTreeSet<String> = chosen.into_iter().map(str::to_owned).collect();
        let interfaces: Vec<&MapFacts> =
            all.iter().filter_map(|program| self.interface_of(program)).collect();
        let held = self.tables().chain(interfaces).flat_map(|map| &map.slots);
        let held = held.map(|slot| slot.name.clone()).filter(|name| self.program(name).is_some());
        all.extend(held);
        all
    }

    /// Marks the programs in slots of an array that another one uses: they run when that one calls them, and attach nowhere.
    pub(crate) fn mark_called(&mut self) {
        let mut users = BTreeMap::<&str, Vec<&str>>::new();
        for program in &self.programs {
            for map in &program.maps {
                users.entry(map).or_default().push(&program.name);
            }
        }
        let mut called = BTreeSet::new();
        for map in self.tables() {
            let users = users.get(map.name.as_str()).map_or(&[][..], Vec::as_slice);
            let by_another = |name: &str| users.iter().take(2).any(|user| *user != name);
            called.extend(
                map.slots.iter().filter(|slot| by_another(&slot.name)).map(|s| s.name.clone()),
            );
        }
        for program in &mut self.programs {
            program.attached = !called.contains(&program.name);
        }
    }
}

/// The helper by which programs hand over to those in a map, if it has room for programs of others.
fn hands_over_by(map: &MapFacts) -> Option<&'static str> {
    /// An interface or a queue's length alone; what is longer has a program's descriptor behind it.
    const WITHOUT_PROGRAM: u32 = 4;
    match map.kind {
        MapKind::ProgArray => {
            (map.slots.len() < map.max_entries.max(1) as usize).then_some("tail_call")
        }
        MapKind::Devmap | MapKind::DevmapHash | MapKind::Cpumap => {
            (map.value_size > WITHOUT_PROGRAM).then_some("redirect_map")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use skep_spec::manifest::Permissions;
    use skep_spec::source;

    use crate::permissions::{derive, uncovered};

    use super::*;

    /// Two programs, the first of which calls the second out of an array, if it `calls`.
    fn facts(leaf: &str, calls: bool) -> Facts {
        let body = if calls { "tail_call(c, &table, 0);" } else { "" };
        let source = format!(
            "static long (*tail_call)(void *, void *, unsigned) = (void *)12;\n\
             int leaf(void *c);\n\
             struct {{ int (*type)[3]; int (*key_size)[4]; int (*max_entries)[1]; __typeof__(int (void *)) *values[]; }} table\n\
             __attribute__((section(\".maps\"))) = {{ .values = {{ (void *)&leaf }} }};\n\
             __attribute__((section(\"raw_tp/task_rename\"))) int entry(void *c) {{ {body} return 0; }}\n\
             __attribute__((section(\"{leaf}\"))) int leaf(void *c) {{ return 0; }}\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let (c, object) = (folder.path().join("t.c"), folder.path().join("t.o"));
        std::fs::write(&c, source).unwrap();
        let mut clang = std::process::Command::new("clang");
        clang.args(["-target", "bpf", "-g", "-O2", "-c", "-o"]).args([&object, &c]);
        assert!(clang.status().unwrap().success());
        Facts::parse(&std::fs::read(object).unwrap()).unwrap()
    }

    fn hooks(facts: &Facts) -> String {
        let hooks: Vec<String> = derive(facts).hooks.into_iter().collect();
        hooks.join(" ")
    }

    #[test]
    fn what_others_only_call_needs_no_hook() {
        let called = facts("raw_tp/sched_switch", true);
        assert_eq!(hooks(&called), "raw_tp/task_rename");
        let hooks_alone = Permissions {
            hooks: vec!["raw_tp/task_rename".to_owned()],
            helpers: vec!["tail_call".to_owned()],
            ..Permissions::default()
        };
        assert_eq!(uncovered(&hooks_alone, &called), Vec::<String>::new());
        let alone = facts("raw_tp/sched_switch", false);
        assert_eq!(hooks(&alone), "raw_tp/sched_switch raw_tp/task_rename", "nobody calls it");
        // What its section gives it hides behind no caller.
        let writes = facts("raw_tp.w/nbd_send_request", true);
        assert_eq!(hooks(&writes), "raw_tp.w/nbd_send_request raw_tp/task_rename");
        assert_eq!(
            uncovered(&hooks_alone, &writes),
            [
                "hooks lacks 'raw_tp': program 'leaf' is called, and is loaded for raw_tp.w/nbd_send_request"
            ]
        );
    }

    #[test]
    fn what_the_manifest_lists_is_attached() {
        let under = |tables: &str| {
            let text = format!(
                "spec = \"1.0\"\n[package]\nname = \"acme/x\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
                 [object.one]\nsources = [\"a.c\"]\n{tables}"
            );
            let manifest = source::parse(&text).unwrap().resolve(&BTreeMap::new());
            let facts = facts("raw_tp/sched_switch", true);
            let declared = crate::declared::declared(&manifest, &facts, &BTreeMap::new());
            let runs = crate::declared::runs(&manifest, "one", &facts, &BTreeMap::new());
            assert_eq!(hooks(&declared), hooks(&runs));
            hooks(&declared)
        };
        let entry = "[program.a]\nfunction = \"entry\"\n";
        assert_eq!(under(""), "raw_tp/task_rename");
        assert_eq!(under(entry), "raw_tp/task_rename");
        let leaf = "[program.b]\nfunction = \"leaf\"\n";
        assert_eq!(under(&format!("{entry}{leaf}")), "raw_tp/sched_switch raw_tp/task_rename");
    }
}
