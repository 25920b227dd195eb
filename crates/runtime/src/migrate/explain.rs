//! What a person is told when an upgrade would lose state, with the manifest's lines that would allow it.

use skep_object::layout::LayoutChange;
use skep_spec::PackageName;
use skep_spec::manifest::Upgrade;
use skep_spec::source::key;

/// The layout changed, and the manifest does not say what to do. `change` is why nothing could be moved where that is so: then
/// nobody is told to.
pub(super) fn not_allowed(
    map: &str,
    policy: Option<Upgrade>,
    difference: &str,
    change: Result<&LayoutChange, String>,
) -> String {
    let said = match policy {
        Some(Upgrade::Keep) => "the manifest says keep",
        _ => "the manifest does not say what becomes of its contents",
    };
    let mut text = format!("map '{map}': {difference}, and {said}");
    if let Err(why) = &change {
        text += &format!("\n  its entries can't be moved: {why}");
    }
    if let Ok(LayoutChange::Fields { common, added, removed, .. }) = change {
        let list = |text: &mut String, what: &str, names: &[String]| {
            if !names.is_empty() {
                *text += &format!("\n  {what}: {}", names.join(", "));
            }
        };
        list(&mut text, "new fields", added);
        list(&mut text, "fields that went", removed);
        let merges: Vec<String> = common
            .iter()
            .filter(|pair| pair.number)
            .map(|pair| format!("{} = \"sum\"", key(&pair.name)))
            .collect();
        let key = key(map);
        text += &format!(
            "\n  to move the entries:  [map.{key}]\n                        upgrade = \"migrate\""
        );
        if !merges.is_empty() {
            text += &format!("\n                        fields = {{ {} }}", merges.join(", "));
        }
    }
    let key = key(map);
    text + &format!(
        "\n  to start empty:       [map.{key}]\n                        upgrade = \"reset\""
    )
}

/// The manifest renames what the old version does not have, and nearly that would be lost.
pub(super) fn misnamed(map: &str, (new, old): (&str, &str), near: &str) -> String {
    format!(
        "map '{map}': the manifest renames '{old}' to '{new}', and the version that runs has no field '{old}', but '{near}', which would be lost\n  to take it over:      [map.{}]\n                        rename = {{ {} = {near:?} }}",
        key(map),
        key(new)
    )
}

/// The manifest says migrate, and it can't be done.
pub(super) fn impossible(map: &str, why: &str) -> String {
    let key = key(map);
    format!(
        "map '{map}': its entries can't be moved: {why}\n  to start empty:       [map.{key}]\n                        upgrade = \"reset\""
    )
}

/// The manifest says migrate, and not all entries fit. `size` is what the manifest says of the new map's, `old` the old one's.
pub(super) fn no_room(map: &str, entries: u64, room: u32, old: u32, size: Option<&str>) -> String {
    let key = key(map);
    let param = size.and_then(|size| size.strip_prefix("${param.")?.strip_suffix('}'));
    let more = match param {
        Some(param) => format!("--set {param}={old}"),
        None => format!("[map.{key}]\n                        max_entries = {old}"),
    };
    format!(
        "map '{map}': it has {entries} entries, and {room} fit now\n  to make room:         {more}\n  to start empty:       [map.{key}]\n                        upgrade = \"reset\""
    )
}

/// The manifest says migrate, but not how.
pub(super) fn no_merge(map: &str, fields: &[&str]) -> String {
    let merges: Vec<String> = fields.iter().map(|f| format!("{} = \"sum\"", key(f))).collect();
    format!(
        "map '{map}': the manifest says migrate, but not how these fields meet: {}\n  say it under [map.{}]: fields = {{ {} }}    # or max, min, last",
        fields.join(", "),
        key(map),
        merges.join(", ")
    )
}

/// A map that was one package's and is to be another's.
pub(super) fn other_owner(
    map: &str,
    old: Option<&PackageName>,
    new: Option<&PackageName>,
) -> String {
    let whose = |of: Option<&PackageName>| of.map_or("its own".to_owned(), |of| format!("{of}'s"));
    let (old, new) = (whose(old), whose(new));
    format!(
        "map '{map}': it was {old} and is to be {new}, and what is in it would be left behind\n  to let that be:       [map.{}]\n                        upgrade = \"reset\"",
        key(map)
    )
}

#[cfg(test)]
mod tests {
    use skep_object::layout::FieldPair;
    use skep_spec::life::FieldSpan;

    use super::*;

    #[test]
    fn the_lines_that_would_allow_it() {
        let span = FieldSpan { offset: 0, width: 8 };
        let pair = |name: &str, number| {
            let name = name.to_owned();
            FieldPair { name, old: span, new: span, count: 1, number, signed: false }
        };
        let change = LayoutChange::Fields {
            common: vec![pair("execs", true), pair("comm", false)],
            added: vec!["root".to_owned()],
            removed: vec!["gone".to_owned()],
            blocked: vec![],
        };
        let text = not_allowed("execs", None, "its value has another layout", Ok(&change));
        insta::assert_snapshot!(text, @r#"
        map 'execs': its value has another layout, and the manifest does not say what becomes of its contents
          new fields: root
          fields that went: gone
          to move the entries:  [map.execs]
                                upgrade = "migrate"
                                fields = { execs = "sum" }
          to start empty:       [map.execs]
                                upgrade = "reset"
        "#);
    }

    #[test]
    fn nobody_is_told_to_move_what_cannot_be_moved() {
        let why = "the entries of a queue cannot be moved".to_owned();
        let text = not_allowed("q", None, "its value has another layout", Err(why));
        insta::assert_snapshot!(text, @r#"
        map 'q': its value has another layout, and the manifest does not say what becomes of its contents
          its entries can't be moved: the entries of a queue cannot be moved
          to start empty:       [map.q]
                                upgrade = "reset"
        "#);
    }

    #[test]
    fn how_to_make_room() {
        insta::assert_snapshot!(no_room("flows", 65, 4, 100, None), @r#"
        map 'flows': it has 65 entries, and 4 fit now
          to make room:         [map.flows]
                                max_entries = 100
          to start empty:       [map.flows]
                                upgrade = "reset"
        "#);
        let text = no_room("flows", 65, 4, 100, Some("${param.most}"));
        assert!(text.contains("to make room:         --set most=100\n"), "{text}");
    }

    #[test]
    fn names_that_toml_quotes() {
        insta::assert_snapshot!(no_merge(".bss", &["a.b"]), @r#"
        map '.bss': the manifest says migrate, but not how these fields meet: a.b
          say it under [map.".bss"]: fields = { "a.b" = "sum" }    # or max, min, last
        "#);
        insta::assert_snapshot!(impossible("m", "it was a hash, it is an array now"), @r#"
        map 'm': its entries can't be moved: it was a hash, it is an array now
          to start empty:       [map.m]
                                upgrade = "reset"
        "#);
    }
}
