use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// What a registry has: by name and version, what is needed.
type There = BTreeMap<PackageName, BTreeMap<Version, Needs>>;

/// A registry that tells its versions in an order of its own.
struct Registry<'a> {
    there: &'a There,
    backwards: bool,
}

impl Versions for Registry<'_> {
    type Error = Infallible;

    fn of(&mut self, package: &PackageName) -> Result<Vec<Version>, Infallible> {
        let versions = self.there.get(package).into_iter().flat_map(|v| v.keys().cloned());
        let mut versions: Vec<Version> = versions.collect();
        if self.backwards {
            versions.reverse();
        }
        Ok(versions)
    }

    fn needs(&mut self, package: &PackageName, version: &Version) -> Result<Needs, Infallible> {
        Ok(self.there.get(package).and_then(|v| v.get(version)).cloned().unwrap_or_default())
    }
}

fn name(letter: &str) -> PackageName {
    format!("x/{letter}").parse().unwrap()
}

/// `b ^1, c =2.0.0`.
fn needs(text: &str) -> Needs {
    let one = |need: &str| {
        let (letter, range) = need.split_once(' ').unwrap();
        (name(letter), range.parse().unwrap())
    };
    text.split(" & ").filter(|need| !need.is_empty()).map(one).collect()
}

/// Lines such as `b 1.2.0: c ^1 & d *`.
fn there(lines: &[&str]) -> There {
    let mut there = There::new();
    for line in lines {
        let (package, asked) = line.split_once(':').unwrap();
        let (letter, version) = package.split_once(' ').unwrap();
        let versions = there.entry(name(letter)).or_default();
        versions.insert(version.parse().unwrap(), needs(asked.trim()));
    }
    there
}

