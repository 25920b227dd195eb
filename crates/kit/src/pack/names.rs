//! Names in a manifest that its objects do not have, and fields that are shown as they cannot be: every one, with its key.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use skep_object::event::{self, Decoder, DecoderError, Labels, event_type};
use skep_object::named::{self, Absent};
use skep_object::{Btf, Facts, MapOrigin, TypeId, moves};
use skep_spec::manifest::{Field, Manifest, Output, OutputKind};
use skep_spec::source::{Code, Hint, Mistake};

/// The names of each kind that objects have, of those kinds that are asked for.
pub(super) struct There<'f> {
    objects: Vec<&'f Facts>,
    kinds: [(&'static str, OnceCell<Vec<&'f str>>); 4],
}

impl<'f> There<'f> {
    pub(super) fn new(objects: Vec<&'f Facts>) -> Self {
        let kinds = ["program", "map", "variable", "struct"];
        Self { objects, kinds: kinds.map(|kind| (kind, OnceCell::new())) }
    }

    pub(super) fn of(&self, kind: &str) -> &[&'f str] {
        let names = || named::names(kind, &self.objects).into_iter().collect();
        let known = self.kinds.iter().find(|(known, _)| *known == kind);
        known.map_or(&[][..], |(_, cell)| cell.get_or_init(names).as_slice())
    }
}

/// Every mistake of that kind.
pub(super) fn mistakes(manifest: &Manifest, facts: &[&Facts]) -> Vec<Mistake> {
    let mut found: Vec<Mistake> = named::absent(manifest, facts).map(of_absent).collect();
    found.extend(
        moves::misnamed(manifest, facts)
            .into_iter()
            .map(|misnamed| mistake(misnamed.key(), Code::Reference, misnamed.to_string(), None)),
    );
    for (name, output) in &manifest.output {
        for facts in facts.iter().copied().filter(|facts| facts.map(&output.map).is_some()) {
            let unmapped = Decoder::has_maps_of_stacks(facts, &output.fields).err();
            found.extend(unmapped.map(|error| of_decoder(name, &["fields"], &error)));
            match output.kind {
                OutputKind::Event => found.extend(of_record(name, output, facts)),
                kind if kind.is_metric() => found.extend(of_metric(name, output, facts)),
                _ => {}
            }
        }
    }
    found.extend(
        event::unconditioned(manifest, facts)
            .map(|when| mistake(when.key(), Code::Reference, when.to_string(), None)),
    );
    found
}

pub(super) fn mistake(
    key: Vec<String>,
    code: Code,
    message: String,
    hint: Option<Hint>,
) -> Mistake {
    Mistake { key, code, message, hint }
}

fn of_absent(absent: Absent) -> Mistake {
    let message = format!("no object has the {} '{}'", absent.what, absent.name);
    let hint = Hint::Near { kind: absent.what, word: absent.name };
    mistake(absent.key, Code::Reference, message, Some(hint))
}

/// Whether the struct and the fields of an event are there: readers would show bytes or leave formats out.
fn of_record(name: &str, output: &Output, facts: &Facts) -> Vec<Mistake> {
    let Some(btf) = &facts.btf else { return Vec::new() };
    let told = output.r#struct.as_deref();
    match (event_type(facts, &output.map, told), told) {
        (Some(ty), _) => of_fields(name, &output.fields, btf, (None, ty)),
        (None, Some(told)) if !is_several(btf, told) => {
            vec![of_absent(Absent::new("struct", &["output", name, "struct"], told))]
        }
        (None, _) => Vec::new(),
    }
}

/// Structs of one name that differ are another mistake.
fn is_several(btf: &Btf, told: &str) -> bool {
    btf.type_by_name(told).is_some_and(|first| !event::namesakes(btf, first).is_empty())
}

/// Of a type, or of what a key has of that.
fn of_fields(
    name: &str,
    fields: &BTreeMap<String, Field>,
    btf: &Btf,
    (key, ty): (Option<TypeId>, TypeId),
) -> Vec<Mistake> {
    if let Err(error) = Decoder::new(btf, ty, &BTreeMap::new()) {
        return vec![of_decoder(name, &[], &error)];
    }
    let key = key.and_then(|key| Some((key, Decoder::new(btf, key, &BTreeMap::new()).ok()?)));
    let holder = |path: &str| match &key {
        Some((key, plain)) if plain.has_field(path) => *key,
        _ => ty,
    };
    // One after the other: a decoder tells the first that is wrong.
    let alone = fields.iter().map(|(path, field)| {
        let alone = BTreeMap::from([(path.clone(), field.clone())]);
        (path, Decoder::new(btf, holder(path), &alone))
    });
    alone
        .filter_map(|(path, made)| Some(of_decoder(name, &["fields", path], &made.err()?)))
        .collect()
}

