//! Changes of a `trust.toml` text that leave the rest of it as it was: comments, order, layout.

use std::collections::BTreeSet;

use skep_trust::policy::{Identity, Rule};
use skep_trust::{KeyId, PublicKey};
use toml_edit::{Array, Datetime, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::error::{Context as _, Error, Kind, Result};

/// The first moment that a rule can say: by then nobody had signed anything.
const NEVER: &str = "1970-01-01T00:00:00Z";

/// What a new rule says.
pub(super) struct NewRule<'a> {
    pub(super) packages: &'a [String],
    pub(super) registries: &'a [String],
    pub(super) threshold: Option<usize>,
    pub(super) keys: &'a [NewKey],
    pub(super) identity: Option<&'a NewIdentity>,
}

/// A key of a rule.
pub(super) struct NewKey {
    pub(super) key: PublicKey,
    /// As TOML spells it.
    pub(super) not_after: Option<String>,
}

/// An identity of a rule.
pub(super) struct NewIdentity {
    pub(super) issuer: String,
    pub(super) identity: String,
    pub(super) trusted_root: String,
    /// As TOML spells it.
    pub(super) not_after: Option<String>,
}

/// The text with one more rule at its end.
pub(super) fn with_rule(text: &str, rule: &NewRule<'_>) -> String {
    let list = |texts: &[String]| {
        let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
        format!("[{}]", quoted.join(", "))
    };
    let mut added = format!("[[rule]]\npackages = {}\n", list(rule.packages));
    if !rule.registries.is_empty() {
        added += &format!("registries = {}\n", list(rule.registries));
    }
    if let Some(threshold) = rule.threshold {
        added += &format!("threshold = {threshold}\n");
    }
    let keys: Vec<String> = rule.keys.iter().map(NewKey::text).collect();
    added += &match keys.as_slice() {
        [] => String::new(),
        [one] => format!("keys = [{one}]\n"),
        several => format!("keys = [\n  {},\n]\n", several.join(",\n  ")),
    };
    if let Some(identity) = rule.identity {
        added += &format!("keyless = [{}]\n", identity.text());
    }
    match text {
        "" => added,
        text if text.ends_with('\n') => format!("{text}\n{added}"),
        text => format!("{text}\n\n{added}"),
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

impl NewKey {
    fn text(&self) -> String {
        format!("{{ spki = \"{}\"{} }}", self.key.spki_base64(), until(self.not_after.as_ref()))
    }
}

impl NewIdentity {
    fn text(&self) -> String {
        let Self { issuer, identity, trusted_root, not_after } = self;
        let [issuer, identity, root] = [issuer, identity, trusted_root].map(|text| quoted(text));
        let until = until(not_after.as_ref());
        format!("{{ issuer = {issuer}, identity = {identity}, trusted_root = {root}{until} }}")
    }
}

fn until(not_after: Option<&String>) -> String {
    not_after.map(|when| format!(", not_after = {when}")).unwrap_or_default()
}

fn inline(text: &str) -> Result<InlineTable> {
    let value: Value = text.parse().context(|| format!("can't write '{text}'"))?;
    value.as_inline_table().cloned().ok_or_else(|| unusual("keys"))
}

/// Adds one to the list of a rule, which is made where there is none.
fn add(rule: &mut Table, list: &str, text: &str) -> Result<()> {
    let one = inline(text)?;
    match rule.entry(list).or_insert(Item::Value(Array::new().into())) {
        Item::ArrayOfTables(list) => {
            let mut table = Table::new();
            one.into_iter().for_each(|(name, value)| {
                table.insert(&name, Item::Value(value));
            });
            list.push(table);
        }
        Item::Value(Value::Array(list)) => push(list, one.into()),
        _ => return Err(unusual(list)),
    }
    Ok(())
}

/// A text that is being edited.
pub(super) struct Editor {
    document: DocumentMut,
}

impl Editor {
    pub(super) fn new(text: &str) -> Result<Self> {
        let document = text.parse().context(|| "can't edit trust.toml")?;
        Ok(Self { document })
    }

    pub(super) fn text(&self) -> String {
        self.document.to_string()
    }

    /// Adds keys to a rule, counted from 0, and sets its threshold where one is given.
    pub(super) fn add_keys(
        &mut self,
        rule: usize,
        keys: &[NewKey],
        threshold: Option<usize>,
    ) -> Result<()> {
        let table = self.rule(rule)?;
        for key in keys {
            add(table, "keys", &key.text())?;
        }
        if let Some(threshold) = threshold {
            set_threshold(table, threshold);
        }
        Ok(())
    }

    /// Adds an identity to a rule, counted from 0.
    pub(super) fn add_identity(&mut self, rule: usize, identity: &NewIdentity) -> Result<()> {
        add(self.rule(rule)?, "keyless", &identity.text())
    }

    /// Removes a pattern from a rule.
    pub(super) fn remove_pattern(&mut self, rule: usize, pattern: &str) -> Result<()> {
        let list = self.rule(rule)?.get_mut("packages").and_then(Item::as_array_mut);
        let list = list.ok_or_else(|| unusual("packages"))?;
        let at = list.iter().position(|text| text.as_str() == Some(pattern));
        remove(list, at.ok_or_else(|| unusual("packages"))?);
        Ok(())
    }

    /// Removes keys from a rule.
    pub(super) fn remove_keys(&mut self, rule: usize, keys: &BTreeSet<KeyId>) -> Result<()> {
        self.remove_from(rule, "keys", |table| {
            let spki = table.get("spki").and_then(Item::as_str).unwrap_or_default();
            PublicKey::from_spki_base64(spki).is_ok_and(|key| keys.contains(&key.id()))
        })
    }

    /// Removes identities from a rule, and the list itself where none is left.
    pub(super) fn remove_identities(&mut self, rule: usize, gone: &[&Identity]) -> Result<()> {
        self.remove_from(rule, "keyless", |table| is_one_of(table, gone))?;
        let table = self.rule(rule)?;
        let is_empty = match table.get("keyless") {
            Some(Item::ArrayOfTables(list)) => list.is_empty(),
            Some(Item::Value(Value::Array(list))) => list.is_empty(),
            _ => false,
        };
        if is_empty {
            table.remove("keyless");
        }
        Ok(())
    }

    /// Has identities of a rule end before they began, so that nothing that they sign counts, and no wider one for them.
    pub(super) fn end_identities(&mut self, rule: usize, ended: &[&Identity]) -> Result<()> {
        let end: Datetime = NEVER.parse().context(|| "can't edit trust.toml")?;
        let is_it = |table: &dyn TableLike| is_one_of(table, ended);
        match self.rule(rule)?.get_mut("keyless") {
            Some(Item::ArrayOfTables(list)) => {
                for table in list.iter_mut().filter(|table| is_it(*table)) {
                    table.insert("not_after", toml_edit::value(end));
                }
            }
            Some(Item::Value(Value::Array(list))) => {
                let tables = list.iter_mut().filter_map(Value::as_inline_table_mut);
                for table in tables.filter(|table| is_it(*table)) {
                    table.insert("not_after", end.into());
                    table.fmt();
                }
            }
            _ => return Err(unusual("keyless")),
        }
        Ok(())
    }

    /// Removes from a list of tables in a rule.
    fn remove_from(
        &mut self,
        rule: usize,
        list: &str,
        is_it: impl Fn(&dyn TableLike) -> bool,
    ) -> Result<()> {
        match self.rule(rule)?.get_mut(list) {
            Some(Item::ArrayOfTables(list)) => list.retain(|table| !is_it(table)),
            Some(Item::Value(Value::Array(list))) => {
                let is_one = |value: &Value| value.as_inline_table().is_some_and(|t| is_it(t));
                loop {
                    let found = list.iter().position(is_one);
                    let Some(at) = found else { break };
                    remove(list, at);
                }
            }
            None => {}
            _ => return Err(unusual(list)),
        }
        Ok(())
    }

    /// Removes a rule with the comment right above it; what stands above that, after an empty line, stays.
    pub(super) fn remove_rule(&mut self, rule: usize) -> Result<()> {
        let Some(Item::ArrayOfTables(rules)) = self.document.get_mut("rule") else {
            return Err(unusual("rule"));
        };
        let removed = rules.get(rule).ok_or_else(|| unusual("rule"))?;
        let kept = kept_above(prefix(removed)).to_owned();
        let position = removed.position();
        rules.remove(rule);
        if rules.is_empty() {
            self.document.remove("rule");
        }
        if kept.is_empty() {
            return Ok(());
        }
        let next = tables(self.document.as_table_mut());
        let next = next.filter(|table| table.position() > position).min_by_key(|t| t.position());
        match next {
            Some(next) => {
                let below = format!("{kept}{}", prefix(next).trim_start_matches('\n'));
                next.decor_mut().set_prefix(below);
            }
            None => {
                let below = self.document.trailing().as_str().unwrap_or_default().to_owned();
                self.document.set_trailing(format!("{}\n{below}", kept.trim_end_matches('\n')));
            }
        }
        Ok(())
    }

    fn rule(&mut self, rule: usize) -> Result<&mut Table> {
        match self.document.get_mut("rule") {
            Some(Item::ArrayOfTables(rules)) => rules.get_mut(rule),
            _ => None,
        }
        .ok_or_else(|| unusual("rule"))
    }
}

/// Whether a table in a list of identities is of one of these.
fn is_one_of(table: &dyn TableLike, identities: &[&Identity]) -> bool {
    let text = |name| table.get(name).and_then(Item::as_str);
    let (issuer, identity) = (text("issuer"), text("identity"));
    let (issuer, identity) = (issuer.unwrap_or_default(), identity.unwrap_or_default());
    identities.iter().any(|one| one.is(issuer, identity, text("trusted_root")))
}

/// The tables that begin with a header, at the top of the document.
fn tables(document: &mut Table) -> impl Iterator<Item = &mut Table> {
    document.iter_mut().flat_map(|(_, item)| match item {
        Item::Table(table) => vec![table],
        Item::ArrayOfTables(list) => list.iter_mut().collect(),
        _ => Vec::new(),
    })
}

fn prefix(table: &Table) -> &str {
    table.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default()
}

/// Of what stands above a header, that which is not the comment right above it.
fn kept_above(prefix: &str) -> &str {
    let lines = prefix.trim_end_matches('\n');
    lines.rfind("\n\n").map_or("", |at| prefix.get(..at + 2).unwrap_or_default())
}

fn set_threshold(rule: &mut Table, threshold: usize) {
    let number = i64::try_from(threshold).unwrap_or(i64::MAX);
    match rule.get_mut("threshold").and_then(Item::as_value_mut) {
        // What stands around the old number stays.
        Some(value) => {
            let decor = value.decor().clone();
            *value = number.into();
            *value.decor_mut() = decor;
        }
        None => drop(rule.insert("threshold", toml_edit::value(number))),
    }
}

/// Adds to a list as it is laid out: after the last, on a line of its own where the last has one. What stands behind the last,
/// such as a comment, stays there.
fn push(list: &mut Array, mut value: Value) {
    let last = list.len().checked_sub(1).and_then(|last| list.get(last));
    let before = last.and_then(|last| last.decor().prefix()?.as_str()).unwrap_or_default();
    let Some((_, indent)) = before.rsplit_once('\n') else { return list.push(value) };
    let indent = indent.to_owned();
    let behind = match list.trailing_comma() {
        true => list.trailing().as_str().unwrap_or_default().to_owned(),
        false => suffix_of_last(list),
    };
    value.decor_mut().set_prefix(format!("{}\n{indent}", behind.trim_end()));
    list.push_formatted(value);
    list.set_trailing_comma(true);
    list.set_trailing("\n");
}

/// What stands behind the last value where no comma follows it; it goes behind a comma.
fn suffix_of_last(list: &mut Array) -> String {
    let last = list.len().checked_sub(1).and_then(|last| list.get_mut(last));
    let Some(last) = last else { return String::new() };
    let suffix = last.decor().suffix().and_then(|suffix| suffix.as_str()).unwrap_or_default();
    let suffix = suffix.to_owned();
    last.decor_mut().set_suffix("");
    suffix
}

/// Removes from a list, with the comments on the lines of what is removed; those on the line before stay.
fn remove(list: &mut Array, at: usize) {
    let text = |list: &Array, at: usize| match list.get(at) {
        Some(value) => value.decor().prefix().and_then(|prefix| prefix.as_str().map(str::to_owned)),
        None => list.trailing().as_str().map(str::to_owned),
    };
    let before = text(list, at).unwrap_or_default();
    let after = text(list, at + 1).unwrap_or_default();
    list.remove(at);
    let same_line = before.split_once('\n').map_or(before.as_str(), |(line, _)| line);
    let next_lines = after.find('\n').and_then(|at| after.get(at..)).unwrap_or_default();
    match list.get_mut(at) {
        Some(next) => next.decor_mut().set_prefix(format!("{same_line}{next_lines}")),
        None if next_lines.is_empty() => {}
        None => list.set_trailing(format!("{same_line}{next_lines}")),
    }
}

/// The rule that speaks of exactly these packages from exactly these registries, counted from 0.
pub(super) fn same_rule(
    rules: &[Rule],
    packages: &[String],
    registries: &[String],
) -> Option<usize> {
    let set = |texts: &[String]| texts.iter().cloned().collect::<BTreeSet<_>>();
    rules.iter().position(|rule| {
        let patterns: BTreeSet<_> =
            rule.patterns().iter().map(|pattern| pattern.as_str().to_owned()).collect();
        patterns == set(packages) && set(rule.registries()) == set(registries)
    })
}

fn unusual(what: &str) -> Error {
    Error::new(
        Kind::Failed,
        format!("can't edit '{what}' in trust.toml: it is written in an unusual way"),
    )
    .hint("edit the file by hand; docs/reference/trust.md has its form")
}
