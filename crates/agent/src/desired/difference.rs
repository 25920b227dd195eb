//! What differs between a service as it is and as it is wanted: which steps there are, before anybody is asked whether they can be taken.

use std::collections::{BTreeMap, BTreeSet};

use skep_api::{ParamChange, StepKind, Wanted};
use skep_spec::Digest;

/// A service as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stands {
    /// What runs.
    pub(super) index: Digest,
    /// The parameters that are set.
    pub(super) params: BTreeMap<String, String>,
    pub(super) held: bool,
    pub(super) stopped: bool,
}

/// Values that count where nobody sets another one.
pub(super) type Defaults = BTreeMap<String, String>;

/// The steps from what a service is to what it is to be, `index` being what its package is now, in their order.
pub(super) fn steps(
    stands: Option<&Stands>,
    wanted: &Wanted,
    (index, defaults): (Digest, &Defaults),
) -> Vec<StepKind> {
    let Some(stands) = stands else {
        let installed = std::iter::once(StepKind::Install);
        let stopped = wanted.stopped.then_some(StepKind::Stop);
        let held = (wanted.held == Some(true)).then_some(StepKind::Hold);
        return installed.chain(stopped).chain(held).collect();
    };
    let package = match stands.index == index {
        true => (!changed((&stands.params, defaults), (&wanted.params, defaults)).is_empty())
            .then_some(StepKind::Set),
        false => Some(StepKind::Upgrade),
    };
    let let_go = stands.held && wanted.held == Some(false);
    let steps = [
        let_go.then_some(StepKind::Unhold),
        (stands.stopped && !wanted.stopped).then_some(StepKind::Start),
        package,
        (!stands.stopped && wanted.stopped).then_some(StepKind::Stop),
        (!stands.held && wanted.held == Some(true)).then_some(StepKind::Hold),
    ];
    steps.into_iter().flatten().collect()
}

/// The parameters whose value changes, each side with the defaults of its own package; to set what counts already is no change.
pub(super) fn changed(
    (stands, before): (&BTreeMap<String, String>, &Defaults),
    (wanted, after): (&BTreeMap<String, String>, &Defaults),
) -> BTreeMap<String, ParamChange> {
    let names: BTreeSet<&String> = stands.keys().chain(wanted.keys()).collect();
    let counts = |of: &BTreeMap<String, String>, defaults: &Defaults, name: &String| {
        of.get(name).or_else(|| defaults.get(name)).cloned()
    };
    let change = |name: &String| {
        let (from, to) = (counts(stands, before, name), counts(wanted, after, name));
        let change = ParamChange { from, to };
        (change.from != change.to).then(|| (name.clone(), change))
    };
    names.into_iter().filter_map(change).collect()
}

