//! What changed, for a person who decides about an upgrade.

use skep_object::difference::{Change, Changed, Difference, MapDifference};
use skep_object::layout::{FieldAt, FieldChange};
use skep_object::shown;

use super::{Object, Package, Shown};
use crate::commands::inspect::page::section;
use crate::output::bytes;

pub fn text(all: &Shown) -> String {
    let mut lines = Vec::new();
    lines.extend(all.package.iter().map(|package| {
        let [old, new] = &package.versions;
        format!("{} -> {}", shown(old), shown(new))
    }));
    let permits_more = all.package.as_ref().is_some_and(|package| package.permits_more);
    let has_new_loose_code = all.objects.values().any(|object| match object {
        Object::Changed(difference) => difference.has_new_loose_code(),
        _ => false,
    });
    let told = match (all.wider, permits_more) {
        (true, _) if has_new_loose_code => {
            "The new version may do more than the old one, and instructions of it that belong to no function are new or others: nobody looked at them."
        }
        (true, _) => "The new version may do more than the old one.",
        (false, true) => {
            "The new version may do no more than the old one, but its [permissions] allow more."
        }
        (false, false) => "The new version may do no more than the old one.",
    };
    lines.push(told.to_owned());
    for (name, object) in &all.objects {
        lines.push(String::new());
        lines.push(format!("object {}", shown(name)));
        match object {
            Object::Added => lines.push("new; skep inspect shows what it may do".to_owned()),
            Object::Removed => lines.push("gone".to_owned()),
            Object::Changed(difference) => of_object(difference, &mut lines),
        }
    }
    if let Some(package) = &all.package {
        of_package(package, &mut lines);
    }
    lines.join("\n")
}

fn of_object(difference: &Difference, lines: &mut Vec<String>) {
    let start = lines.len();
    let powers = &difference.powers;
    listed("power:", powers, ToString::to_string, lines);
    lines.extend(difference.woken.iter().map(|power| format!("+ power that was off: {power}")));
    listed("hook", &difference.hooks, ToString::to_string, lines);
    listed("helper", &difference.helpers, |name| format!("bpf_{name}"), lines);
    listed("kfunc", &difference.kfuncs, ToString::to_string, lines);
    listed(
        "call that cannot be followed in",
        &difference.unknown_calls,
        ToString::to_string,
        lines,
    );
    let open = &difference.open_maps;
    listed("place for programs of others in", open, ToString::to_string, lines);
    let [before, after] = difference.memory;
    if before != after {
        let (now, was) = different(after.on(1), before.on(1));
        lines.push(format!("  memory of maps {now}, was {was}"));
    }
    if let Some([before, after]) = &difference.license {
        let name = |license: &Option<String>| {
            license.as_deref().map_or("none".into(), |l| shown(l).into_owned())
        };
        lines.push(format!("  license {}, was {}", name(after), name(before)));
    }
    if lines.len() == start {
        lines.push("  hooks, helpers, kfuncs, powers, memory and licence are the same".to_owned());
    }
    section(lines, ["IN NO FUNCTION, OF", "NOW", "BEFORE"], difference.loose.iter().map(change));
    section(lines, ["PROGRAM", "NOW", "BEFORE"], difference.programs.iter().map(change));
    section(lines, ["MAP", "WARM UPGRADE", "WHY", "CHANGED"], difference.maps.iter().map(map));
    let fields = difference.maps.iter().flat_map(|map| {
        let keyed = map.key.iter().map(|field| (format!("{} key", map.name), field));
        keyed.chain(map.value.iter().map(|field| (map.name.clone(), field)))
    });
    section(lines, ["FIELD OF", "FIELD", "BECAME", "NOW", "BEFORE"], fields.map(field));
    section(lines, ["VARIABLE", "NOW", "BEFORE"], difference.variables.iter().map(change));
}

/// Two sizes as people read them, and in bytes where that would show no difference.
fn different(now: u64, was: u64) -> (String, String) {
    let (new, old) = (bytes(now), bytes(was));
    let rounded = |size: &str| size.replace(".0 ", " ");
    match rounded(&new) == rounded(&old) && now != was {
        true => (format!("{now} B"), format!("{was} B")),
        false => (new, old),
    }
}

fn listed<T>(
    what: &str,
    changed: &Changed<T>,
    text: impl Fn(&T) -> String,
    lines: &mut Vec<String>,
) {
    let line = |sign: char, item: &T| format!("{sign} {what} {}", shown(&text(item)));
    lines.extend(changed.added.iter().map(|item| line('+', item)));
    lines.extend(changed.removed.iter().map(|item| line('-', item)));
}

fn change(change: &Change) -> [String; 3] {
    let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "-".to_owned());
    [change.name.clone(), side(&change.new), side(&change.old)]
}

fn map(map: &MapDifference) -> [String; 4] {
    [map.name.clone(), map.keeps.to_string(), map.why.clone(), map.attributes.join("; ")]
}

fn field((of, field): (String, &FieldChange)) -> [String; 5] {
    let at = |at: &Option<FieldAt>| {
        at.as_ref().map_or("-".to_owned(), |at| format!("{} at byte {}", at.ty, at.offset))
    };
    [of, field.name.clone(), field.class.to_string(), at(&field.new), at(&field.old)]
}

fn of_package(package: &Package, lines: &mut Vec<String>) {
    section(lines, ["PARAMETER", "NOW", "BEFORE"], package.parameters.iter().map(change));
    section(lines, ["OUTPUT", "NOW", "BEFORE"], package.outputs.iter().map(change));
    section(lines, ["MANIFEST", "NOW", "BEFORE"], package.manifest.iter().map(change));
}

#[cfg(test)]
mod tests {
    use super::different;

    #[test]
    fn sizes_that_differ_are_shown_to_differ() {
        let texts = |now, was| different(now, was);
        assert_eq!(texts(1_052_672, 1_048_576), ("1052672 B".to_owned(), "1048576 B".to_owned()));
        assert_eq!(texts(2 << 20, 1 << 20), ("2 MiB".to_owned(), "1 MiB".to_owned()));
    }
}