/// Whether the fields that a metric names are in its map: a number of the value, or for a histogram an array of them, and the
/// labels of the key.
fn of_metric(name: &str, output: &Output, facts: &Facts) -> Vec<Mistake> {
    let map = facts.map(&output.map).filter(|map| map.origin != MapOrigin::Data);
    let Some((btf, map)) = facts.btf.as_ref().zip(map) else { return Vec::new() };
    let mut found = Vec::new();
    if let Some(key) = map.key_type {
        let alone = output.labels.iter().map(|(label, told)| {
            (label, Labels::new(btf, key, &BTreeMap::from([(label.clone(), told.clone())])))
        });
        found.extend(
            alone.filter_map(|(label, made)| {
                Some(of_decoder(name, &["labels", label], &made.err()?))
            }),
        );
    }
    let Some(value) = map.value_type else { return found };
    let of_key = map.key_type.filter(|_| output.kind == OutputKind::Stacks);
    found.extend(of_fields(name, &output.fields, btf, (of_key, value)));
    let ty = btf.describe(value);
    let Ok(decoder) = Decoder::new(btf, value, &BTreeMap::new()) else { return found };
    let counts = match (output.kind, &output.value) {
        (OutputKind::Histogram, field) => decoder.needs_counts(field.as_deref().unwrap_or(""), &ty),
        (OutputKind::Snapshot, _) | (_, None) => Ok(()),
        (_, Some(field)) => decoder.needs_number(field, &ty),
    };
    found.extend(counts.err().map(|error| of_decoder(name, &["value"], &error)));
    found
}

fn of_decoder(output: &str, rest: &[&str], error: &DecoderError) -> Mistake {
    let key = [&["output", output], rest].concat().into_iter().map(str::to_owned).collect();
    let code = match error {
        DecoderError::NoField { .. }
        | DecoderError::NoNumber { .. }
        | DecoderError::NoCounts { .. } => Code::Reference,
        _ => Code::Value,
    };
    let hint = error.misnamed().map(|(word, names)| {
        let [word, names] = [word, names].map(str::to_owned);
        Hint::Among { names, word }
    });
    mistake(key, code, error.to_string(), hint)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use skep_object::Global;
    use skep_spec::Arch;

    use super::super::tests::{compiled, with};
    use super::super::{Parsed, fits};
    use super::*;

    fn said(tables: &str) -> Vec<(String, String)> {
        let facts = compiled();
        let said = mistakes(&with(tables), &facts.iter().collect::<Vec<_>>());
        said.into_iter().map(|one| (one.key.join("/"), one.message)).collect()
    }

    #[test]
    fn every_name_is_told_with_its_key() {
        let tables = "[program.a]\nfunction = \"nothing\"\n[param.p]\ntype = \"int\"\ndata = \"totl\"\n\
            [map.\".bss\"]\nupgrade = \"migrate\"\nfields = { totals = \"sum\" }\n\
            [output.b]\nkind = \"event\"\nmap = \"rb\"\nstruct = \"ringg\"\n\
            [output.c]\nkind = \"event\"\nmap = \"rb\"\nstruct = \"ring\"\nfields.kind = { unit = \"ms\" }\nfields.typ = { unit = \"ms\" }\n\
            when = { field = \"typ\", equals = 1 }\n[output.d]\nkind = \"counter\"\nmap = \"rc\"\n";
        let keys: Vec<String> = said(tables).into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "program/a/function",
                "output/d/map",
                "param/p/data",
                "map/.bss/fields/totals",
                "output/b/struct",
                "output/c/fields/kind",
                "output/c/fields/typ",
                "output/c/when/field",
            ]
        );
    }

    #[test]
    fn many_names_among_many_take_no_longer_than_one_may_wait() {
        let on_cpu = || -> u64 {
            let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            text.split(' ').next().unwrap().parse().unwrap()
        };
        let mut facts = compiled().remove(0);
        let one = facts.globals.remove(0);
        let named = |at: usize| Global { name: format!("v{at}"), ..one.clone() };
        facts.globals = (0..100_000).map(named).collect();
        // Names in another order than that of the text.
        let set: String = (0..5000).rev().map(|at| format!("w{at} = 1\n")).collect();
        let text = format!("[param.k]\ntype = \"uint\"\n[param.k.set]\n{set}");
        let manifest = with(&text);
        let objects = [Parsed { object: "a".to_owned(), arch: Arch::X86_64, facts }];
        let before = on_cpu();
        let found = fits(Path::new("skep.toml"), &text, &manifest, &objects).unwrap_err().list;
        let took = on_cpu() - before;
        // Code that is not optimized may take ten times as long.
        let most = if cfg!(debug_assertions) { 10_000_000_000 } else { 1_000_000_000 };
        assert!(found.len() == 5000 && took < most, "{} mistakes took {took} ns", found.len());
        let hinted: Vec<bool> = found.iter().map(|mistake| mistake.hint.is_some()).collect();
        let first = hinted.iter().take_while(|is_hinted| **is_hinted).count();
        assert!(first > 0 && !hinted[first..].contains(&true), "{first}: the first have hints");
    }

    #[test]
    fn what_moves_is_named_as_it_is() {
        let table = "[map.\".bss\"]\nupgrade = \"migrate\"\nfields = ";
        assert_eq!(said(&format!("{table}{{ total = \"sum\" }}\n")), []);
        let found = said(&format!("{table}{{ totals = \"sum\" }}\n"));
        let message = "[map.\".bss\"] names the variable 'totals' in fields, which is not there; did you mean 'total'?";
        assert_eq!(found, [("map/.bss/fields/totals".to_owned(), message.to_owned())]);
    }
}
