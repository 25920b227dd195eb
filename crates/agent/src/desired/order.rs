//! The order in which services are changed.

use std::collections::{BTreeMap, BTreeSet};

use skep_spec::ServiceName;

/// Services that each needs.
pub(super) type Needs = BTreeMap<ServiceName, BTreeSet<ServiceName>>;

/// Each behind those that it needs, else by name. Of those that need each other in a ring, which the packages' own check refuses,
/// the first by name comes first.
pub(super) fn ordered(names: &BTreeSet<ServiceName>, needs: &Needs) -> Vec<ServiceName> {
    fn add(
        name: &ServiceName,
        (names, needs): (&BTreeSet<ServiceName>, &Needs),
        (seen, order): (&mut BTreeSet<ServiceName>, &mut Vec<ServiceName>),
    ) {
        if seen.insert(name.clone()) {
            let needed = needs.get(name).into_iter().flatten();
            needed.for_each(|one| add(one, (names, needs), (seen, order)));
            if names.contains(name) {
                order.push(name.clone());
            }
        }
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    names.iter().for_each(|name| add(name, (names, needs), (&mut seen, &mut order)));
    order
}

/// All that some services need, directly or not, and they themselves.
pub(super) fn closure(
    of: impl IntoIterator<Item = ServiceName>,
    needs: &Needs,
) -> BTreeSet<ServiceName> {
    let (mut all, mut open) = (BTreeSet::new(), of.into_iter().collect::<Vec<_>>());
    while let Some(name) = open.pop() {
        if all.insert(name.clone()) {
            open.extend(needs.get(&name).into_iter().flatten().cloned());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> BTreeSet<ServiceName> {
        text.split_whitespace().map(|name| name.parse().unwrap()).collect()
    }

    fn needs(list: &[(&str, &str)]) -> Needs {
        list.iter().map(|(name, needed)| (name.parse().unwrap(), names(needed))).collect()
    }

    #[test]
    fn what_is_needed_comes_first() {
        for (services, list, expected) in [
            ("c b a", &[][..], "a b c"),
            ("a b c", &[("a", "c"), ("c", "b")], "b c a"),
            // Through one that is not among them.
            ("a c", &[("a", "b"), ("b", "c")], "c a"),
            ("a b", &[("a", "b"), ("b", "a")], "b a"),
            ("a", &[("a", "a")], "a"),
        ] {
            let order = ordered(&names(services), &needs(list));
            let order: Vec<&str> = order.iter().map(ServiceName::as_str).collect();
            assert_eq!(order.join(" "), expected, "{list:?}");
        }
        let chain = needs(&[("a", "b"), ("b", "c"), ("d", "a")]);
        assert_eq!(closure(names("a"), &chain), names("a b c"));
    }

    #[test]
    fn a_long_chain_is_walked() {
        let name = |n: usize| -> ServiceName { format!("s{n}").parse().unwrap() };
        let chain: Needs = (0..255).map(|n| (name(n), [name(n + 1)].into())).collect();
        let order = ordered(&(0..256).map(name).collect(), &chain);
        assert_eq!((order.len(), &order[0]), (256, &name(255)));
    }
}