fn told(
    root: &Needs,
    there: &There,
    runs: &[(&str, &str)],
    others: &[Other],
    backwards: bool,
) -> String {
    let (a, version) = (name("a"), "1.0.0".parse().unwrap());
    let root = Root { name: &a, version: &version, needs: root };
    let runs =
        runs.iter().map(|(letter, version)| (name(letter), version.parse().unwrap())).collect();
    match resolve(root, &runs, others, &mut Registry { there, backwards }) {
        Ok(set) => {
            let one = |one: &Resolved| format!("{} {}", one.name.short(), one.version);
            set.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        Err(ResolveError::Unresolved(error)) => format!("{}: {error}", error.code()),
        Err(ResolveError::Versions(never)) => match never {},
    }
}

fn set(root: &str, lines: &[&str]) -> String {
    told(&needs(root), &there(lines), &[], &[], false)
}

#[test]
fn the_highest_version_in_every_range_is_taken_dependencies_first() {
    let lines = [
        "b 1.0.0:",
        "b 1.9.0: d ^1",
        "b 2.0.0:",
        "d 1.1.0:",
        "d 1.10.0:",
        "d 1.9.0:",
        "c 1.0.0: d ~1.9",
    ];
    assert_eq!(set("b ^1 & c *", &lines), "d 1.9.0, b 1.9.0, c 1.0.0");
    assert_eq!(set("b ^1", &lines), "d 1.10.0, b 1.9.0");
    assert_eq!(set("", &lines), "");
}

#[test]
fn a_version_that_was_given_up_takes_what_it_asked_for_along() {
    // b 1.9.0 wants c 2, c 2 is refused by d, which b 1.5.0 does not want.
    let lines = [
        "b 1.9.0: d *",
        "b 1.5.0: c ^1",
        "e 1.0.0: b ~1.5",
        "d 1.0.0: c ^2",
        "c 1.3.0:",
        "c 2.0.0:",
    ];
    assert_eq!(set("b ^1 & e *", &lines), "c 1.3.0, b 1.5.0, e 1.0.0");
}

#[test]
fn conflicts_and_rings_show_their_chains() {
    let lines =
        ["b 1.0.0: c ^2", "c 1.4.0:", "c 2.0.0:", "e 1.0.0: f *", "f 1.0.0: e ^1", "g 1.0.0: a ^1"];
    assert_eq!(
        set("b ^1 & c ^1", &lines),
        "life.conflict: no version of x/c is in every range: x/a 1.0.0 → x/c ^1, but x/a 1.0.0 → x/b ^1 → x/c ^2; there are 2.0.0, 1.4.0"
    );
    assert_eq!(
        set("n ^1", &lines),
        "life.conflict: there is no version of x/n: x/a 1.0.0 → x/n ^1"
    );
    assert_eq!(
        set("e ^1", &lines),
        "life.cycle: packages need each other in a ring: x/e → x/f → x/e ^1"
    );
    assert_eq!(
        set("g ^1", &lines),
        "life.cycle: packages need each other in a ring: x/a → x/g → x/a ^1"
    );
}

#[test]
fn what_runs_stays_where_it_may_and_others_have_a_say() {
    let there = there(&["b 1.0.0:", "b 1.5.0:", "b 2.0.0:", "b 2.5.0:"]);
    let other =
        |range: &str| Other { service: "o".to_owned(), package: name("o"), needs: needs(range) };
    let told = |root: &str, runs: &str, others: &[Other]| {
        told(&needs(root), &there, &[("b", runs)], others, false)
    };
    assert_eq!(told("b *", "1.0.0", &[]), "b 1.0.0");
    assert_eq!(told("b *", "1.2.0", &[]), "b 1.2.0", "of another registry, or yanked");
    assert_eq!(told("b ^2", "1.0.0", &[]), "b 2.5.0");
    assert_eq!(told("b ^2", "1.0.0", &[other("b <2.5")]), "b 2.0.0");
    assert_eq!(told("b ^2", "1.0.0", &[other("c ^1")]), "b 2.5.0");
    let refused = told("b ^2", "1.0.0", &[other("b ^1")]);
    assert!(refused.contains("x/a 1.0.0 → x/b ^2, but the service o → x/b ^1"), "{refused}");
}

#[test]
fn limits_are_said() {
    let letters: Vec<String> = (0..70).map(|n| format!("n{n}")).collect();
    let row: Vec<String> =
        letters.windows(2).map(|pair| format!("{} 1.0.0: {} *", pair[0], pair[1])).collect();
    let mut row: Vec<&str> = row.iter().map(String::as_str).collect();
    let refused = set("n0 *", &row);
    assert!(refused.starts_with("life.many: the dependencies of x/a are more"), "{refused}");
    row.truncate(16);
    row.push("n16 1.0.0:");
    assert!(set("n1 *", &row).ends_with("n1 1.0.0"));
    assert!(set("n0 *", &row).contains("more than 16 in a row"));
}

#[test]
fn what_cannot_end_ends() {
    // Each of the two talks the other out of its highest version, all the way down.
    let lines: Vec<String> = (1..=200)
        .flat_map(|n| {
            [
                format!("b 1.{n}.0: c <=1.{n}"),
                format!("c 1.{n}.0: d <1.{n}"),
                format!("d 1.{n}.0: b <=1.{n}"),
            ]
        })
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let refused = set("b ^1 & c ^1", &lines);
    assert!(refused.starts_with("life."), "{refused}");
}

fn some_there() -> impl Strategy<Value = (Needs, There)> {
    let range = prop_oneof![
        Just("*"),
        Just("^1"),
        Just("<1.2"),
        Just("~1.1"),
        Just(">=1.1"),
        Just("^2"),
        Just("=1.0.0")
    ];
    let need = ("[b-f]", range)
        .prop_map(|(letter, range)| (name(&letter), range.parse::<Range>().unwrap()));
    let needs =
        prop::collection::vec(need, 0..3).prop_map(|needs| needs.into_iter().collect::<Needs>());
    let version = prop_oneof![Just("1.0.0"), Just("1.1.0"), Just("1.2.0"), Just("2.0.0")];
    let versions = prop::collection::vec((version, needs.clone()), 0..4).prop_map(|versions| {
        versions.into_iter().map(|(version, needs)| (version.parse().unwrap(), needs)).collect()
    });
    let packages = prop::collection::vec(("[b-f]", versions), 0..6).prop_map(|packages| {
        packages.into_iter().map(|(letter, versions)| (name(&letter), versions)).collect()
    });
    (needs, packages)
}

proptest! {
    #[test]
    fn the_answer_is_always_the_same_and_holds((root, there) in some_there()) {
        let forwards = told(&root, &there, &[], &[], false);
        prop_assert_eq!(&forwards, &told(&root, &there, &[], &[], true));
        let (a, version) = (name("a"), "1.0.0".parse().unwrap());
        let asked = Root { name: &a, version: &version, needs: &root };
        let found = resolve(asked, &BTreeMap::new(), &[], &mut Registry { there: &there, backwards: false });
        if let Ok(set) = found {
            let chosen: BTreeMap<_, _> = set.iter().map(|one| (&one.name, &one.version)).collect();
            let mut before = BTreeSet::new();
            for one in &set {
                for (need, range) in &one.needs {
                    prop_assert!(range.holds(chosen[need]) && before.contains(need));
                }
                before.insert(&one.name);
            }
            for (need, range) in &root {
                prop_assert!(range.holds(chosen[need]));
            }
        }
    }
}
