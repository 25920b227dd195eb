//! What packing refuses of code that fits its manifest, as findings of `skep lint`: all of it, each where it is to be mended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use skep_object::declared::{self, Exceeded};
use skep_object::gpl::{self, GplUse};
use skep_object::permissions::Lacking;
use skep_object::{Facts, shown};
use skep_spec::Arch;
use skep_spec::license::LicenseError;
use skep_spec::manifest::Manifest;
use skep_spec::source::place;

use super::{PackingError, Parsed, Unlicensed, fits};
use crate::lint::{Finding, Rule};
use crate::project::Project;

/// What packing would refuse of the code of objects that are what the manifest says of them.
///
/// # Errors
/// As [`super::check`].
pub fn refused(project: &Project, objects: &[Parsed]) -> Result<Vec<Finding>, PackingError> {
    let manifest = project.source.resolve(&BTreeMap::new());
    fits(&project.file_of_source(), &project.text, &manifest, objects)?;
    let at = |rule: Rule, path: &[&str], message: String| found(&project.text, rule, path, message);
    let licenses = licenses(&project.text, objects);
    let lacks = exceeded(&manifest, objects).map(|all| all.lacks).unwrap_or_default();
    // Where there are none at all, that is said once.
    let has_some = manifest.permissions.is_some();
    let lacks = lacks.into_iter().filter(|lack| has_some || lack.what == Lacking::Call);
    let lacks = lacks.map(|lack| {
        let (rule, key) = of_permissions(lack.what);
        at(rule, &["permissions", key], lack.said)
    });
    Ok(licenses.into_iter().chain(lacks).collect())
}

/// Holds what the code is and calls against the licences of its objects.
pub(super) fn licensed(path: &Path, text: &str, objects: &[Parsed]) -> Result<(), Unlicensed> {
    let list = licenses(text, objects);
    if list.is_empty() { Ok(()) } else { Err(Unlicensed { path: path.to_owned(), list }) }
}

fn licenses(text: &str, objects: &[Parsed]) -> Vec<Finding> {
    let all = unlicensed(objects).into_iter();
    all.map(|(object, message)| found(text, Rule::LicenseObject, &["object", object], message))
        .collect()
}

fn found(text: &str, rule: Rule, path: &[&str], message: String) -> Finding {
    let [line, column] = place(text, path);
    Finding { rule, line, column, message }
}

/// The rule, and the key of `[permissions]`.
const fn of_permissions(what: Lacking) -> (Rule, &'static str) {
    match what {
        Lacking::Hook => (Rule::PermissionHook, "hooks"),
        Lacking::Helper => (Rule::PermissionHelper, "helpers"),
        Lacking::Kfunc => (Rule::PermissionKfunc, "kfuncs"),
        Lacking::Memory => (Rule::PermissionMemory, "map-memory"),
        Lacking::Call => (Rule::UnknownCall, ""),
    }
}

/// What the objects of each architecture do together and the manifest does not allow, with parameters at their defaults.
pub(super) fn exceeded(manifest: &Manifest, objects: &[Parsed]) -> Option<Exceeded> {
    let held = |arch| {
        let here = objects.iter().filter(|one| one.arch == arch).map(|one| &one.facts);
        declared::hold(manifest, here, &BTreeMap::new()).err()
    };
    let arches: BTreeSet<Arch> = objects.iter().map(|one| one.arch).collect();
    arches.into_iter().filter_map(held).reduce(Exceeded::and)
}

/// What asks for a licence that its object has not, with the object: each once, at its first use.
fn unlicensed(objects: &[Parsed]) -> BTreeSet<(&str, String)> {
    let mut found = BTreeSet::new();
    for one in objects {
        let Err(first) = gpl::check(&one.facts) else { continue };
        let mut uses = BTreeMap::<String, GplUse>::new();
        for used in gpl::uses(&one.facts) {
            uses.entry(used.what.clone()).or_insert(used);
        }
        let told = uses.values().map(|used| of_use(used, &one.facts));
        let mut told: Vec<String> = told.collect();
        if told.is_empty() {
            told.push(first.to_string());
        }
        found.extend(told.into_iter().map(|message| (one.object.as_str(), message)));
    }
    found
}

fn of_use(used: &GplUse, facts: &Facts) -> String {
    let at = used.source.as_ref().map_or_else(String::new, |at| format!(", {at}"));
    let what = match used.what.strip_suffix(" programs") {
        Some(kind) => format!("a program of type {kind}"),
        None => shown(&used.what).into_owned(),
    };
    let asks = format!("{what} (in '{}'{at})", shown(&used.program));
    LicenseError { asks, license: facts.license.clone() }.to_string()
}