/// What is to be set, and what is to be forgotten.
pub(super) fn settings(
    stands: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> (BTreeMap<String, String>, BTreeSet<String>) {
    let is_other = |(name, value): &(&String, &String)| stands.get(*name) != Some(*value);
    let set = wanted.iter().filter(is_other).map(|(name, value)| (name.clone(), value.clone()));
    let unset = stands.keys().filter(|name| !wanted.contains_key(*name)).cloned();
    (set.collect(), unset.collect())
}

/// What is otherwise than it is wanted, for people. `index` is what the package was when that was planned.
pub(super) fn said(
    stands: Option<&Stands>,
    wanted: &Wanted,
    (index, defaults): (Digest, &Defaults),
) -> Vec<String> {
    let Some(stands) = stands else { return vec!["it is not there".to_owned()] };
    let kinds = steps(Some(stands), wanted, (index, defaults)).into_iter();
    let words = kinds.map(|kind| match kind {
        StepKind::Upgrade => "another package runs".to_owned(),
        StepKind::Start => "it is stopped".to_owned(),
        StepKind::Stop => "it runs".to_owned(),
        StepKind::Hold => "it is not held".to_owned(),
        StepKind::Unhold => "it is held".to_owned(),
        StepKind::Install | StepKind::Remove | StepKind::Set => String::new(),
    });
    let own = || "the object's own".to_owned();
    let params = changed((&stands.params, defaults), (&wanted.params, defaults)).into_iter();
    let params = params.map(|(name, ParamChange { from, to })| {
        let (from, to) = (from.unwrap_or_else(own), to.unwrap_or_else(own));
        format!("parameter {name} is {from}, and not {to}")
    });
    words.filter(|word| !word.is_empty()).chain(params).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: &str) -> Digest {
        Digest::of(of.as_bytes())
    }

    fn params(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn wanted(held: Option<bool>, stopped: bool, set: &[(&str, &str)]) -> Wanted {
        let package = skep_api::PackageSource::Reference("acme/exec:1.0.0".parse().unwrap());
        Wanted { service: "exec".parse().unwrap(), package, params: params(set), held, stopped }
    }

    fn stands(index: &str, held: bool, stopped: bool, set: &[(&str, &str)]) -> Option<Stands> {
        Some(Stands { index: digest(index), params: params(set), held, stopped })
    }

    #[test]
    fn each_difference_is_its_step() {
        use StepKind::{Hold, Install, Set, Start, Stop, Unhold, Upgrade};
        let runs = || stands("one", false, false, &[("rate", "5")]);
        for (is, wants, expected) in [
            (None, wanted(None, false, &[]), vec![Install]),
            (None, wanted(Some(false), false, &[]), vec![Install]),
            (None, wanted(Some(true), true, &[]), vec![Install, Stop, Hold]),
            (runs(), wanted(None, false, &[("rate", "5")]), vec![]),
            (runs(), wanted(Some(false), false, &[("rate", "5")]), vec![]),
            (runs(), wanted(None, false, &[("rate", "6")]), vec![Set]),
            (runs(), wanted(None, false, &[]), vec![Set]),
            (runs(), wanted(Some(true), true, &[("rate", "5")]), vec![Stop, Hold]),
            // What is the default need not be set, nor be forgotten.
            (runs(), wanted(None, false, &[("rate", "5"), ("room", "16")]), vec![]),
            (stands("one", false, false, &[("room", "16")]), wanted(None, false, &[]), vec![]),
            (
                stands("other", false, false, &[]),
                wanted(None, false, &[("rate", "6")]),
                vec![Upgrade],
            ),
            // A brake that somebody put on stays, unless the file lets go.
            (stands("one", true, false, &[]), wanted(None, false, &[]), vec![]),
            (stands("one", true, false, &[]), wanted(Some(false), false, &[]), vec![Unhold]),
            (
                stands("other", true, true, &[]),
                wanted(Some(false), false, &[]),
                vec![Unhold, Start, Upgrade],
            ),
            (stands("other", false, true, &[]), wanted(Some(true), true, &[]), vec![Upgrade, Hold]),
            (stands("one", false, true, &[]), wanted(None, false, &[]), vec![Start]),
        ] {
            let defaults = params(&[("room", "16")]);
            let steps = steps(is.as_ref(), &wants, (digest("one"), &defaults));
            assert_eq!(steps, expected, "{is:?} {wants:?}");
            let is_same = said(is.as_ref(), &wants, (digest("one"), &defaults)).is_empty();
            assert_eq!(is_same, expected.is_empty(), "{is:?} {wants:?}");
        }
    }

    #[test]
    fn parameters_that_change_are_told_with_what_counts() {
        let defaults = params(&[("rate", "1"), ("room", "16")]);
        let newer = params(&[("rate", "2"), ("room", "16")]);
        let (is, wants) =
            (params(&[("rate", "5"), ("old", "x")]), params(&[("room", "32"), ("only", "1")]));
        let forth = changed((&is, &defaults), (&wants, &newer));
        let told: Vec<String> = forth
            .iter()
            .map(|(name, ParamChange { from, to })| format!("{name} {from:?} {to:?}"))
            .collect();
        assert_eq!(
            told,
            [
                r#"old Some("x") None"#,
                r#"only None Some("1")"#,
                r#"rate Some("5") Some("2")"#,
                r#"room Some("16") Some("32")"#
            ]
        );
        let back = changed((&wants, &defaults), (&is, &newer));
        assert_eq!(back["rate"].from.as_deref(), Some("1"), "of the package that runs");
        let (set, unset) = settings(&is, &wants);
        assert_eq!(set, wants);
        assert_eq!(unset.into_iter().collect::<Vec<_>>(), ["old", "rate"]);
        assert_eq!(settings(&is, &is), Default::default());
    }
}
